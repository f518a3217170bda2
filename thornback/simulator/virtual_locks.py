"""Locks for user code whose threads are greenlets: waiting for one lets the others go on.

``threading.Condition``, ``Event``, ``Semaphore``, ``Barrier`` and ``queue.Queue`` are made of locks and need no more.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from types import TracebackType
from typing import Any, NoReturn

from thornback.simulator import threads
from thornback.simulator.model import nanoseconds
from thornback.simulator.patches import Patches


def install(patches: Patches) -> None:
    """Let simulated user code make virtual locks."""
    for name in ("Lock", "_allocate_lock"):
        patches.replace(threading, name, _maker(patches, getattr(threading, name), VirtualLock))
    patches.replace(threading, "RLock", _maker(patches, threading.RLock, VirtualRLock))
    patches.replace(queue, "SimpleQueue", _maker(patches, queue.SimpleQueue, queue._PySimpleQueue))  # type: ignore[attr-defined]


def _maker(patches: Patches, original: Any, virtual: Any) -> Any:
    def make(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs) if patches.caller() is None else virtual(*args, **kwargs)

    return make


class VirtualLock:
    """As ``threading.Lock``. Waiters get it in the order of their arrival."""

    def __init__(self) -> None:
        self._locked = False
        self._waiters: deque[threads.UserThread] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock; False if that was not possible in time."""
        thread = threads.active
        if not self._locked:
            self._locked = True
            return True
        if not blocking or thread is None:
            return False
        return self._wait(thread, None if timeout < 0 else nanoseconds(timeout))

    def _wait(self, thread: threads.UserThread, timeout: int | None) -> bool:
        engine = thread.world.engine
        end = None if timeout is None else engine._now + max(timeout, 1)
        alarm = None if timeout is None else thread.wake_after(timeout)
        self._waiters.append(thread)
        try:
            while self._locked and (end is None or engine._now < end):
                thread.suspend()
            if self._locked:
                return False
            self._locked = True
            return True
        finally:
            self._waiters.remove(thread)
            if alarm is not None:
                thread.cancel(alarm)
            if not self._locked and self._waiters:
                self._waiters[0].wake()

    def release(self) -> None:
        """Give it back."""
        if not self._locked:
            raise RuntimeError("release unlocked lock")
        self._locked = False
        if self._waiters:
            self._waiters[0].wake()

    def locked(self) -> bool:
        """Whether someone has it."""
        return self._locked

    def __enter__(self) -> bool:
        return self.acquire()

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot pickle '_thread.lock' object")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class VirtualRLock:
    """As ``threading.RLock``; its owner is a user thread of the simulation."""

    def __init__(self) -> None:
        self._lock = VirtualLock()
        self._owner: threads.UserThread | None = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock, once more if it is held already."""
        thread = threads.active
        if self._owner is thread and self._count:
            self._count += 1
            return True
        if not self._lock.acquire(blocking, timeout):
            return False
        self._owner, self._count = thread, 1
        return True

    def release(self) -> None:
        """Give it back, once."""
        if self._owner is not threads.active or not self._count:
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._owner = None
            self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot pickle '_thread.RLock' object")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _is_owned(self) -> bool:
        return self._owner is threads.active and self._count > 0

    def _release_save(self) -> tuple[int, threads.UserThread | None]:
        state = (self._count, self._owner)
        self._count, self._owner = 0, None
        self._lock.release()
        return state

    def _acquire_restore(self, state: tuple[int, threads.UserThread | None]) -> None:
        self._lock.acquire()
        self._count, self._owner = state
