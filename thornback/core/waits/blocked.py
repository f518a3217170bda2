"""The user threads of one process that wait in a call of this library."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol, TypeAlias

from thornback.core.config import SECOND, Config
from thornback.core.context import TaskContext
from thornback.core.ids import GCS, TASK_ID_SIZE, ObjectId, TaskId, WorkerId, node_of, owner_of
from thornback.core.messages.waits import (
    ACTOR,
    COPY,
    GROUP,
    LEASE,
    OBJECT,
    PROCESS,
    TASK,
    ReportWaits,
    Subject,
)
from thornback.core.ports import Ports
from thornback.core.runtime import Runtime

LONGEST_PAUSE = 60 * SECOND
"""A wait that goes on is reported again after twice the time, but no later than this."""

AWAIT, GET, WAIT, NEXT, PUT, ARGUMENT, GENERATOR, GROUP_WAIT, NAMED_ACTOR, CPU_AGAIN = (
    "await",
    "get()",
    "wait()",
    "next() of a generator",
    "put()",
    "the start of a task",
    "yield of a generator",
    "wait() for a placement group",
    "remote() of a named actor",
    "get(), whose value is there",
)


What: TypeAlias = tuple[str, Sequence[bytes], int]
"""What a thread waits for: the call (one of the names above), what for (objects, a generator's task, an actor, a
group), and how many of them are enough."""
Note: TypeAlias = tuple[What, bool, TaskContext | None, int]
"""What a thread that waits leaves behind, at the least cost: what for, whether with a timeout, whose code it is, and
since when."""


class Awaited(Protocol):
    """The future of a reference that a coroutine awaits."""

    def done(self) -> bool:
        """Whether nobody waits for it any more."""

    def __hash__(self) -> int: ...


class Wait:
    """One user thread that waits, as far as others are concerned."""

    __slots__ = ("call", "context", "has_timeout", "identifiers", "needed", "note", "report_at", "since", "site")

    def __init__(self, note: Note) -> None:
        self.note = note
        what, self.has_timeout, self.context, self.since = note
        self.call, self.identifiers, self.needed = what
        self.report_at = 0
        self.site = ""


class BlockedThreads:
    """Who waits in this process, and the news of it to the GCS once it lasts.

    A thread that waits leaves a note here, nothing more. One timer per process looks at the notes every ``wait_check``
    nanoseconds while there are any, finds where in the user's code those threads are that have waited for so long, and
    tells the GCS, which looks for cycles.

    Attributes:
        notes: of the threads that wait; each thread changes its own, outside of turns.
        watching: whether the timer runs.
        awaits: what coroutines await, of which task, and since when. These may have a timeout that nobody here sees, so
            they are told to those who ask and never counted as part of a cycle.
    """

    def __init__(self, worker_id: WorkerId, ports: Ports, config: Config) -> None:
        self.worker_id = worker_id
        self.now = ports.clock.now
        self._clock = ports.clock
        self._transport = ports.transport
        self._period = config.wait_check
        self.notes: dict[Hashable, Note] = {}
        self.awaits: dict[Awaited, tuple[ObjectId, TaskContext | None, int]] = {}
        self.watching = False
        self._runtime: Runtime | None = None
        """Known from the first wait on."""
        self._waits: dict[Hashable, Wait] = {}
        """What is known of the threads that have been looked at."""

    def watch(self, runtime: Runtime) -> None:
        """Look at the notes from time to time, as long as there are any. Called outside of turns."""
        with runtime.turn:
            self._runtime = runtime
            if not self.watching:
                self._watch()

    def _watch(self) -> None:
        self.watching = True
        if self._period > 0:
            self._clock.call_after(self._period, self._look)

    def _look(self) -> None:
        now = self.now()
        long: list[Subject] = []
        for wait in self.waits().values():
            lasted = now - wait.since
            if wait.has_timeout or lasted < self._period or now < wait.report_at:
                continue
            wait.report_at = now + min(lasted, LONGEST_PAUSE)
            if wait.context is None:
                long.append(Subject(self.worker_id, PROCESS, self.worker_id))
            else:
                long.append(Subject(self.worker_id, TASK, wait.context.task_id))
        if long:
            self._transport.send(GCS, ReportWaits(tuple(dict.fromkeys(long))))
        if self.notes:
            self._watch()
        else:
            self.watching = False

    def waits(self) -> dict[Hashable, Wait]:
        """The threads that wait."""
        known, self._waits = self._waits, {}
        for thread, note in list(self.notes.items()):
            wait = known.get(thread)
            self._waits[thread] = wait if wait is not None and wait.note is note else Wait(note)
        return self._waits

    def of_task(self, task_id: bytes) -> Wait | None:
        """Where a task of this worker waits; None if it does not."""
        for wait in self.waits().values():
            if wait.context is not None and wait.context.task_id == task_id:
                return wait
        return None

    def awaits_of(self, task_id: TaskId) -> list[tuple[ObjectId, int]]:
        """What the coroutines of a task of this worker await, and since when."""
        return [
            (object_id, since)
            for future, (object_id, context, since) in list(self.awaits.items())
            if context is not None and context.task_id == task_id and not future.done()
        ]

    def of_program(self) -> Wait | None:
        """Where a driver waits; None if it does not, or has threads that may go on."""
        waits = list(self.waits().items())
        if len(waits) != 1 or self._runtime is None or self._runtime.has_other_threads(waits[0][0]):
            return None
        return waits[0][1]

    def site_of(self, wait: Wait) -> str:
        """``file:line function`` of the user's code that waits; found once, when somebody wants to know."""
        if not wait.site and self._runtime is not None:
            for thread, known in self._waits.items():
                if known is wait:
                    wait.site = self._runtime.site_of(thread)
        return wait.site


def subject_of(call: str, identifier: bytes, worker_id: WorkerId) -> Subject:
    """What a wait of this process is for, as a subject of its own."""
    node_id = node_of(worker_id)
    if call in (PUT, ARGUMENT):
        return Subject(node_id, COPY, identifier)
    if call == GENERATOR:
        return Subject(identifier, PROCESS, identifier)
    if call == GROUP_WAIT:
        return Subject(GCS, GROUP, identifier)
    if call == NAMED_ACTOR:
        return Subject(worker_id, ACTOR, identifier)
    if call == CPU_AGAIN:
        return Subject(node_id, LEASE, worker_id)
    owner = worker_id if len(identifier) == TASK_ID_SIZE else owner_of(identifier)
    return Subject(owner, OBJECT, identifier)
