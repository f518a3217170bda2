"""How a user thread waits: its CPU goes to others meanwhile, and others can be told what it waits for."""

from __future__ import annotations

from thornback.core.context import TaskContext, current
from thornback.core.runtime import Runtime, Waiter
from thornback.core.waits.blocked import CPU_AGAIN, Wait


def wait_for(runtime: Runtime, waiter: Waiter, timeout: float | None = None, wait: Wait | None = None) -> bool:
    """Block the user thread; a task that blocks lets others use its CPU meanwhile. False after ``timeout`` seconds.

    Args:
        wait: what for, so that others can be told why this thread does not go on.
    """
    if waiter.done:
        return True
    context = current.get()
    if wait is None or (timeout is not None and timeout <= 0):
        return _block(runtime, waiter, timeout, context, wait)
    blocked = runtime.core.blocked
    wait.has_timeout = timeout is not None
    blocked.begin(runtime, wait, context)
    try:
        return _block(runtime, waiter, timeout, context, wait)
    finally:
        blocked.end(runtime)


def _block(
    runtime: Runtime, waiter: Waiter, timeout: float | None, context: TaskContext | None, wait: Wait | None
) -> bool:
    executor = runtime.core.executor
    if executor is None or context is None or not context.holds_cpu or (timeout is not None and timeout <= 0):
        return runtime.block(waiter, timeout)
    with runtime.turn:
        executor.block(context)
    try:
        return runtime.block(waiter, timeout)
    finally:
        with runtime.turn:
            ready = executor.unblock(context)
        if wait is not None:
            wait.call, wait.has_timeout = CPU_AGAIN, False
        runtime.block(ready)
