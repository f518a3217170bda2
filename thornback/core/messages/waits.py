"""Why something waits: questions to whoever knows, and their answers.

What waits, and what it waits for, form a graph that no process knows as a whole. Each of its nodes is a
:class:`Subject`; the process that a subject names answers with a :class:`Reason`, whose ``needs`` are the edges.
"""

from __future__ import annotations

from typing import Union

from thornback.core.ids import Address, JobId, NodeId
from thornback.core.messages.base import Message, Record, ResourceMap

OBJECT = "object"
"""A value; asked of its owner."""
TASK = "task"
"""A task or actor call on the worker that it was sent to; asked of that worker."""
LEASE = "lease"
"""A request for a worker; asked of the raylet where it waits."""
HOLDER = "holder"
"""What a worker does that holds resources; asked of the worker. The identifier is that of the lease."""
HANDLES = "handles"
"""Who has handles of an actor that is idle; asked of the actor's owner."""
PROCESS = "process"
"""A driver or worker that might act, as it has a handle of something; asked of itself."""
NODE = "node"
"""All that holds resources of a node; asked of its raylet."""
ACTOR = "actor"
"""The creation, or the restart, of an actor; asked of the GCS."""
GROUP = "group"
"""The placing of a placement group; asked of the GCS."""
BUNDLE = "bundle"
"""A placement group as a holder of resources; asked of the GCS."""
COPY = "copy"
"""The local copy of a large object; asked of the raylet."""


class Subject(Record, frozen=True):
    """Something that may wait, and who knows what for."""

    at: Address
    kind: str
    """One of the names above."""
    identifier: bytes


class Reason(Record, frozen=True, kw_only=True):
    """What a subject waits for, or does."""

    name: str = ""
    """Function, method, class or group, for people."""
    needs: tuple[Subject, ...] = ()
    """What has to go on before this can."""
    needed: int = 0
    """How many of ``needs`` are enough; 0: it goes on by itself, or by something that nobody here knows."""
    since: int = 0
    """Nanoseconds on the clock of the answering process."""


class Unknown(Reason, frozen=True, tag=0):
    """Nothing is known of it (any more)."""

    why: str


class Finished(Reason, frozen=True, tag=1):
    """The value exists, or will never exist and ``get`` raises the error."""

    failed: bool
    size: int = 0
    nodes: tuple[NodeId, ...] = ()
    """Where a large value is."""


class ArgumentsMissing(Reason, frozen=True, tag=2):
    """Arguments do not exist yet: all of ``needs``."""

    arguments: int
    """How many arguments are references."""


class Backoff(Reason, frozen=True, tag=3):
    """An attempt has failed; the next follows by itself."""

    attempt: int


class WorkerWanted(Reason, frozen=True, tag=4):
    """Any of its requests for a worker, or of the tasks on workers that it could have afterwards."""

    ahead: int
    """Tasks of the same kind before it in the owner's queue."""


class GroupWanted(Reason, frozen=True, tag=5):
    """The placement group that it is to run in has no place yet."""


class Sent(Reason, frozen=True, tag=6):
    """It was sent to a worker, which knows more."""

    rebuilding: bool = False
    """It runs again since its value was lost."""


class ActorWanted(Reason, frozen=True, tag=7):
    """The actor is not there yet, or not any more."""


class EarlierCall(Reason, frozen=True, tag=8):
    """An earlier call of the same process to the same actor must be sent first."""


class Running(Reason, frozen=True, tag=9):
    """User code runs."""

    pid: int = 0
    is_driver: bool = False


class Blocked(Reason, frozen=True, tag=10):
    """User code runs and waits in a call of this library."""

    call: str
    """get, wait, ..."""
    site: str
    """``file:line function`` of that call."""
    origin: str
    """``file:line function`` of the first ``.remote()`` of this process that made what it waits for."""
    job_id: JobId
    has_timeout: bool
    pid: int = 0
    is_driver: bool = False
    total: int = 0
    """How many values it waits for."""


class Queued(Reason, frozen=True, tag=11):
    """It waits on its worker until one of those that run there has ended."""

    limit: int
    """How many may run at a time."""


class Holding(Record, frozen=True):
    """Who holds something of a node."""

    name: str
    job_id: JobId
    resources: ResourceMap
    is_actor: bool = False
    is_group: bool = False


class ResourcesMissing(Reason, frozen=True, tag=14):
    """Not enough is free where the request waits."""

    demand: ResourceMap
    node: NodeId
    """Where the request waits."""
    free: ResourceMap
    """On that node, or in the bundle of the placement group."""
    total: ResourceMap
    holdings: tuple[Holding, ...]
    """Who has what of it there."""
    ahead: int
    """Requests that wait there too and were first."""
    others: int
    """Other nodes that are large enough and have no room either."""
    freest: NodeId = b""
    """The one of them with most free."""
    freest_has: ResourceMap = {}
    """What it has free."""
    kept_for: str = ""
    """Enough is free, but the room is kept for this one, which has waited longer."""


class WorkerStarting(Reason, frozen=True, tag=15):
    """Its resources are set aside, and a worker process starts."""

    node: NodeId


class QuotaUsedUp(Reason, frozen=True, tag=40):
    """There is room, but its job may not hold more."""

    demand: ResourceMap
    quota: ResourceMap


class Infeasible(Reason, frozen=True, tag=16):
    """No node has enough, even when idle."""

    why: str


class ActorComing(Reason, frozen=True, tag=17):
    """An actor is being made or made again."""

    restarting: bool
    why: str


class ActorThere(Reason, frozen=True, tag=18):
    """The actor is alive and waits for calls."""


class GroupComing(Reason, frozen=True, tag=19):
    """A placement group has no place."""

    state: str
    why: str


class Occupied(Reason, frozen=True, tag=20):
    """A worker holds its resources until all of ``needs``, its tasks, have ended."""


class IdleActor(Reason, frozen=True, tag=21):
    """An actor that does nothing holds its resources until its last handle is gone."""


class Held(Reason, frozen=True, tag=22):
    """Something lasts as long as these processes want it."""


class NodeInUse(Reason, frozen=True, tag=23):
    """What is held on a node: any of it may be enough."""


class CopyComing(Reason, frozen=True, tag=24):
    """A large object is not in the memory of the node yet."""

    step: str
    """pulling, restoring, writing or room"""
    size: int
    received: int
    capacity: int


AnyReason = Union[
    Unknown,
    Finished,
    ArgumentsMissing,
    Backoff,
    WorkerWanted,
    GroupWanted,
    Sent,
    ActorWanted,
    EarlierCall,
    Running,
    Blocked,
    Queued,
    ResourcesMissing,
    WorkerStarting,
    QuotaUsedUp,
    Infeasible,
    ActorComing,
    ActorThere,
    GroupComing,
    Occupied,
    IdleActor,
    Held,
    NodeInUse,
    CopyComing,
]


class AskReasons(Message, frozen=True, tag=200):
    """Anyone to a process, to a raylet or to GCS: what do these wait for? Answered with ReasonsGiven."""

    request: int
    subjects: tuple[Subject, ...]


class ReasonsGiven(Message, frozen=True, tag=201):
    """Anyone to a process or to GCS: one reason for each subject that was asked about."""

    request: int
    now: int
    """On the clock of the answering process, nanoseconds."""
    reasons: tuple[AnyReason, ...]


class ReportWaits(Message, frozen=True, tag=202):
    """Process to GCS: these wait here for so long that they may be part of a cycle."""

    subjects: tuple[Subject, ...]


class WaitCycleFound(Message, frozen=True, tag=203):
    """GCS to driver: tasks of your job wait for each other for ever."""

    text: str
