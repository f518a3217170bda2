"""The actor behind :class:`thornback.util.queue.Queue`."""

from __future__ import annotations

import asyncio
from typing import Any


class QueueActor:
    """Holds the items. Whether a call succeeded is its result, so that no traceback travels for an empty queue."""

    def __init__(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self.items: asyncio.Queue[Any] = asyncio.Queue(maxsize)

    async def qsize(self) -> int:
        """Items in the queue."""
        return self.items.qsize()

    async def put(self, item: Any, patience: float | None) -> bool:
        """Add an item; False if there was no room in time."""
        try:
            if patience == 0:
                self.items.put_nowait(item)
            else:
                await asyncio.wait_for(self.items.put(item), patience)
        except (asyncio.QueueFull, TimeoutError):
            return False
        return True

    async def get(self, patience: float | None) -> tuple[Any, ...]:
        """The oldest item in a tuple; an empty one if there was none in time."""
        try:
            if patience == 0:
                return (self.items.get_nowait(),)
            return (await asyncio.wait_for(self.items.get(), patience),)
        except (asyncio.QueueEmpty, TimeoutError):
            return ()

    async def put_batch(self, items: list[Any]) -> bool:
        """Add all items; False and none if there is no room for all."""
        if 0 < self.maxsize < self.items.qsize() + len(items):
            return False
        for item in items:
            self.items.put_nowait(item)
        return True

    async def get_batch(self, count: int) -> list[Any] | None:
        """The oldest items; None if there are fewer than ``count``."""
        if self.items.qsize() < count:
            return None
        return [self.items.get_nowait() for _ in range(count)]
