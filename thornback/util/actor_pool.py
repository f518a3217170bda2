"""A fixed set of actors that work off a stream of values."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import thornback

V = TypeVar("V")
Call = Callable[[Any, V], Any]
"""``lambda actor, value: actor.method.remote(value)``"""


class ActorPool(Generic[V]):
    """Gives each value to an actor that is free.

    Args:
        actors: handles of actors that can all do the work.

    ::

        pool = ActorPool([Worker.remote() for _ in range(4)])
        list(pool.map(lambda actor, value: actor.double.remote(value), [1, 2, 3]))
    """

    def __init__(self, actors: Iterable[Any]) -> None:
        self._idle = deque(actors)
        self._running: dict[Any, tuple[int, Any]] = {}
        """Call number and actor, by the reference of the result."""
        self._by_number: dict[int, Any] = {}
        self._submitted = 0
        self._next_return = 0
        self._waiting: deque[tuple[Call[V], V]] = deque()

    def map(self, fn: Call[V], values: Iterable[V]) -> Iterator[Any]:
        """Results in the order of the values, each as soon as it and those before are there.

        Results of earlier ``submit`` calls that were not fetched are dropped.

        Args:
            fn: takes an actor and a value and calls one of the actor's methods with ``.remote``.
            values: one call is made for each.
        """
        self._drop_results()
        for value in values:
            self.submit(fn, value)
        return self._results(self.get_next)

    def map_unordered(self, fn: Call[V], values: Iterable[V]) -> Iterator[Any]:
        """Results as soon as they are there, in any order; else like :meth:`map`."""
        self._drop_results()
        for value in values:
            self.submit(fn, value)
        return self._results(self.get_next_unordered)

    def submit(self, fn: Call[V], value: V) -> None:
        """Make one call, now or as soon as an actor is free."""
        if not self._idle:
            self._waiting.append((fn, value))
            return
        actor = self._idle.popleft()
        ref = fn(actor, value)
        self._running[ref] = (self._submitted, actor)
        self._by_number[self._submitted] = ref
        self._submitted += 1

    def has_next(self) -> bool:
        """Whether a result is still to come."""
        return bool(self._running)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The next result, in the order of the calls.

        Args:
            timeout: seconds to wait for it.
            ignore_if_timedout: give the result up when it does not come in time.

        Raises:
            StopIteration: there are no calls left.
            ValueError: some results were taken with :meth:`get_next_unordered` and cannot be ordered any more.
            TimeoutError: it did not come in time.
        """
        if not self.has_next():
            raise StopIteration("no more results to get")
        if self._next_return not in self._by_number:
            raise ValueError("get_next() after get_next_unordered(): the next result in order was taken already")
        ref = self._by_number[self._next_return]
        problem = self._wait([ref], timeout)
        if problem is None or ignore_if_timedout:
            del self._by_number[self._next_return]
            self._next_return += 1
            self._free(self._running.pop(ref)[1])
        if problem is not None:
            raise problem
        return thornback.get(ref)

    def get_next_unordered(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """Any result that is there.

        Args:
            timeout: seconds to wait for one.
            ignore_if_timedout: give one result up when none comes in time.

        Raises:
            StopIteration: there are no calls left.
            TimeoutError: none came in time.
        """
        if not self.has_next():
            raise StopIteration("no more results to get")
        ready, _rest = thornback.wait(list(self._running), num_returns=1, timeout=timeout)
        problem = None if ready else TimeoutError("no result in time")
        if problem is None or ignore_if_timedout:
            ref = ready[0] if ready else next(iter(self._running))
            number, actor = self._running.pop(ref)
            del self._by_number[number]
            self._next_return = max(self._next_return, number + 1)
            self._free(actor)
        if problem is not None:
            raise problem
        return thornback.get(ref)

    def has_free(self) -> bool:
        """Whether an actor is free and no call waits for it."""
        return bool(self._idle) and not self._waiting

    def pop_idle(self) -> Any | None:
        """Take a free actor out of the pool; None if there is none."""
        return self._idle.popleft() if self.has_free() else None

    def push(self, actor: Any) -> None:
        """Add an actor.

        Raises:
            ValueError: it is in the pool already.
        """
        busy = [working for _number, working in self._running.values()]
        if actor in self._idle or actor in busy:
            raise ValueError(f"{actor!r} belongs to the pool already")
        self._free(actor)

    def _free(self, actor: Any) -> None:
        self._idle.append(actor)
        if self._waiting:
            self.submit(*self._waiting.popleft())

    def _wait(self, refs: list[Any], timeout: float | None) -> TimeoutError | None:
        if timeout is None:
            return None
        ready, _rest = thornback.wait(refs, num_returns=1, timeout=timeout)
        return None if ready else TimeoutError("no result in time")

    def _drop_results(self) -> None:
        while self.has_next():
            try:
                self.get_next_unordered(timeout=0, ignore_if_timedout=True)
            except Exception:
                continue

    def _results(self, take: Callable[[], Any]) -> Iterator[Any]:
        while self.has_next():
            yield take()
