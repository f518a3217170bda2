"""Workers lent by raylets to owners and to the GCS."""

from __future__ import annotations

from thornback.core.ids import ActorId, Address, JobId, LeaseId, NodeId, WorkerId
from thornback.core.messages.base import Message, ResourceMap
from thornback.core.messages.nodes import JobTerms
from thornback.core.messages.tasks import Strategy


class RequestLease(Message, frozen=True, tag=20):
    """Owner (or the GCS, for an actor) to raylet: lend me a worker."""

    lease_id: LeaseId
    holder: Address
    resources: ResourceMap
    strategy: Strategy
    job_id: JobId
    runtime_env: str
    name: str
    """A function or class that waits for it, for people."""
    hops: int = 0
    """How often its node was chosen by comparing nodes, by raylets or the GCS: above 0 it stays where there is room."""
    actor_id: ActorId = b""
    """Set: the worker becomes this actor, and the lease lasts as long as the actor."""
    backlog: int = 1
    """Tasks that wait behind this request, for people and the autoscaler."""
    namespace: str = ""
    """Of the job."""
    retriable: bool = True
    """The tasks may run again if their worker ends."""
    patience: int = 0
    """How long it waits at the first node that it asks before it is passed on, nanoseconds: what it would take to move
    the arguments of its tasks from there."""
    avoid: NodeId = b""
    """A node that must not grant it as long as another one could."""
    priority: int = 0
    """Within the job; a higher one goes first."""
    run_time: int = -1
    """How long such tasks have run of late, in nanoseconds; -1 if unknown."""
    terms: JobTerms = JobTerms()
    """Of the job."""


class LeaseGranted(Message, frozen=True, tag=21):
    """Raylet to holder: the worker is yours."""

    lease_id: LeaseId
    worker_id: WorkerId
    gpu_ids: tuple[int, ...] = ()
    started_through: int = 0
    """Sequence number of the last task that it started under earlier leases; those of this one get higher ones."""


class LeaseSpilled(Message, frozen=True, tag=22):
    """Raylet to holder: ask that node instead."""

    lease_id: LeaseId
    node_id: NodeId
    hops: int
    """For the next RequestLease."""


class LeaseInfeasible(Message, frozen=True, tag=23):
    """Raylet to holder: no node of the cluster could ever grant this; the request goes on waiting for one that can."""

    lease_id: LeaseId
    reason: str


class CancelLease(Message, frozen=True, tag=24):
    """Holder to raylet: the request is not needed any more. If it was granted meanwhile, the holder returns it."""

    lease_id: LeaseId


class ReturnLease(Message, frozen=True, tag=25):
    """Holder to raylet: done with the worker."""

    lease_id: LeaseId
    end_worker: bool = False
    """The worker must not be used again (max_calls, a cancelled task that did not stop)."""
    reason: str = ""


class ReclaimLeases(Message, frozen=True, tag=26):
    """Raylet to owner: others wait for these workers; push nothing more to them and return them when they are done."""

    lease_ids: tuple[LeaseId, ...]
    when_idle: bool = False
    """Only as soon as nothing is queued for them: whoever has work for them keeps them."""


class LeaseLost(Message, frozen=True, tag=27):
    """Raylet to holder: the worker ended."""

    lease_id: LeaseId
    worker_id: WorkerId
    started_through: int | None
    """Highest sequence number that it has started, if known; what is above it has never begun."""
    reason: str
    out_of_memory: bool = False
    group_removed: bool = False
    """It ran in a placement group that was removed."""
    drained: bool = False
    """It was ended since its node leaves the cluster, with notice."""


class ReleaseCpu(Message, frozen=True, tag=28):
    """Worker to raylet: my task waits in ``get``; others may use its CPU."""


class AcquireCpu(Message, frozen=True, tag=29):
    """Worker to raylet: my task wants to go on."""


class CpuAcquired(Message, frozen=True, tag=30):
    """Raylet to worker: go on."""


class KillWorker(Message, frozen=True, tag=31):
    """Holder or GCS to raylet: end this worker of yours now (forced cancellation, an actor that is killed)."""

    worker_id: WorkerId
    reason: str
