"""Shows a run to all checkers and collects what they find."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from thornback.core.messages import MESSAGES, Message
from thornback.faults.invariants.base import Checker, Violation, event_kind, handlers, snake

if TYPE_CHECKING:
    from thornback.simulator.world import World

MOST = 20
"""Violations that are kept of one run; one cause often shows many times."""


class Monitor:
    """The checkers of one run.

    Attributes:
        violations: what they have found, in the order of its happening.
    """

    def __init__(self, checkers: Sequence[Checker]) -> None:
        self.checkers: list[Checker] = []
        self.violations: list[Violation] = []
        self._events: dict[str, list[tuple[Checker, Callable[..., None]]]] = {}
        self._messages: dict[type[Message], list[tuple[Checker, Callable[..., None]]]] = {}
        for checker in checkers:
            self.add(checker)

    def add(self, checker: Checker) -> None:
        """One more checker, which sees what happens from now on."""
        checker.attach(self._found)
        self.checkers.append(checker)
        for name, call in handlers(checker, "on_").items():
            self._events.setdefault(event_kind(name), []).append((checker, call))
        wanted = handlers(checker, "saw_")
        for message_type in MESSAGES:
            call_or_none = wanted.get(snake(message_type.__name__))
            if call_or_none is not None:
                self._messages.setdefault(message_type, []).append((checker, call_or_none))

    def add_listening(self, checker: Checker, kinds: Sequence[str], call: Callable[..., None]) -> None:
        """One more checker, which wants ``call(time, kind, subject, detail)`` for some kinds of events."""
        checker.attach(self._found)
        self.checkers.append(checker)
        for kind in kinds:
            listening = functools.partial(_with_kind, call, kind)
            self._events.setdefault(kind, []).append((checker, listening))

    def watch(self, world: World) -> None:
        """See all that happens in a simulation; call it before the simulation begins."""
        world.trace.listeners.append(self.event)
        if self._messages:
            world.trace.message_listeners.append(self.message)
        for checker in self.checkers:
            checker.begin(world)

    # --- What happens

    def event(self, time: int, kind: str, subject: bytes, detail: Any) -> None:
        """Something happened; implements ``Listener`` of the trace."""
        found = self._events.get(kind)
        if found is not None:
            for checker, call in found:
                checker.time = time
                call(time, subject, detail)

    def message(self, time: int, sender: bytes, to: bytes, message: Message, cause: int = 0) -> None:
        """A message arrives; implements ``MessageListener`` of the trace."""
        found = self._messages.get(type(message))
        if found is not None:
            for checker, call in found:
                checker.time = time
                call(time, sender, to, message)

    def _found(self, violation: Violation) -> None:
        if len(self.violations) < MOST:
            self.violations.append(violation)

    # --- At rest

    def is_settled(self, world: World) -> bool:
        """Whether everything is as it must be some time after the last fault."""
        return not any(next(iter(checker.unsettled(world)), None) for checker in self.checkers)

    def fail_unsettled(self, world: World, bound: float, connected: bool = False) -> None:
        """Time is up: what is still unsettled is a violation.

        Args:
            connected: the program's driver is still there, so that only what does not wait for its end counts.
        """
        for checker in self.checkers:
            if connected and not checker.of_drivers:
                continue
            for where, text, subject in checker.unsettled(world):
                checker.time = world.engine._now
                checker.fail(subject, where, f"{text}, {bound:g} s after the last fault")


def _with_kind(call: Callable[..., None], kind: str, time: int, subject: bytes, detail: Any) -> None:
    call(time, kind, subject, detail)
