"""What all faults have in common: when they happen, and how long they last.

Times are seconds since the start of the run, nodes are given by index (0 is the head).
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, ClassVar, TypeAlias

import msgspec
from msgspec import Meta

from thornback.core.messages import MESSAGES
from thornback.faults.events import TRIGGER_EVENTS

MOST_SECONDS = 1e9
"""Thirty years: times in plans are no later than that."""
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=MOST_SECONDS)]
Rate: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Factor: TypeAlias = Annotated[float, Meta(gt=0)]
Count: TypeAlias = Annotated[int, Meta(ge=1)]
NodeIndex: TypeAlias = Annotated[int, Meta(ge=0)]
OtherNode: TypeAlias = Annotated[int, Meta(ge=1)]
"""Not the head, where the program itself runs."""
Nodes: TypeAlias = Annotated[list[NodeIndex], Meta(min_length=1)]

MESSAGE_NAMES = tuple(sorted(message.__name__ for message in MESSAGES))
"""Kinds of messages that a trigger can wait for."""

MOST_CHOICES = 50
"""That an error lists."""


class Trigger(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A moment that is known by what happens: the ``count``-th message of a kind, or event of the engine."""

    message: str | None = None
    """Name of a kind of message, as in ``thornback.core.messages``; it counts when it has been handled."""
    event: str | None = None
    """One of :data:`.TRIGGER_EVENTS`, such as ``task.rebuilding`` when the reconstruction of a lost object begins."""
    node: NodeIndex | None = None
    """Where the message is handled; by default anywhere. Events are not bound to a node."""
    count: Count = 1
    delay: Seconds = 0.0
    """So much later."""

    def __post_init__(self) -> None:
        if (self.message is None) == (self.event is None):
            raise ValueError("after needs either message (a kind of message) or event (of the engine)")
        if self.message is not None and self.message not in MESSAGE_NAMES:
            raise ValueError(unknown("message", self.message, MESSAGE_NAMES))
        if self.event is not None and self.event not in TRIGGER_EVENTS:
            raise ValueError(unknown("event", self.event, TRIGGER_EVENTS))
        if self.event is not None and self.node is not None:
            raise ValueError("events are not bound to a node: node goes with message only")


def unknown(what: str, value: str, choices: Sequence[str]) -> str:
    """For errors: that there is no such thing, and what there is."""
    near = get_close_matches(value, choices, n=3, cutoff=0.6)
    if near:
        return f"there is no {what} {value!r}; did you mean {' or '.join(near)}?"
    if len(choices) > MOST_CHOICES:
        near = get_close_matches(value, choices, n=5, cutoff=0.0)
        return f"there is no {what} {value!r}; of the {len(choices)} that there are, the nearest are {', '.join(near)}"
    return f"there is no {what} {value!r}; there are {', '.join(choices)}"


class Fault(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag_field="kind",
    tag=True,
):
    """Base of all faults: something happens, ``at`` a time or ``after`` something else."""

    lossy: ClassVar[bool] = False
    """Whether it can lose messages on a link."""
    always_timed: ClassVar[bool] = True
    """Whether a plan must say when it happens."""

    at: Seconds | None = None
    after: Trigger | None = None

    def __post_init__(self) -> None:
        problem = self.problem()
        if problem:
            raise ValueError(problem)

    def problem(self) -> str:
        """Why this fault is impossible; "" if it is not."""
        if self.at is not None and self.after is not None:
            return "give either at (seconds) or after (a message or event), not both"
        if self.always_timed and self.at is None and self.after is None:
            return "it needs at (seconds since the start) or after (a message or event)"
        return ""

    @property
    def kind(self) -> str:
        """Its name in plans."""
        return str(self.__struct_config__.tag)

    def named_nodes(self) -> list[tuple[str, list[int]]]:
        """The nodes that it names, by field."""
        found: list[tuple[str, list[int]]] = []
        for field in ("node", "nodes", "a", "b", "sender"):
            value = getattr(self, field, None) if field in self.__struct_fields__ else None
            if value is not None:
                found.append((field, value if isinstance(value, list) else [value]))
        if self.after is not None and self.after.node is not None:
            found.append(("after.node", [self.after.node]))
        return found

    @property
    def end(self) -> float:
        """When it has happened, and what it began is over, in seconds; what has no end counts by its beginning, and
        what waits for an event by the delay after it."""
        return self.at or (self.after.delay if self.after is not None else 0.0)


class LastingFault(Fault, frozen=True, kw_only=True):
    """Base of the faults that begin, by default at once, and end: ``until`` a time, or when they have ``lasted`` long
    enough; by default never."""

    always_timed: ClassVar[bool] = False

    until: Seconds | None = None
    lasting: Seconds | None = None

    def problem(self) -> str:
        """Why this fault is impossible; "" if it is not."""
        if self.until is not None and self.lasting is not None:
            return "give either until (a time) or lasting (a duration), not both"
        if self.until is not None and self.after is not None:
            return "until is a time, and nobody knows when after happens: give lasting (seconds) instead"
        if self.until is not None and self.until <= (self.at or 0.0):
            return f"until ({self.until:g}) must be later than at ({self.at or 0.0:g})"
        return super().problem()

    @property
    def duration(self) -> float | None:
        """Seconds from its beginning to its end; None: it does not end."""
        return self.until - (self.at or 0.0) if self.until is not None else self.lasting

    @property
    def end(self) -> float:
        """When it is over."""
        return super().end + (self.duration or 0.0)
