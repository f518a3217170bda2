"""The record of a run: a running hash of all that happened and, when asked for, a file with one JSON object per line.

The hash covers every delivered message (virtual time, ends, type, subject), every start and end of a process, every
injected fault and every event that the core reports. It does not cover the bytes of pickled values.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any
from zlib import crc32

from msgspec.msgpack import Encoder

from thornback.core.ids import GCS, Address, short
from thornback.core.messages import MESSAGES, Message
from thornback.simulator.engine import Engine

_encode = Encoder().encode
_HASHED = frozenset({tuple, list, dict, bytes, str, int, float, bool, type(None)})
_FOLD_AT = 1024
"""Records that are kept until they are hashed together, with the next message."""
_CHECK = 0xFFFF
WARNING = "warning"
"""Kind of events whose detail is a text for people. It is not hashed: it may name a file and line of what runs the
program, so that a replay from elsewhere would seem to be another run."""
_SUBJECTS = ("task_id", "object_id", "actor_id", "lease_id", "worker_id", "source")

Listener = Callable[[int, str, bytes, Any], None]
"""Called with virtual time (ns), kind, subject and detail of each event that is not a message."""
MessageListener = Callable[[int, Address, Address, Any, int], None]
"""Called with virtual time (ns), sender, receiver and cause (a number of an event) of each message that arrives; the
message is the last but one argument."""


def _subject_field(message_type: type[Message]) -> str | None:
    fields = message_type.__struct_fields__
    return next((name for name in _SUBJECTS if name in fields), None)


_TYPES: dict[type[Message], tuple[int, str | None]] = {
    message_type: (number, _subject_field(message_type)) for number, message_type in enumerate(MESSAGES)
}


class RunTrace:
    """Implements the ``Trace`` port for all processes of a simulation.

    Attributes:
        listeners: called with each event that is not a message.
        message_listeners: called with each message, just before its receiver gets it.
        journal: where the checksum of each record is appended; None: nowhere.
    """

    enabled = True

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._hash = blake2b(digest_size=16)
        self._records: list[Any] = []
        """What has not been hashed yet."""
        self._file: IO[str] | None = None
        self.listeners: list[Listener] = []
        self.message_listeners: list[MessageListener] = []
        self.journal: array[int] | None = None

    @property
    def digest(self) -> str:
        """The hash of all that happened so far, in hex."""
        whole = self._hash.copy()
        whole.update(_encode(self._records))
        return whole.hexdigest()

    def _fold(self) -> None:
        self._hash.update(_encode(self._records))
        self._records.clear()

    def delivered(self, sender: Address, to: Address, messages: list[Message], cause: int) -> None:
        """``messages`` arrive now; the event ``cause`` made the sender send them."""
        record: list[Any] = [self._engine._now, sender, to]
        for message in messages:
            number, field = _TYPES[type(message)]
            record.append(number)
            if field is not None:
                record.append(getattr(message, field))
        self._records.append(record)
        if len(self._records) >= _FOLD_AT:
            self._fold()
        if self.journal is not None:
            self.journal.append(crc32(_encode(record)) & _CHECK)
        for listener in self.message_listeners:
            for message in messages:
                listener(self._engine._now, sender, to, message, cause)

    def event(self, kind: str, subject: bytes, detail: Any = None) -> None:
        """Something happened to ``subject``. Of ``detail``, numbers, text, bytes and collections of them are hashed; of
        anything else, the name of its type."""
        hashed = detail if type(detail) in _HASHED and kind != WARNING else type(detail).__name__
        self._records.append((self._engine._now, kind, subject, hashed))
        if self.journal is not None:
            self.journal.append(crc32(_encode(self._records[-1])) & _CHECK)
        for listener in self.listeners:
            listener(self._engine._now, kind, subject, detail)

    def write_to(self, path: str | Path) -> None:
        """Write one line per event to a file from now on.

        Raises:
            OSError: the file cannot be written.
        """
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115 - stays open for the whole run
        self.message_listeners.append(self._write_message)
        self.listeners.append(self._write_event)

    def close(self) -> None:
        """The run is over."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self.message_listeners.remove(self._write_message)
            self.listeners.remove(self._write_event)

    def _line(self, **fields: Any) -> None:
        assert self._file is not None
        fields = {"time": self._engine._now, "event": self._engine.current, **fields}
        self._file.write(json.dumps(fields, separators=(",", ":")) + "\n")

    def _write_message(self, _now: int, sender: Address, to: Address, message: Message, cause: int) -> None:
        field = _TYPES[type(message)][1]
        subject = readable(getattr(message, field)) if field is not None else ""
        self._line(
            cause=cause,
            kind="message",
            type=type(message).__name__,
            sender=readable(sender),
            to=readable(to),
            subject=subject,
        )

    def _write_event(self, _now: int, kind: str, subject: bytes, detail: Any) -> None:
        self._line(kind=kind, subject=readable(subject), detail=_for_people(detail))


def readable(identifier: bytes) -> str:
    """An id for people; arbitrary bytes as hex."""
    if identifier == GCS or len(identifier) in (8, 12, 20, 24):
        return short(identifier)
    return identifier.hex()


def _for_people(detail: Any) -> Any:
    if isinstance(detail, bytes):
        return readable(detail)
    if type(detail) in (tuple, list):
        return [_for_people(part) for part in detail]
    if type(detail) is dict:
        return {str(key): _for_people(value) for key, value in detail.items()}
    return detail if isinstance(detail, (str, int, float, type(None))) else type(detail).__name__
