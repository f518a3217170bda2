"""A first-in, first-out queue that tasks, actors and drivers share."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

import thornback

T = TypeVar("T")


class Empty(queue.Empty):
    """There was nothing to take."""


class Full(queue.Full):
    """There was no room."""


class Queue(Generic[T]):
    """A queue that lives in an actor of its own. It can be passed on; all copies are the same queue.

    Args:
        maxsize: most items; 0 or less is without limit.
        actor_options: options of the actor, as for ``@remote`` on a class.

    Attributes:
        actor: handle of the actor.
    """

    def __init__(self, maxsize: int = 0, actor_options: Mapping[str, Any] | None = None) -> None:
        from thornback.util.queue_actor import QueueActor

        self.maxsize = maxsize
        self.actor = thornback.remote(QueueActor).options(**dict(actor_options or {})).remote(maxsize)

    def __len__(self) -> int:
        return self.size()

    def size(self) -> int:
        """Items in the queue."""
        return int(thornback.get(self.actor.qsize.remote()))

    def qsize(self) -> int:
        """Items in the queue."""
        return self.size()

    def empty(self) -> bool:
        """Whether there is nothing to take."""
        return self.size() == 0

    def full(self) -> bool:
        """Whether there is no room."""
        return 0 < self.maxsize <= self.size()

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Add an item.

        Args:
            block: wait for room.
            timeout: at most so many seconds.

        Raises:
            Full: there was no room (in time).
            ValueError: ``timeout`` is negative.
        """
        _done_put(thornback.get(self.actor.put.remote(item, _patience(block, timeout))))

    async def put_async(self, item: T, block: bool = True, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """:meth:`put` for coroutines."""
        _done_put(await self.actor.put.remote(item, _patience(block, timeout)))

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Take the oldest item.

        Args:
            block: wait for one.
            timeout: at most so many seconds.

        Raises:
            Empty: there was none (in time).
            ValueError: ``timeout`` is negative.
        """
        answer: tuple[T, ...] = thornback.get(self.actor.get.remote(_patience(block, timeout)))
        return _taken(answer)

    async def get_async(self, block: bool = True, timeout: float | None = None) -> T:  # noqa: ASYNC109
        """:meth:`get` for coroutines."""
        answer: tuple[T, ...] = await self.actor.get.remote(_patience(block, timeout))
        return _taken(answer)

    def put_nowait(self, item: T) -> None:
        """:meth:`put` without waiting."""
        self.put(item, block=False)

    def get_nowait(self) -> T:
        """:meth:`get` without waiting."""
        return self.get(block=False)

    def put_nowait_batch(self, items: Iterable[T]) -> None:
        """Add all items, or none.

        Raises:
            Full: there is no room for all of them.
            TypeError: ``items`` cannot be iterated over.
        """
        if not isinstance(items, Iterable):
            raise TypeError(f"put_nowait_batch() takes a list of items, not {items!r}")
        batch = list(items)
        if not thornback.get(self.actor.put_batch.remote(batch)):
            raise Full(f"the queue has no room for {len(batch)} more items (maxsize {self.maxsize})")

    def get_nowait_batch(self, num_items: int) -> list[T]:
        """Take exactly so many items.

        Raises:
            Empty: there are fewer; they stay.
            TypeError, ValueError: ``num_items`` is not a whole number, or negative.
        """
        if not isinstance(num_items, int) or isinstance(num_items, bool):
            raise TypeError(f"get_nowait_batch(): num_items must be a whole number, not {num_items!r}")
        if num_items < 0:
            raise ValueError(f"get_nowait_batch(): num_items must be at least 0, not {num_items}")
        items: list[T] | None = thornback.get(self.actor.get_batch.remote(num_items))
        if items is None:
            raise Empty(f"the queue has fewer than {num_items} items")
        return items

    def shutdown(self, force: bool = False, grace_period_s: int = 5) -> None:
        """End the queue's actor; whoever uses the queue afterwards gets ActorDiedError.

        Args:
            force: at once, also if calls are under way.
            grace_period_s: seconds for calls under way to end.
        """
        if not force:
            thornback.wait([self.actor.__ray_terminate__.remote()], timeout=grace_period_s)
        thornback.kill(self.actor, no_restart=True)


def _patience(block: bool, timeout: float | None) -> float | None:
    """Seconds to wait in the actor; None is for ever."""
    if not block:
        return 0.0
    if timeout is not None and timeout < 0:
        raise ValueError(f"'timeout' must be at least 0, not {timeout}")
    return timeout


def _done_put(done: bool) -> None:
    if not done:
        raise Full("the queue is full")


def _taken(answer: tuple[T, ...]) -> T:
    if not answer:
        raise Empty("the queue is empty")
    return answer[0]
