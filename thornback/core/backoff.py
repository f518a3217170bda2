"""How long to wait before something is tried again."""

from __future__ import annotations

from dataclasses import dataclass

from thornback.core.ports import RandomStream

MOST_DOUBLINGS = 62
"""Beyond that any delay is at its limit, and the numbers need not grow for ever."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with *equal jitter*: half of the delay is certain, the other half is drawn.

    The delay doubles with each failure, so that what is overloaded gets time, and many that failed at the same moment
    do not come back at the same moment. Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
    2015.

    Attributes:
        first: bound of the delay after the first failure, in nanoseconds.
        limit: bound that it doubles up to, in nanoseconds.
    """

    first: int
    limit: int

    def bound(self, failures: int) -> int:
        """The longest delay after so many failures in a row (1: the first), in nanoseconds."""
        return max(self.first, min(self.limit, self.first << min(max(failures, 1) - 1, MOST_DOUBLINGS)))

    def delay(self, failures: int, random: RandomStream) -> int:
        """The delay after so many failures in a row, drawn from the upper half of :meth:`bound`."""
        bound = self.bound(failures)
        return bound - int(bound * random.random() / 2)
