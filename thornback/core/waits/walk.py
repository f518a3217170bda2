"""Collecting a part of the graph of waits, question by question."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from thornback.core.ids import Address
from thornback.core.messages.waits import Reason, Subject, Unknown

LIMIT = 2000
"""Most subjects that one walk looks at."""


class Found(NamedTuple):
    """One answer."""

    reason: Reason
    lasted: int
    """Nanoseconds for which it had been so; 0 if that is not known."""


def all_needs(reason: Reason) -> Sequence[Subject]:
    """Follow every edge, to judge who is stuck."""
    return reason.needs


class Walk:
    """From some subjects to all that they wait for. Whoever walks asks the :meth:`questions`, and brings the answers.

    Args:
        roots: where to begin.
        follow: the needs of a reason that are looked at as well.
        limit: how many subjects are looked at; what is beyond stays unknown.
    """

    def __init__(
        self, roots: Iterable[Subject], follow: Callable[[Reason], Sequence[Subject]] = all_needs, limit: int = LIMIT
    ) -> None:
        self.found: dict[Subject, Found] = {}
        self._follow = follow
        self._limit = limit
        self._met: dict[Subject, None] = {}
        self._unasked: list[Subject] = []
        self._open: dict[Subject, None] = {}
        self._meet(roots)

    @property
    def done(self) -> bool:
        """Whether nothing is left to ask or to wait for."""
        return not self._unasked and not self._open

    @property
    def reasons(self) -> dict[Subject, Reason]:
        """What was found."""
        return {subject: found.reason for subject, found in self.found.items()}

    def _meet(self, subjects: Iterable[Subject]) -> None:
        for subject in subjects:
            if subject not in self._met and len(self._met) < self._limit:
                self._met[subject] = None
                self._unasked.append(subject)

    def questions(self) -> dict[Address, list[Subject]]:
        """What to ask whom next; each is returned once."""
        asked: dict[Address, list[Subject]] = {}
        for subject in self._unasked:
            self._open[subject] = None
            asked.setdefault(subject.at, []).append(subject)
        self._unasked = []
        return asked

    def answered(self, subjects: Sequence[Subject], reasons: Sequence[Reason], now: int) -> None:
        """Answers have come; late and repeated ones are ignored. ``now`` is on the clock of who answers."""
        for subject, reason in zip(subjects, reasons, strict=False):
            if subject in self._open:
                del self._open[subject]
                self.found[subject] = Found(reason, now - reason.since if reason.since else 0)
                self._meet(self._follow(reason))

    def give_up(self, subjects: Sequence[Subject]) -> None:
        """The answers to these questions are not waited for any more."""
        reason = Unknown(why="is not known: the process that should know does not answer")
        self.answered(subjects, [reason] * len(subjects), 0)
