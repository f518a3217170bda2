"""Waiting for the core in a coroutine, for generators of asyncio actors."""

from __future__ import annotations

from thornback.core.runtime import Waiter


async def completed(waiter: Waiter) -> None:
    """Return, on the running event loop, once the waiter is done."""
    import asyncio

    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    def done() -> None:
        loop.call_soon_threadsafe(wake)

    waiter.on_done = done
    if waiter.done:
        wake()
    await future
