"""What a checker is: a class that watches events of the trace, and may look at the state of the cluster at rest.

A checker stands outside of the components. It is told what happens, in the order in which it happens, and keeps books
of its own: what it believes never comes from the tables of the component that it judges.
"""

from __future__ import annotations

import itertools
import pickletools
import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import msgspec

from thornback.core.messages import Value

if TYPE_CHECKING:
    from thornback.simulator.world import World

_ID = re.compile(r"^(?:[0-9a-f]{48}|[0-9a-f]{40})$")
Report = Callable[["Violation"], None]


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One promise that was broken."""

    invariant: str
    """Name of the invariant."""
    where: str
    """Which part of the promise, in words without ids: failures are grouped by it."""
    text: str
    """What happened, for people."""
    subject: str = ""
    """Hex of the id of the task, object, actor, lease, worker or node concerned; empty for none."""
    at: float = 0.0
    """Virtual seconds since the start."""

    @property
    def key(self) -> tuple[str, str]:
        """Failures with the same key are counted as the same."""
        return self.invariant, self.where


class Unsettled(NamedTuple):
    """Something that must change once faults have ended."""

    where: str
    text: str
    subject: bytes = b""


class Checker:
    """Base of all checkers. A new one is made for each run.

    Methods named ``on_<kind>`` with the dot of the kind as an underscore (``on_task_started``) are called as
    ``(time, subject, detail)`` with each such event; methods named ``saw_<message>`` as ``(time, sender, to, message)``
    with each message of that type, just before it is handled.
    """

    name: ClassVar[str]
    promise: ClassVar[str]
    """What always holds, in one sentence."""
    liveness: ClassVar[bool] = False
    """Whether the promise is about what happens in the end, rather than about what never happens."""
    of_drivers: ClassVar[bool] = False
    """Whether it must come true while the program's driver is still connected."""

    def __init__(self) -> None:
        self.time = 0
        self._report: Report | None = None
        self._world: World | None = None

    @property
    def world(self) -> World:
        """The simulation that is watched, for those who look at more than events and messages."""
        assert self._world is not None, "a checker looks at the cluster only while it watches a run"
        return self._world

    def attach(self, report: Report) -> None:
        """Send violations there."""
        self._report = report

    def begin(self, world: World) -> None:
        """The simulation that is about to begin."""
        self._world = world

    def fail(self, subject: bytes, where: str, text: str) -> None:
        """The promise is broken."""
        assert self._report is not None, "a checker reports only while it watches a run"
        violation = Violation(
            invariant=self.name, where=where, text=text, subject=subject.hex(), at=round(self.time / 1e9, 9)
        )
        self._report(violation)

    def unsettled(self, world: World) -> Iterable[Unsettled]:
        """What is not yet as it must be some time after the last fault; asked between turns, with all at rest."""
        return ()


def handlers(checker: Checker, prefix: str) -> dict[str, Callable[..., None]]:
    """The methods of a checker that begin with ``prefix``, by the rest of their names."""
    names = (name for name in dir(type(checker)) if name.startswith(prefix))
    return {name.removeprefix(prefix): getattr(checker, name) for name in names}


def event_kind(method: str) -> str:
    """``task_started`` is called for the event ``task.started``."""
    return method.replace("_", ".", 1)


@cache
def snake(name: str) -> str:
    """``PushTasks`` as ``push_tasks``."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def describe_error(value: Value) -> tuple[str, bytes]:
    """The name of the engine's class of a pickled error, and the id that it carries; "" and b"" for none. Nothing is
    unpickled, since that could run code of the user."""
    strings = [argument for _, argument, _ in pickletools.genops(value.data) if isinstance(argument, str)]
    name = ""
    for first, second in itertools.pairwise(strings):
        if first == "thornback.core.errors":
            name = second
            break
    found = next((text for text in strings if _ID.match(text)), "")
    return name, bytes.fromhex(found)


Detail = Any
