"""Processes, jobs and nodes: who is there, what they have, who has ended."""

from __future__ import annotations

from typing import ClassVar

from thornback.core.ids import Address, JobId, NodeId, WorkerId
from thornback.core.messages.base import Message, Record, ResourceMap
from thornback.core.messages.shares import JobShare, JobUse


class RegisterWorker(Message, frozen=True, tag=40):
    """Worker or driver to its raylet: I am up."""

    pid: int
    is_driver: bool = False


class Death(Record, frozen=True):
    """The end of a process or a node, for good."""

    address: Address
    reason: str


class Deaths(Message, frozen=True, tag=41):
    """Raylet to GCS and to those who watch, GCS to raylets, raylet to its processes: these have ended. The GCS and
    raylets tell of nodes to all."""

    latest_by: ClassVar[tuple[str, ...] | None] = ("deaths",)

    deaths: tuple[Death, ...]


class WatchProcesses(Message, frozen=True, tag=55):
    """Worker or driver to its raylet, raylet to the raylet of those processes: tell me when they end, or that they
    have."""

    processes: tuple[WorkerId, ...]


class EndWorker(Message, frozen=True, tag=42):
    """Raylet to worker: end after what you have sent is on its way."""

    reason: str


class RetireWorker(Message, frozen=True, tag=240):
    """Raylet to worker: end, unless others would lose something with you."""

    reason: str


class WorkerNeeded(Message, frozen=True, tag=241):
    """Worker to raylet: this process owns what others use, and does not end yet."""


class JobTerms(Record, frozen=True):
    """What a job may claim of the cluster."""

    weight: float = 1.0
    """Its part when jobs compete, against their weights."""
    quota: ResourceMap = {}
    """Most that it may hold, by resource; one that is not named is without limit."""


class StartJob(Message, frozen=True, tag=43):
    """Driver to GCS."""

    namespace: str
    entrypoint: str
    metadata: dict[str, str]
    terms: JobTerms = JobTerms()


class JobStarted(Message, frozen=True, tag=44):
    """GCS to driver; driver to its raylet; raylet to a worker that works for the job from now on."""

    job_id: JobId
    namespace: str
    terms: JobTerms = JobTerms()


class EndJob(Message, frozen=True, tag=45):
    """Driver to GCS: the program is over; whatever it started and that is not detached ends."""

    job_id: JobId


class JobEnded(Message, frozen=True, tag=46):
    """GCS to raylets: end the workers of that job that serve nobody."""

    job_id: JobId


class NodeView(Record, frozen=True):
    """What others know of a node."""

    node_id: NodeId
    version: int
    """Grows with each change; a lower one is stale."""
    name: str
    total: ResourceMap
    available: ResourceMap
    labels: dict[str, str]
    alive: bool = True
    draining: bool = False
    waiting: int = 0
    """Lease requests in its queue."""
    endpoint: str = ""
    """Network address, for people and links."""
    lasting: ResourceMap = {}
    """Held by actors and bundles: it does not come back when others ask for it."""


class RegisterNode(Message, frozen=True, tag=47):
    """Raylet to GCS, at start and when the GCS came back."""

    view: NodeView
    is_head: bool


class NodeRegistered(Message, frozen=True, tag=48):
    """GCS to raylet."""

    nodes: int
    """Nodes alive, itself included."""


class NodeFenced(Message, frozen=True, tag=49):
    """GCS to raylet: you were declared dead; end all your workers and start again under a new id."""


class Heartbeat(Message, frozen=True, tag=50):
    """Raylet to GCS: alive."""

    reliable: ClassVar[bool] = False


class ReportResources(Message, frozen=True, tag=51):
    """Raylet to GCS: my resources or queue have changed."""

    view: NodeView
    jobs: tuple[JobUse, ...] = ()


class GetView(Message, frozen=True, tag=52):
    """Anyone to GCS: what has changed in the cluster since ``since``?"""

    latest_by: ClassVar[tuple[str, ...] | None] = ("since",)

    since: int


class SlowNode(Record, frozen=True):
    """A node on which tasks take long."""

    node_id: NodeId
    factor: float
    """How many times longer than the same functions take on other nodes."""


class SlowNodes(Message, frozen=True, tag=54):
    """GCS to raylets: the nodes that are slow now; all others are as they should be."""

    nodes: tuple[SlowNode, ...]


class ViewDelta(Message, frozen=True, tag=53):
    """GCS to asker: nodes that changed after the version that was asked for."""

    version: int
    nodes: tuple[NodeView, ...]
    shares: tuple[JobShare, ...] = ()
    """What each job holds on other nodes than the asker."""
    total: ResourceMap = {}
    """What all nodes have together."""


class MemoryShort(Message, frozen=True, tag=234):
    """Anyone to raylet: act as if the node's memory were used up. For faults."""
