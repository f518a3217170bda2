"""One task of this process, as its owner knows it."""

from __future__ import annotations

import msgspec

from thornback.core.ids import ActorId, Address, LeaseId, ObjectId, TaskId, pack_counter_32
from thornback.core.messages import DYNAMIC, STREAMING, TaskTemplate, Value

WAITING = "WAITING_FOR_ARGUMENTS"
QUEUED = "WAITING_FOR_WORKER"
PUSHED = "SUBMITTED_TO_WORKER"
BACKOFF = "WAITING_FOR_RETRY"
DONE = "FINISHED"
SUPERSEDED = "SUPERSEDED"
"""Of one of two runs: the other has won, and this one's worker has not yet said that it has stopped."""


class Task(msgspec.Struct, gc=False, eq=False):
    """One task or actor call of this process, until its end and, while it can be run again to rebuild, afterwards.

    Not tracked by the garbage collector, as :class:`thornback.core.owner.references.Reference`.
    """

    task_id: TaskId
    template: TaskTemplate
    arguments: Value
    dependencies: tuple[ObjectId, ...]
    parent: TaskId
    actor_id: ActorId
    retries_left: int
    attempt: int = 0
    state: str = WAITING
    unresolved: int = 0
    live_returns: int = 0
    lease_id: LeaseId = b""
    worker: Address = b""
    sequence: int = -1
    cancelled: bool = False
    logged: bool = False
    """A call to an actor with checkpoints that is acknowledged: it is kept until it is in a checkpoint."""
    place: int = 0
    """Actor calls: position among all calls of this process to actors, for resubmission in order."""
    last_attempt: int = 0
    """The highest attempt number that was given away, if that is not the present one."""
    twin: Task | None = None
    """The task's other run; see :mod:`thornback.core.owner.speculation`."""
    failed_once: bool = False
    """One of two runs has failed by itself: the other decides, and there is no third."""

    def next_attempt(self) -> int:
        """A number that no run of this task has had."""
        return max(self.attempt, self.last_attempt) + 1

    def returns(self) -> list[ObjectId]:
        """Ids of the returns that have ids from the start."""
        count = self.template.num_returns
        if count == STREAMING:
            return []
        return list(map(self.task_id.__add__, map(pack_counter_32, range(1 if count == DYNAMIC else count))))
