"""The doors: all that the core may ask of the world.

The real world implements them in :mod:`thornback.transports`, the simulated one in :mod:`thornback.simulator`. Every
call returns at once; what happens later comes back as a call of a component's method. A port never raises for a failure
of the outside: failures come back as data.

A *turn* is one call from a world into a component: a message, a timer, a user's call, the end of a process. The world
calls ``end_turn()`` on the process afterwards, before any other turn of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from thornback.core.config import Config
from thornback.core.ids import Address, JobId, TaskId, WorkerId
from thornback.core.messages import Message


class Timer(Protocol):
    """A call that has not happened yet."""

    def cancel(self) -> None:
        """Drop the call; does nothing after it happened."""


class Clock(Protocol):
    """Time of one node."""

    def now(self) -> int:
        """Nanoseconds since an arbitrary start; never decreases."""

    def call_after(self, delay: int, call: Callable[[], None]) -> Timer:
        """Start a turn with ``call()`` after ``delay`` nanoseconds (0: as soon as the present turn has ended)."""


class RandomStream(Protocol):
    """Random numbers for one purpose (the part of :class:`random.Random` that the core uses)."""

    def random(self) -> float:
        """A number in [0, 1)."""

    def randrange(self, stop: int, /) -> int:
        """An integer in [0, stop)."""


class Random(Protocol):
    """Source of streams, so that removing one draw does not shift the others."""

    def stream(self, purpose: str) -> RandomStream:
        """The stream of this component for ``purpose``; equal names give the same stream."""


class Transport(Protocol):
    """Messages between processes.

    In order and exactly once from one process to another while both live and the link between them is not given up;
    no promise across that break. The world calls ``peer_down(address)`` on a process when a process that it exchanged
    messages with on the same node has ended.
    """

    def send(self, to: Address, message: Message) -> None:
        """Send; a message to a process that has ended vanishes."""


class Write(NamedTuple):
    """One change of a durable table; ``value`` None deletes the key."""

    table: str
    key: bytes
    value: bytes | None


class DurableStore(Protocol):
    """Tables that survive the process."""

    def commit(self, writes: Sequence[Write], then: Callable[[], None]) -> None:
        """Make all the writes or none, then start a turn with ``then()``. Commits happen in the order of the calls."""

    def load(self) -> Sequence[Write]:
        """What was committed, at the start of a process."""


OUTSIDE = 1 << 42
"""Offsets from here on lie outside of the shared memory, in files on disk (:meth:`Disk.extend`): file number
``offset // OUTSIDE``, byte ``offset % OUTSIDE``."""


class ObjectMemory(Protocol):
    """The shared memory of one node, as bytes at offsets. Who owns which bytes is decided by
    :class:`thornback.core.objects.store.NodeStore`; this port only maps them, and the files beside it.
    """

    @property
    def capacity(self) -> int:
        """Size in bytes, without what lies outside."""

    def write(self, offset: int, parts: Sequence[memoryview | bytes]) -> None:
        """Copy ``parts`` one after the other to ``offset``; the block was allocated to the caller and is unsealed."""

    def read(self, offset: int, size: int, released: Callable[[], None]) -> memoryview:
        """A read-only view of a sealed block. ``released`` is called, from any thread, when the last view that was
        derived from it is gone."""

    def discard(self, offset: int, size: int) -> None:
        """The block is free; its bytes are not needed any more."""


class Piece(NamedTuple):
    """Where the bytes of one object lie on disk."""

    file: str
    offset: int
    stored: int
    """Bytes on disk."""
    size: int
    """Bytes in memory."""
    codec: str
    """How they are compressed; "" if they are not."""
    checksum: int
    """Of the bytes on disk."""


class Disk(Protocol):
    """Spill files of one node, which hold blocks of the node's :class:`ObjectMemory` that have to make room.

    May be slow, full or corrupt. The blocks stay allocated and unchanged until the call has ended.
    """

    def write(self, file: str, blocks: Sequence[tuple[int, int]], then: Callable[[Sequence[Piece], str], None]) -> None:
        """Write the blocks (offset and size in memory) to a new file, then start a turn with ``then(pieces, "")``; or
        with ``then((), reason)``, and nothing is left of the file."""

    def read(self, piece: Piece, offset: int, then: Callable[[str], None]) -> None:
        """Fill the block at ``offset`` in memory with a piece, then start a turn with ``then("")``; or with
        ``then(reason)`` if the file is gone, torn or corrupt."""

    def fetch(self, piece: Piece, offset: int, size: int, then: Callable[[bytes, str], None]) -> None:
        """Read a part of the object that a piece holds; start a turn with ``then(data, "")``, or, if any byte of the
        piece is not what was written, with ``then(b"", reason)``."""

    def copy(self, file: str, pieces: Sequence[Piece], then: Callable[[Sequence[Piece], str], None]) -> None:
        """Copy pieces of other files to a new one as they are, then start a turn as after :meth:`write`. Files from
        which is copied stay until then, unless they are deleted: the copy may fail for it."""

    def delete(self, file: str) -> None:
        """Remove a file; what is being read of it may fail."""

    def extend(self, offset: int, size: int, then: Callable[[str], None]) -> None:
        """Make a file of ``size`` bytes that all processes of the node find in their :class:`ObjectMemory` at
        ``offset``, from :data:`OUTSIDE` on; then start a turn with ``then("")``, or with ``then(reason)``."""

    def shorten(self, offset: int) -> None:
        """Remove what :meth:`extend` has made; whoever has it mapped keeps its bytes."""


class StartWorker(NamedTuple):
    """What a new worker process is told."""

    worker_id: WorkerId
    job_id: JobId
    config: Config


class Processes(Protocol):
    """Worker processes of one node. The world calls ``raylet.worker_exited(worker_id, detail)`` when one has ended, for
    whatever reason, also when it never came up."""

    def start(self, worker: StartWorker) -> None:
        """Start a worker; it sends RegisterWorker when it is ready."""

    def kill(self, worker_id: WorkerId) -> None:
        """End it at once (SIGKILL)."""

    def started_through(self, worker_id: WorkerId) -> int | None:
        """The highest task sequence number that the worker marked as started (see :meth:`UserCode.mark_started`);
        None if that is not known. Remains readable until :meth:`forget`."""

    def forget(self, worker_id: WorkerId) -> None:
        """The raylet has no more questions about a worker that ended."""


class Execution(Protocol):
    """One task or actor method that is ready to run; see :mod:`thornback.core.executor`."""

    task_id: TaskId
    name: str
    lane: str
    """Concurrency group (actors), "" for the default one."""
    sequence: int
    """Grows by one with each task that its sender pushed on a lease."""
    is_async: bool
    """Whether it is a coroutine that runs on the process's event loop."""


class UserCode(Protocol):
    """Where user code of a worker runs: threads in the real world, greenlets in the simulated one.

    The world runs ``execution.run()`` (blocking, outside any turn; for async ones it awaits ``execution.run_async()``)
    and then starts a turn with ``executor.finished(execution, outcome)``.
    """

    def open_lanes(self, lanes: dict[str, int], with_event_loop: bool) -> None:
        """Before an actor's first method: how many run at the same time in each concurrency group."""

    def start(self, execution: Any) -> None:
        """Run it as soon as its lane has a free thread."""

    def interrupt(self, task_id: TaskId) -> None:
        """Raise TaskCancelledError (KeyboardInterrupt in the main thread) in the user code of the task, if it runs."""

    def mark_started(self, sequence: int) -> None:
        """Note, where it survives this process, that the task with this sequence number starts now."""

    def exit(self, reason: str) -> None:
        """End this process after the present turn."""


class Trace(Protocol):
    """What happened, for timelines, stories and the checkers. Off in the real world unless asked for."""

    enabled: bool

    def event(self, kind: str, subject: bytes, detail: Any = None) -> None:
        """Something happened to ``subject`` (a task, object, actor, lease, worker or node id)."""


class Ports(NamedTuple):
    """The doors of one process. Components get those that they need."""

    clock: Clock
    random: Random
    transport: Transport
    trace: Trace


class NoTrace:
    """A trace that keeps nothing."""

    enabled = False

    def event(self, kind: str, subject: bytes, detail: Any = None) -> None:
        """Ignore the event."""
