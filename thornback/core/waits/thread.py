"""How a user thread waits: its CPU goes to others meanwhile, and others can be told what it waits for."""

from __future__ import annotations

from thornback.core.context import TaskContext, current
from thornback.core.runtime import Runtime, Waiter
from thornback.core.waits.blocked import CPU_AGAIN, What

ROOM_PATIENCE = 5.0
"""Seconds that a task waits for room in shared memory, or for large arguments, before it lends its CPU to others. They
would want room too; but it may be they who give some back, or make what is missing."""


def wait_for(
    runtime: Runtime, waiter: Waiter, timeout: float | None = None, what: What | None = None, patience: float = 0.0
) -> bool:
    """Block the user thread; a task that blocks lets others use its CPU meanwhile. False after ``timeout`` seconds.

    Args:
        what: what for, so that others can be told why this thread does not go on.
        patience: seconds before the CPU goes to others; only with ``what`` and without ``timeout``.
    """
    if waiter.done:
        return True
    context = current.get()
    if what is None or (timeout is not None and timeout <= 0):
        return _block(runtime, waiter, timeout, context)
    blocked = runtime.core.blocked
    thread = runtime.thread()
    blocked.notes[thread] = (what, timeout is not None, context, blocked.now())
    try:
        if not blocked.watching:
            blocked.watch(runtime)
        if patience and runtime.block(waiter, patience):
            return True
        return _block(runtime, waiter, timeout, context)
    finally:
        blocked.notes.pop(thread, None)  # A finalizer of user code may have waited meanwhile, in the same thread.


def wait_for_room(runtime: Runtime) -> None:
    """Block the user thread, before it makes what only the GCS can, while too much is kept for the GCS already."""
    gcs = runtime.core.owner.gcs
    while gcs.is_full:
        with runtime.turn:
            waiter = gcs.await_room()
        wait_for(runtime, waiter)


def _block(runtime: Runtime, waiter: Waiter, timeout: float | None, context: TaskContext | None) -> bool:
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
        notes, thread = runtime.core.blocked.notes, runtime.thread()
        if thread in notes:
            notes[thread] = ((CPU_AGAIN, (), 1), False, context, runtime.core.blocked.now())
        runtime.block(ready)
