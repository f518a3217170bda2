"""Object references as futures of :mod:`asyncio` and :mod:`concurrent.futures`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from thornback.api import current
from thornback.api.lazy import blocking
from thornback.core import context
from thornback.core.runtime import Runtime

if TYPE_CHECKING:
    from thornback.api.object_ref import ObjectRef

T = TypeVar("T")


def asyncio_future(ref: ObjectRef[T]) -> asyncio.Future[T]:
    """A future of the running loop that gets the value, or the error that ``get`` would raise."""
    runtime, loop = current.require(), asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    blocked = runtime.core.blocked
    blocked.awaits[future] = (ref.binary(), context.current.get(), blocked.now())

    def resolve() -> None:
        blocked.awaits.pop(future, None)
        if not future.done():
            settle(future, lambda: blocking.get(runtime, [ref.binary()], None)[0])

    def ready() -> None:
        try:
            loop.call_soon_threadsafe(resolve)
        except RuntimeError:
            blocked.awaits.pop(future, None)  # The loop was closed: nobody waits any more.

    blocking.when_ready(runtime, ref.binary(), ready)
    return future


def settle(future: asyncio.Future[T] | concurrent.futures.Future[T], fetch: Callable[[], T]) -> None:
    """Give a future what ``fetch`` returns or raises."""
    try:
        value = fetch()
    except StopIteration as error:
        wrapped = RuntimeError("the task raised StopIteration, which a future cannot carry")
        wrapped.__cause__ = error
        future.set_exception(wrapped)
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(value)


class RefFuture(concurrent.futures.Future[T]):
    """The future of a reference. ``result`` waits as ``get`` does, so that it works in every world."""

    def __init__(self, ref: ObjectRef[T], runtime: Runtime) -> None:
        super().__init__()
        self._ref = ref
        self._runtime = runtime

    def resolve(self) -> None:
        """Take the value; it is there."""
        if self.set_running_or_notify_cancel():
            settle(self, self._fetch)

    def _fetch(self) -> T:
        value: T = blocking.get(self._runtime, [self._ref.binary()], None)[0]
        return value

    def _wait(self, timeout: float | None) -> None:
        if not self.done():
            ready = blocking.wait(self._runtime, [self._ref.binary()], 1, timeout, True)
            if not ready:
                raise concurrent.futures.TimeoutError()

    def result(self, timeout: float | None = None) -> T:
        """The value; see :meth:`concurrent.futures.Future.result`."""
        self._wait(timeout)
        return super().result() if self.done() else self._fetch()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The error, if there is one; see :meth:`concurrent.futures.Future.exception`."""
        self._wait(timeout)
        if self.done():
            return super().exception()
        try:
            self._fetch()
        except Exception as error:
            return error
        return None


def concurrent_future(ref: ObjectRef[T]) -> concurrent.futures.Future[T]:
    """A future that any thread may wait for.

    Its callbacks run in a thread of their own; in the simulated world, where there are no threads, they run when the
    value arrives and must not block.
    """
    runtime = current.require()
    future = RefFuture(ref, runtime)
    if runtime.is_simulated:
        blocking.when_ready(runtime, ref.binary(), future.resolve)
    else:
        blocking.when_ready(runtime, ref.binary(), lambda: _resolver().put(future))
    return future


_to_resolve: queue.SimpleQueue[Any] | None = None


def _resolver() -> queue.SimpleQueue[Any]:
    global _to_resolve
    if _to_resolve is None:
        _to_resolve = queue.SimpleQueue()
        threading.Thread(target=_resolve_all, args=(_to_resolve,), name="thornback-futures", daemon=True).start()
    return _to_resolve


def _resolve_all(futures: queue.SimpleQueue[Any]) -> None:
    while True:
        try:
            futures.get().resolve()
        except Exception:
            # The session ended: whoever waits in result() learns it there.
            continue
