"""What a world offers to the code of one process that runs outside the core: the API and the running of user code.

User code runs in *user threads*: threads in the real world, greenlets in the simulated one. A user thread enters the
core with ``with runtime.turn:`` and waits with ``runtime.block(waiter)``. Both are the only points where it meets the
core.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thornback.core.worker import WorkerCore


class Waiter:
    """Something that a user thread (or a coroutine) waits for.

    The core completes it, in a turn. ``on_done`` belongs to the world: ``block`` sets it to learn of the completion.
    """

    __slots__ = ("done", "on_done", "remaining", "result")

    def __init__(self, remaining: int = 1) -> None:
        self.remaining = remaining
        self.done = remaining <= 0
        self.result: Any = None
        self.on_done: Callable[[], None] | None = None

    def count_down(self) -> None:
        """One of the awaited things has happened."""
        self.remaining -= 1
        if self.remaining <= 0:
            self.complete()

    def known(self, _what: object) -> None:
        """As :meth:`count_down`, for those who say what has happened."""
        self.count_down()

    def complete(self, result: Any = None) -> None:
        """All has happened; does nothing when repeated."""
        if self.done:
            return
        self.done = True
        self.result = result
        if self.on_done is not None:
            self.on_done()


wait_in_coroutine: Callable[[Waiter], Awaitable[None]]
"""Waits for the core on the running event loop; set by :mod:`thornback.api.coroutines`."""


class Runtime(ABC):
    """One process of a world, as its user threads see it."""

    core: WorkerCore
    turn: AbstractContextManager[Any]
    """``with runtime.turn:`` makes the body a turn of the core. May be nested. The world calls ``core.end_turn()``
    afterwards: at once when ``core.urgent`` is true, else soon (at the latest when a user thread blocks)."""

    drop: Callable[[bytes], None]
    """Takes the ids of references (and of generators) that were collected, from any thread, at any point. One object
    for the life of the process."""

    is_simulated: bool = False

    @abstractmethod
    def block(self, waiter: Waiter, timeout: float | None = None) -> bool:
        """Wait, outside any turn, until ``waiter.done``; False after ``timeout`` seconds (0 polls once).

        Raises:
            TaskCancelledError, KeyboardInterrupt: the user thread was interrupted.
            SessionEndedError: the node process is gone.
        """

    @abstractmethod
    def wall_time(self) -> int:
        """Nanoseconds since the epoch (virtual in the simulated world), for events that people read."""

    thread: Callable[[], Hashable]
    """The identity of the calling user thread."""

    @abstractmethod
    def site_of(self, thread: Hashable) -> str:
        """``file:line function`` of the innermost line of user code in a thread that waits; empty if it has gone."""

    @abstractmethod
    def has_other_threads(self, thread: Hashable) -> bool:
        """Whether user code of this process has threads besides that one."""

    @abstractmethod
    def close(self) -> None:
        """Leave the cluster; a cluster that this process started ends."""
