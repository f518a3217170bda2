"""Persist before you answer: what a turn of the GCS sends leaves when all that it knew is durable."""

from __future__ import annotations

from typing import Any

from thornback.core.ids import Address
from thornback.core.messages import Message
from thornback.core.ports import DurableStore, Trace, Transport, Write


class Journal:
    """Stands between the GCS's tables and its ports.

    The writes of one turn are made together or not at all, so that no operation is ever half done on disk. A message
    waits until the writes of its turn, and of all turns before it, are durable: nobody hears of a state that could be
    lost. While one commit is under way the next one gathers what comes (group commit).

    It is the ``Transport`` and the ``Trace`` of the tables: what is traced has happened for good, too.

    Attributes:
        enabled: whether anybody looks at the trace.
    """

    def __init__(self, transport: Transport, trace: Trace, store: DurableStore) -> None:
        self._transport = transport
        self._trace = trace
        self.enabled = trace.enabled
        self._store = store
        self._writes: dict[tuple[str, bytes], bytes | None] = {}
        self._leaving: list[tuple[Address, Message]] = []
        self._events: list[tuple[str, bytes, Any]] = []
        self._committing = False

    def event(self, kind: str, subject: bytes, detail: Any = None) -> None:
        """The ``Trace`` port."""
        self._events.append((kind, subject, detail))

    def send(self, to: Address, message: Message) -> None:
        """The ``Transport`` port."""
        self._leaving.append((to, message))

    def write(self, table: str, key: bytes, value: bytes | None) -> None:
        """Change a durable table with the other writes of this turn; None deletes the key."""
        self._writes.pop((table, key), None)
        self._writes[table, key] = value

    def end_turn(self) -> None:
        """The turn is over: commit what it wrote, and let go what waits for nothing."""
        if self._committing:
            return
        leaving, self._leaving = self._leaving, []
        events, self._events = self._events, []
        if not self._writes:
            self._let_go(leaving, events)
            return
        writes = [Write(table, key, value) for (table, key), value in self._writes.items()]
        self._writes = {}
        self._committing = True

        def durable() -> None:
            self._committing = False
            self._let_go(leaving, events)

        self._store.commit(writes, durable)

    def _let_go(self, leaving: list[tuple[Address, Message]], events: list[tuple[str, bytes, Any]]) -> None:
        for kind, subject, detail in events:
            self._trace.event(kind, subject, detail)
        for to, message in leaving:
            self._transport.send(to, message)
