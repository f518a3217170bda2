"""The user threads of one process that wait in a call of this library."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from thornback.core.config import SECOND, Config
from thornback.core.context import TaskContext
from thornback.core.ids import GCS, TASK_ID_SIZE, WorkerId, node_of, owner_of
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

GET, WAIT, NEXT, PUT, ARGUMENT, GENERATOR, GROUP_WAIT, NAMED_ACTOR, CPU_AGAIN = (
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


class Wait:
    """One user thread that waits.

    Args:
        call: what it called, one of the names above.
        identifiers: what for: objects, a generator's task, an actor or a group.
        needed: how many of them are enough.
        has_timeout: it goes on by itself after a while.
    """

    __slots__ = ("call", "context", "has_timeout", "identifiers", "needed", "report_at", "since", "site")

    def __init__(self, call: str, identifiers: Sequence[bytes], needed: int, has_timeout: bool = False) -> None:
        self.call = call
        self.identifiers = identifiers
        self.needed = needed
        self.has_timeout = has_timeout
        self.context: TaskContext | None = None
        self.since = 0
        self.report_at = 0
        self.site = ""


class BlockedThreads:
    """Who waits in this process, and the news of it to the GCS once it lasts.

    A thread that waits leaves a note here, nothing more. One timer per process looks at the notes every ``wait_check``
    nanoseconds while there are any, finds where in the user's code those threads are that have waited for so long, and
    tells the GCS, which looks for cycles.
    """

    def __init__(self, worker_id: WorkerId, ports: Ports, config: Config) -> None:
        self.worker_id = worker_id
        self._clock = ports.clock
        self._transport = ports.transport
        self._period = config.wait_check
        self.by_thread: dict[Hashable, Wait] = {}
        """Changed by user threads outside of turns, each at its own key."""
        self.runtime: Runtime | None = None
        """Known from the first wait on."""
        self._watching = False

    def begin(self, runtime: Runtime, wait: Wait, context: TaskContext | None) -> None:
        """The calling thread waits from now on. Called outside of turns."""
        wait.context = context
        wait.since = self._clock.now()
        self.by_thread[runtime.thread()] = wait
        if not self._watching:
            with runtime.turn:
                self.runtime = runtime
                if not self._watching:
                    self._watch()

    def end(self, runtime: Runtime) -> None:
        """The calling thread goes on."""
        self.by_thread.pop(runtime.thread(), None)

    def _watch(self) -> None:
        self._watching = True
        if self._period > 0:
            self._clock.call_after(self._period, self._look)

    def _look(self) -> None:
        now = self._clock.now()
        long: list[Subject] = []
        for wait in list(self.by_thread.values()):
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
        if self.by_thread:
            self._watch()
        else:
            self._watching = False

    def of_task(self, task_id: bytes) -> Wait | None:
        """Where a task of this worker waits; None if it does not."""
        for wait in list(self.by_thread.values()):
            if wait.context is not None and wait.context.task_id == task_id:
                return wait
        return None

    def of_program(self) -> Wait | None:
        """Where a driver waits; None if it does not, or has threads that may go on."""
        waits = list(self.by_thread.items())
        if len(waits) != 1 or self.runtime is None or self.runtime.has_other_threads(waits[0][0]):
            return None
        return waits[0][1]

    def site_of(self, wait: Wait) -> str:
        """``file:line function`` of the user's code that waits; found once, when somebody wants to know."""
        if not wait.site and self.runtime is not None:
            for thread, known in list(self.by_thread.items()):
                if known is wait:
                    wait.site = self.runtime.site_of(thread)
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
