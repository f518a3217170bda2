"""The story of an object, task, actor or lease: all that was said and done about it, on all nodes, in order."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from thornback.core.ids import OBJECT_ID_SIZE, TASK_ID_SIZE, WORKER_ID_SIZE
from thornback.core.messages import Message, encode
from thornback.faults.plan import AnyFault
from thornback.simulator.trace import readable

if TYPE_CHECKING:
    from thornback.simulator.world import World

LINES = 80
"""Of a story; the middle of a longer one is left out."""
_ALWAYS = ("fault", "node.dead", "node.fenced")
_NOTABLE = ("actor.state", "object.lost", "process.end", "task.failed", "task.rebuilding", "task.retried")
"""What belongs to a story that has no subject."""
_PROCESSES = ("process.start", "process.end")

_WORDS: dict[str, Callable[[Any], str]] = {
    "actor.registered": lambda detail: f"is registered with max_restarts={detail[2]}",
    "actor.state": lambda detail: f"is {detail[0]}, incarnation {detail[1]}",
    "bundle.released": lambda detail: f"has its bundle {detail[1]} given back by {readable(detail[0])}",
    "bundle.reserved": lambda detail: f"has its bundle {detail[1]} set aside by {readable(detail[0])}",
    "fault": lambda detail: f"FAULT: {detail}",
    "lease.ended": lambda detail: f"ends on {readable(detail)}",
    "lease.granted": lambda detail: f"is granted by {readable(detail[0])} to {readable(detail[5])}",
    "node.dead": lambda detail: f"is declared dead: {detail}",
    "node.fenced": lambda detail: "learns that it was declared dead",
    "object.deleted": lambda detail: f"is deleted on {readable(detail[0])}",
    "object.lost": lambda detail: "has lost its last copy",
    "object.owner_died": lambda detail: f"is given up by {readable(detail)}, as its owner has died",
    "object.pinned": lambda detail: f"is pinned on {readable(detail[0])} for {readable(detail[1])}",
    "object.read": lambda detail: f"is read on {readable(detail[0])}",
    "object.ready": lambda detail: f"is ready: {'an error' if getattr(detail, 'is_error', False) else 'a value'}",
    "object.released": lambda detail: "is let go by its owner",
    "object.sealed": lambda detail: f"is sealed on {readable(detail[0])}: {detail[2]:,} bytes",
    "object.unpinned": lambda detail: f"is unpinned on {readable(detail[0])} by {readable(detail[1])}",
    "process.end": lambda detail: f"ends: {detail}",
    "process.start": lambda detail: f"starts: a {detail}",
    "task.cancel": lambda detail: f"is cancelled while it is {detail}",
    "task.ended": lambda detail: f"ends in {readable(detail[2])}, attempt {detail[0]}: {detail[1]}",
    "task.failed": lambda detail: f"has failed for its owner, attempt {detail}",
    "task.finished": lambda detail: f"has succeeded for its owner, attempt {detail}",
    "task.rebuilding": lambda detail: f"runs again to make a lost object, attempt {detail}",
    "task.retried": lambda detail: f"will be tried again, attempt {detail}",
    "task.started": lambda detail: f"starts in {readable(detail[4])}, attempt {detail[0]} of a {detail[1]}",
    "task.submitted": lambda detail: f"is submitted: {detail[0]} with max_retries={detail[1]}",
}


def event_in_words(kind: str, subject: bytes, detail: Any) -> str:
    """One event of the trace for people."""
    words = _WORDS.get(kind)
    if kind == "fault":
        return f"FAULT: {detail} ({in_text(subject)})"
    return f"{readable(subject)} {words(detail) if words else f'{kind} {_plain(detail)}'.rstrip()}"


def message_in_words(sender: bytes, to: bytes, message: Message) -> str:
    """One message of the trace for people: who says what to whom, and what that means."""
    first = (type(message).__doc__ or "").strip().split("\n")[0]
    return f"{readable(sender)} -> {readable(to)}: {type(message).__name__} ({first.partition(': ')[2] or first})"


def fault_in_words(fault: AnyFault) -> str:
    """A fault as JSON, without the fields that are at their defaults."""
    fields = msgspec.structs.fields(fault)
    told = {each.name: getattr(fault, each.name) for each in fields if getattr(fault, each.name) != each.default}
    return msgspec.json.encode({"kind": fault.kind, **told}).decode()


def in_text(subject: bytes) -> str:
    """The subject of a fault: an id, or what the plan says."""
    text = subject.decode("ascii", "replace")
    return re.sub(r", \w+=None|\w+=None, ", "", text) if text.isprintable() else readable(subject)


def _plain(detail: Any) -> str:
    if isinstance(detail, bytes):
        return readable(detail)
    return "" if detail is None else str(detail) if isinstance(detail, (str, int, float)) else ""


class Story:
    """Listens to a run for what concerns one subject; an observer for :func:`thornback.faults.run.run_once`.

    Args:
        subject: an id; of an object, its task belongs to the story. Empty: all that is out of the ordinary.
    """

    def __init__(self, subject: bytes) -> None:
        self._needle = subject[:TASK_ID_SIZE] if len(subject) == OBJECT_ID_SIZE else subject
        self._lines: list[tuple[int, str, bytes]] = []
        self._processes: list[tuple[int, str, bytes]] = []
        self._mentioned: set[bytes] = {subject[:WORKER_ID_SIZE]}
        self._world: World | None = None

    def __call__(self, world: World) -> None:
        """Listen to that simulation."""
        self._world = world
        world.trace.listeners.append(self._event)
        world.trace.message_listeners.append(self._message)

    def _number(self) -> int:
        assert self._world is not None
        return self._world.engine.current

    def _event(self, time: int, kind: str, subject: bytes, detail: Any) -> None:
        concerned = self._is_meant(subject, detail) if self._needle else kind in _NOTABLE
        if kind in _PROCESSES and not concerned:
            self._processes.append((time, event_in_words(kind, subject, detail), subject))
        elif concerned or kind in _ALWAYS:
            self._lines.append((time, f"{event_in_words(kind, subject, detail)}  [event {self._number()}]", subject))
            parts = detail if isinstance(detail, tuple) else (detail,)
            self._mentioned.update(part for part in parts if isinstance(part, bytes))

    def _is_meant(self, subject: bytes, detail: Any) -> bool:
        parts = (subject, *detail) if type(detail) is tuple else (subject, detail)
        return any(isinstance(part, bytes) and part.startswith(self._needle) for part in parts)

    def _message(self, time: int, sender: bytes, to: bytes, message: Message, cause: int) -> None:
        if self._needle and self._needle in encode(message):
            numbers = f"[event {self._number()}, sent in event {cause}]"
            self._lines.append((time, f"{message_in_words(sender, to, message)}  {numbers}", to))
            self._mentioned.update((sender, to))

    def lines(self, until: float | None = None) -> list[str]:
        """The story, one line per thing that happened, up to ``until`` (virtual seconds)."""
        processes = [line for line in self._processes if line[2] in self._mentioned]
        told = sorted([*self._lines, *processes], key=lambda line: line[0])
        limit = None if until is None else round(until * 1e9)
        lines = [f"{time / 1e9:13.6f} s  {text}" for time, text, _ in told if limit is None or time <= limit]
        if len(lines) > LINES:
            left_out = len(lines) - LINES + 1
            lines[LINES // 3 : LINES // 3 + left_out] = [f"{'':13}    ... {left_out} lines are left out ..."]
        return lines
