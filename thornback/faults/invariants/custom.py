"""Invariants of users: functions with a decorator, in the program that is explored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from thornback.faults.base import unknown
from thornback.faults.events import KINDS
from thornback.faults.invariants.base import Checker, Unsettled
from thornback.faults.invariants.monitor import Monitor

if TYPE_CHECKING:
    from thornback.simulator.world import World


class Event(NamedTuple):
    """What a user's invariant is shown.

    Attributes:
        time: virtual seconds since the start.
        kind: such as ``task.finished``; ``docs/events.md`` lists them.
        subject: id of the task, object, actor, lease, worker or node.
        detail: what is told with it, which depends on the kind.
    """

    time: float
    kind: str
    subject: bytes
    detail: Any

    @property
    def fields(self) -> dict[str, Any]:
        """What is told with it, by name."""
        return KINDS[self.kind].named(self.detail)


Check = Callable[..., Any]
Decorated = TypeVar("Decorated", bound=Check)


class CustomChecker(Checker):
    """Calls one function of the user.

    It breaks its promise by raising AssertionError, or by returning a text or False. What else it raises is reported as
    an error of the check, rather than of the engine.
    """

    def __init__(self, name: str, check: Check, on: Sequence[str], at_end: bool) -> None:
        super().__init__()
        self.name = name  # type: ignore[misc]
        self.on = tuple(on)
        self.at_end = at_end
        self._check = check

    def event(self, time: int, kind: str, subject: bytes, detail: Any) -> None:
        """One of the events that the user asked for."""
        if kind in self.on:
            self.time = time
            text = self._result(Event(time / 1e9, kind, subject, detail))
            if text:
                self.fail(subject, "the user's check", text)

    def unsettled(self, world: World) -> Iterable[Unsettled]:
        """At rest, for checks that are wanted there."""
        if self.at_end:
            text = self._result(world)
            if text:
                yield Unsettled("the user's check", text)

    def _result(self, argument: Any) -> str:
        try:
            found = self._check(argument)
        except AssertionError as error:
            return str(error) or f"{self.name}: the assertion failed"
        except Exception as error:
            place = extract_tb(error.__traceback__)[-1]
            at = f"{Path(place.filename).name}:{place.lineno}"
            return f"the check itself has failed: {type(error).__name__} at {at}: {error}"
        if found is False:
            return f"{self.name} does not hold"
        return found if isinstance(found, str) else ""


_declared: dict[str, dict[str, Callable[[], CustomChecker]]] = {}
"""By module and name, what was declared outside of any run."""
_active: Monitor | None = None


def invariant(name: str, on: str | Sequence[str] = (), at_end: bool = False) -> Callable[[Decorated], Decorated]:
    """Decorate a function that says whether something always holds in runs of this program.

    ::

        @thornback.faults.invariant("no task of ours fails", on="task.failed")
        def none_fails(event):
            return f"{event.kind} of {event.subject.hex()}"

    The function breaks the promise by raising AssertionError, or by returning a text that says what is wrong, or False.
    It must not change anything, nor call the API of Thornback. In the real world the decorator does nothing.

    Args:
        name: for reports.
        on: kinds of events; the function is called with an :class:`Event` at each.
        at_end: call it with the :class:`~thornback.simulator.world.World` when the program is over and all faults have
            ended; it is asked again until it holds or time is up.

    Raises:
        ValueError: neither ``on`` nor ``at_end`` says when to call it, or there is no such kind of event.
    """
    kinds = (on,) if isinstance(on, str) else tuple(on)
    if not kinds and not at_end:
        raise ValueError(f"invariant {name!r}: on= names events to look at, or at_end=True looks at the end of the run")
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"invariant {name!r}: {unknown('event', kind, tuple(KINDS))}")

    def register(function: Decorated) -> Decorated:
        def make() -> CustomChecker:
            return CustomChecker(name, function, kinds, at_end)

        if _active is not None:
            add(_active, make())
        else:
            _declared.setdefault(function.__module__, {})[name] = make
        return function

    return register


def add(monitor: Monitor, checker: CustomChecker) -> None:
    """Let a user's check see what happens from now on."""
    monitor.add_listening(checker, checker.on, checker.event)


def declared_in(module: str) -> list[CustomChecker]:
    """New checkers for what a module has declared when it was imported."""
    return [make() for make in _declared.get(module, {}).values()]


def activate(monitor: Monitor | None) -> None:
    """What is declared from now on belongs to this run; None: to no run."""
    global _active
    _active = monitor
