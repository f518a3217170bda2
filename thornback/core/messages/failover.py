"""What survives the GCS: who knows which incarnation of it, what is durable, and what nodes hold."""

from __future__ import annotations

from typing import ClassVar

from thornback.core.ids import ActorId, JobId, LeaseId, TaskId, WorkerId
from thornback.core.messages.base import Message, Record


class GcsStarted(Message, frozen=True, tag=170):
    """GCS to raylets, raylet to its processes, GCS to callers: this is another GCS than you know; meet it."""

    incarnation: int
    """Grows with each start of the GCS."""


class MeetGcs(Message, frozen=True, tag=171):
    """Anyone to GCS: I know this incarnation of you, and repeat now what the last one may not have heard."""

    incarnation: int


class CommitBarrier(Message, frozen=True, tag=172):
    """Anyone to GCS: answer with BarrierPassed when the effect of all that I have sent before is durable."""

    number: int
    incarnation: int
    """Of the GCS to which that was sent; another one answers with GcsStarted."""


class BarrierPassed(Message, frozen=True, tag=173):
    """GCS to raylets, GCS to callers: all that you sent before the barrier of that number is durable."""

    number: int


class HeldLease(Record, frozen=True):
    """A lease of the GCS that a node has granted, or has in its queue."""

    lease_id: LeaseId
    actor_id: ActorId
    worker_id: WorkerId
    """Empty while it waits for a worker."""


class HeldBundles(Record, frozen=True):
    """Bundles of a placement group that a node has set aside."""

    group_id: TaskId
    attempts: tuple[int, ...]
    """The reservation that each of them came by."""


class NodeHolds(Message, frozen=True, tag=174):
    """Raylet to GCS: what this node holds of what an earlier GCS asked of it; after RegisterNode, and after what it has
    sent again."""

    latest_by: ClassVar[tuple[str, ...] | None] = ()

    leases: tuple[HeldLease, ...]
    bundles: tuple[HeldBundles, ...]
    jobs: tuple[JobId, ...]
    """That its workers work for."""
    incarnation: int
    """Of the GCS that is told."""
