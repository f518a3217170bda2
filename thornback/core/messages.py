"""Everything that processes say to each other, one type per thing said.

Frozen msgspec structs: cheap to make, validated when decoded, safe to parse from strangers. User values ride inside as
opaque pickled bytes. Ids are the ``bytes`` of :mod:`thornback.core.ids`; times are nanoseconds; sizes are bytes.
A handler of message type ``FooBar`` is the method ``on_foo_bar(sender, message)`` of the one component that takes it.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any, ClassVar, Union

import msgspec

from thornback.core.ids import ActorId, Address, JobId, LeaseId, NodeId, ObjectId, TaskId, WorkerId

ResourceMap = dict[str, int]


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Plain data inside messages."""


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of all messages."""

    reliable: ClassVar[bool] = True
    """Whether a link that loses messages sends it again until it is acknowledged."""


# --- Values ---------------------------------------------------------------------------------------------------------


class Value(Record, frozen=True, tag=1):
    """A serialized Python value, whole."""

    data: bytes
    """Pickle, protocol 5."""
    buffers: tuple[bytes, ...] = ()
    """Out-of-band buffers of ``data``."""
    contained: tuple[ObjectId, ...] = ()
    """References inside the value, in order of appearance."""
    is_error: bool = False
    """The value is an exception that ``get`` raises."""

    @property
    def size(self) -> int:
        """Bytes of data and buffers."""
        return len(self.data) + sum(map(len, self.buffers))


class Stored(Record, frozen=True, tag=2):
    """A value in the shared memory of at least one node."""

    size: int
    nodes: tuple[NodeId, ...]
    """Where it is; the first holds the primary copy."""
    contained: tuple[ObjectId, ...] = ()


Content = Union[Value, Stored]


class Dependency(Record, frozen=True):
    """One argument that was a reference: which object, and what its owner knew of it at the time of sending."""

    object_id: ObjectId
    content: Content


# --- Tasks ----------------------------------------------------------------------------------------------------------

STREAMING = -1
"""``num_returns`` of a streaming generator: items become objects one by one."""
DYNAMIC = -2
"""``num_returns`` of a dynamic generator: one return, which holds the references of all items."""


class Strategy(Record, frozen=True):
    """Where a task, actor or bundle may run."""

    kind: str = "DEFAULT"
    """DEFAULT, SPREAD, NODE (``node``, ``soft``), LABELS (``hard``, ``preferred``) or a registered policy's name."""
    node: NodeId = b""
    soft: bool = False
    hard: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    """(label, In | NotIn | Exists | DoesNotExist, values)"""
    preferred: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    group: bytes = b""
    """Placement group; empty for none."""
    bundle: int = -1
    """Bundle index in the group; -1 for any."""
    capture: bool = False
    """What the task submits runs in the group too, unless it says otherwise."""
    explicit: bool = False
    """The user asked for just this: no group is inherited."""


class TaskTemplate(Record, frozen=True):
    """What all calls of one function (or actor method) with equal options share. Sent once to each worker."""

    key: bytes
    """Content hash of the other fields."""
    function_id: bytes
    """Content hash of the pickled function; empty for an actor method."""
    name: str
    num_returns: int
    max_retries: int
    """Further attempts after the worker died, or after an exception that is retried; -1 is without limit."""
    retry_exceptions: bytes | bool
    """False, True, or a pickled tuple of exception types."""
    resources: ResourceMap
    strategy: Strategy
    max_calls: int
    backpressure: int
    """Most items of a streaming generator that may wait for their consumer; -1 is without limit."""
    job_id: JobId
    runtime_env: str
    """JSON of the runtime environment; empty for none."""
    method: str = ""
    """Name of the actor method; empty for a function."""
    lane: str = ""
    """Concurrency group of the actor method."""
    fail_infeasible: bool = False
    """Raise instead of waiting when no node could ever run it."""


class FunctionDefinition(Record, frozen=True):
    """A pickled function or actor class."""

    function_id: bytes
    name: str
    blob: bytes
    contained: tuple[ObjectId, ...] = ()
    """References that the function has captured."""


class TaskCall(Record, frozen=True):
    """One call of a template."""

    task_id: TaskId
    template: bytes
    """Key of the template."""
    arguments: Value
    """Pickled (args, kwargs), where arguments that were references are placeholders into ``dependencies``."""
    dependencies: tuple[Dependency, ...]
    attempt: int
    """0 for the first execution; grows with each retry or rebuild."""
    sequence: int
    """Grows by one with each task that the sender pushed on this lease, or with each call to this actor incarnation."""
    parent: TaskId = b""
    """The task that submitted it; empty for a driver."""


class PushTasks(Message, frozen=True, tag=1):
    """Owner to leased worker: run these."""

    lease_id: LeaseId
    definitions: tuple[FunctionDefinition, ...]
    """Functions that this worker has not seen."""
    templates: tuple[TaskTemplate, ...]
    """Templates that this worker has not seen."""
    tasks: tuple[TaskCall, ...]
    gpu_ids: tuple[int, ...] = ()
    """Of the lease."""


class TaskReply(Record, frozen=True):
    """How one attempt of one task ended."""

    task_id: TaskId
    attempt: int
    results: tuple[Content, ...]
    """The returns; empty if it failed. For generators: nothing (streaming) or the list of references (dynamic)."""
    error: Value | None = None
    """The exception, as RayTaskError or a system error."""
    retryable: bool = False
    """The error matches ``retry_exceptions``."""
    cancelled: bool = False
    items: int = 0
    """Items that a generator made."""
    kept: tuple[ObjectId, ...] = ()
    """References owned by the receiver that the worker still holds: it is their borrower from now on."""
    run_time: int = 0


class TaskReplies(Message, frozen=True, tag=2):
    """Worker to owner: these have ended."""

    source: bytes
    """The lease, or the actor id."""
    replies: tuple[TaskReply, ...]
    ending: bool = False
    """The worker ends now (``max_calls``); what else was sent to it on this lease has not started."""


class TasksReturned(Message, frozen=True, tag=3):
    """Worker to owner: these were not started and will not be; they were stolen, or the worker blocks."""

    lease_id: LeaseId
    task_ids: tuple[TaskId, ...]


class StealTasks(Message, frozen=True, tag=4):
    """Owner to leased worker: give back up to ``count`` tasks from the end of your queue, with TasksReturned."""

    lease_id: LeaseId
    count: int


class LeaseBlocked(Message, frozen=True, tag=5):
    """Worker to owner: my task waits in ``get``; push nothing until LeaseUnblocked."""

    lease_id: LeaseId


class LeaseUnblocked(Message, frozen=True, tag=6):
    """Worker to owner: running again."""

    lease_id: LeaseId


class CancelTask(Message, frozen=True, tag=7):
    """Owner to worker: stop this task if you have it. Its TaskReply says whether that succeeded."""

    task_id: TaskId
    force: bool
    """End the process if the task runs."""
    recursive: bool
    """Cancel what the task has submitted as well."""


class CancelRequest(Message, frozen=True, tag=8):
    """Borrower to owner: cancel the task that makes this object."""

    object_id: ObjectId
    force: bool
    recursive: bool


class StreamItem(Message, frozen=True, tag=9):
    """Worker to owner: a generator made its next item."""

    task_id: TaskId
    attempt: int
    index: int
    content: Content


class StreamConsumed(Message, frozen=True, tag=10):
    """Owner to worker: the consumer has taken this many items; -1: nobody will take any more."""

    task_id: TaskId
    count: int


# --- Leases ---------------------------------------------------------------------------------------------------------


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
    """How many raylets passed it on before."""
    actor_id: ActorId = b""
    """Set: the worker becomes this actor, and the lease lasts as long as the actor."""
    backlog: int = 1
    """Tasks that wait behind this request, for people and the autoscaler."""
    namespace: str = ""
    """Of the job."""


class LeaseGranted(Message, frozen=True, tag=21):
    """Raylet to holder: the worker is yours."""

    lease_id: LeaseId
    worker_id: WorkerId
    gpu_ids: tuple[int, ...] = ()


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
    """Raylet to holder: others wait for these workers; push nothing more to them and return them when they are done."""

    lease_ids: tuple[LeaseId, ...]


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


# --- Processes and nodes --------------------------------------------------------------------------------------------


class RegisterWorker(Message, frozen=True, tag=40):
    """Worker or driver to its raylet: I am up."""

    pid: int
    is_driver: bool = False


class Death(Record, frozen=True):
    """The end of a process or a node, for good."""

    address: Address
    reason: str


class Deaths(Message, frozen=True, tag=41):
    """Raylet to GCS, GCS to raylets, raylet to its processes: these have ended."""

    deaths: tuple[Death, ...]


class EndWorker(Message, frozen=True, tag=42):
    """Raylet to worker: end after what you have sent is on its way."""

    reason: str


class StartJob(Message, frozen=True, tag=43):
    """Driver to GCS."""

    namespace: str
    entrypoint: str
    metadata: dict[str, str]


class JobStarted(Message, frozen=True, tag=44):
    """GCS to driver; driver to its raylet; raylet to a worker that works for the job from now on."""

    job_id: JobId
    namespace: str


class EndJob(Message, frozen=True, tag=45):
    """Driver to GCS: the program is over; whatever it started and that is not detached ends."""

    job_id: JobId


class JobEnded(Message, frozen=True, tag=46):
    """GCS to raylets: end the workers of that job."""

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


class GetView(Message, frozen=True, tag=52):
    """Anyone to GCS: what has changed in the cluster since ``since``?"""

    since: int


class ViewDelta(Message, frozen=True, tag=53):
    """GCS to asker: nodes that changed after the version that was asked for."""

    version: int
    nodes: tuple[NodeView, ...]


# --- Actors ---------------------------------------------------------------------------------------------------------


class ActorSpec(Record, frozen=True):
    """All that is needed to make, and make again, an actor."""

    actor_id: ActorId
    definition: FunctionDefinition
    arguments: Value
    dependencies: tuple[Dependency, ...]
    name: str
    """Empty for an actor without name."""
    namespace: str
    detached: bool
    max_restarts: int
    max_task_retries: int
    max_concurrency: int
    """0: the default (1, or 1000 for an asyncio actor)."""
    concurrency_groups: dict[str, int]
    is_async: bool
    out_of_order: bool
    max_pending_calls: int
    resources: ResourceMap
    """Held while it lives."""
    placement_resources: ResourceMap
    """Needed free at the moment of placement (1 CPU for an actor that holds none)."""
    strategy: Strategy
    job_id: JobId
    runtime_env: str
    handle: bytes
    """Pickled description from which ``get_actor`` makes a handle (method names and their options)."""
    fail_infeasible: bool = False


class RegisterActor(Message, frozen=True, tag=60):
    """Owner to GCS: make this actor."""

    spec: ActorSpec
    get_if_exists: bool


class ActorRegistered(Message, frozen=True, tag=61):
    """GCS to owner, when the registration is durable."""

    actor_id: ActorId
    """As asked for."""
    existing: ActorId
    """The live actor that has the name, if there is one; empty otherwise."""
    handle: bytes
    """Of the existing actor."""


class CreateActor(Message, frozen=True, tag=62):
    """GCS to leased worker: become this actor."""

    spec: ActorSpec
    incarnation: int
    gpu_ids: tuple[int, ...] = ()


class ActorCreated(Message, frozen=True, tag=63):
    """Worker to GCS: the constructor has returned, or raised ``error``."""

    actor_id: ActorId
    incarnation: int
    error: Value | None


class ActorExiting(Message, frozen=True, tag=64):
    """Worker to GCS: the actor ends on its own wish (``exit_actor``) or since nobody refers to it."""

    actor_id: ActorId
    incarnation: int
    reason: str


class SubscribeActor(Message, frozen=True, tag=65):
    """Caller to GCS: tell me where the actor is, now and when that changes."""

    actor_id: ActorId


PENDING = "PENDING_CREATION"
ALIVE = "ALIVE"
RESTARTING = "RESTARTING"
DEAD = "DEAD"


class ActorUpdate(Message, frozen=True, tag=66):
    """GCS to callers."""

    actor_id: ActorId
    state: str
    """PENDING_CREATION, ALIVE, RESTARTING or DEAD."""
    incarnation: int
    worker_id: WorkerId
    """Where it is; empty unless alive."""
    reason: str = ""
    error: Value | None = None
    """The constructor's exception, if that is why it is dead."""
    started_through: tuple[tuple[Address, int], ...] = ()


class PushActorTasks(Message, frozen=True, tag=67):
    """Caller to actor: run these, in the order of their sequence numbers."""

    actor_id: ActorId
    incarnation: int
    templates: tuple[TaskTemplate, ...]
    tasks: tuple[TaskCall, ...]


class ActorTasksRefused(Message, frozen=True, tag=68):
    """Worker to caller: I am not that incarnation of that actor."""

    actor_id: ActorId
    incarnation: int
    task_ids: tuple[TaskId, ...]


class KillActor(Message, frozen=True, tag=69):
    """Anyone to GCS."""

    actor_id: ActorId
    no_restart: bool


class ActorOutOfScope(Message, frozen=True, tag=70):
    """Owner to GCS: no handle is left and no call is under way."""

    actor_id: ActorId


class GetNamedActor(Message, frozen=True, tag=71):
    """Anyone to GCS; answered with NamedActor."""

    request: int
    name: str
    namespace: str


class NamedActor(Message, frozen=True, tag=72):
    """GCS to asker; ``actor_id`` is empty if there is none."""

    request: int
    actor_id: ActorId
    handle: bytes


# --- Objects --------------------------------------------------------------------------------------------------------


class AddBorrower(Message, frozen=True, tag=80):
    """To the owner: ``borrower`` holds one more registration of the object; answered with BorrowerAdded to the sender.

    The sender keeps the object alive until that answer.
    """

    object_id: ObjectId
    borrower: WorkerId


class BorrowerAdded(Message, frozen=True, tag=81):
    """Owner to the sender of AddBorrower."""

    object_id: ObjectId
    borrower: WorkerId


class RemoveBorrower(Message, frozen=True, tag=82):
    """Borrower to owner: ``count`` of its registrations end."""

    object_id: ObjectId
    count: int


class GetObject(Message, frozen=True, tag=83):
    """Borrower to owner: tell me the content when there is one; answered with ObjectContent."""

    object_id: ObjectId


class ObjectContent(Message, frozen=True, tag=84):
    """Owner to borrower."""

    object_id: ObjectId
    content: Content


class ObjectUnavailable(Message, frozen=True, tag=85):
    """Borrower to owner: these nodes do not have it (any more). Answered with ObjectContent once it is back."""

    object_id: ObjectId
    nodes: tuple[NodeId, ...]


class AllocateObject(Message, frozen=True, tag=86):
    """Process to its raylet: I want to write an object of this size; answered with ObjectAllocated."""

    object_id: ObjectId
    size: int
    origin: str = ""
    """Where it comes from (the line that put it, or the task that returns it), for people."""
    pinned: bool = False
    """Never spill it."""


class ObjectAllocated(Message, frozen=True, tag=87):
    """Raylet to process: write here; or why not."""

    object_id: ObjectId
    offset: int
    """Into the node's shared memory; -1 if there is no room, -2 if a copy exists already."""
    reason: str = ""


class SealObject(Message, frozen=True, tag=88):
    """Process to its raylet: it is written; this is the primary copy, kept until FreeObjects.

    The writer's pin lasts until its first UnpinObject.
    """

    object_id: ObjectId
    pin: bool
    """The writer goes on reading it."""


class PinObject(Message, frozen=True, tag=89):
    """Process to its raylet: I want to read it, wherever it is; answered with ObjectPinned or PinFailed."""

    object_id: ObjectId
    size: int
    nodes: tuple[NodeId, ...]


class ObjectPinned(Message, frozen=True, tag=90):
    """Raylet to process: it is here, and stays until you say UnpinObject."""

    object_id: ObjectId
    offset: int
    size: int


class PinFailed(Message, frozen=True, tag=91):
    """Raylet to process: none of these nodes has it."""

    object_id: ObjectId
    nodes: tuple[NodeId, ...]
    reason: str
    full: bool = False
    """It exists, but this node had no room for it in time."""


class UnpinObject(Message, frozen=True, tag=92):
    """Process to its raylet: ``count`` pins end."""

    object_id: ObjectId
    count: int


class FreeObjects(Message, frozen=True, tag=93):
    """Owner to raylets that hold copies: nobody refers to these any more."""

    object_ids: tuple[ObjectId, ...]


class FetchObject(Message, frozen=True, tag=94):
    """Raylet to raylet: send me this part; answered with ObjectChunk."""

    object_id: ObjectId
    offset: int
    size: int


class ObjectChunk(Message, frozen=True, tag=95):
    """Raylet to raylet: a part of an object, or that it is not here."""

    object_id: ObjectId
    offset: int
    total: int
    """Size of the object; -1: not here."""
    data: bytes


class CopyChanged(Message, frozen=True, tag=96):
    """Raylet (or a worker, of its node) to owner: this node has (or no longer has) a copy."""

    object_id: ObjectId
    present: bool


# --- Placement groups -----------------------------------------------------------------------------------------------


class GroupSpec(Record, frozen=True):
    """What a placement group promises. Its id is a TaskId of the process that made it."""

    group_id: TaskId
    name: str
    """Empty for a group without name."""
    namespace: str
    strategy: str
    """PACK, SPREAD, STRICT_PACK or STRICT_SPREAD."""
    bundles: tuple[ResourceMap, ...]
    selectors: tuple[tuple[tuple[str, str, tuple[str, ...]], ...], ...]
    """Labels that the node of each bundle must have; empty, or one per bundle."""
    detached: bool
    job_id: JobId
    actor_id: ActorId = b""
    """The actor that made it and with which it ends; empty: it ends with the job."""
    fail_infeasible: bool = False
    """Remove it instead of waiting when the cluster could never hold it."""


class CreateGroup(Message, frozen=True, tag=130):
    """Anyone to GCS: make this placement group; answered with GroupUpdate, now and whenever its state changes."""

    spec: GroupSpec


class RemoveGroup(Message, frozen=True, tag=131):
    """Anyone to GCS: end the group and what runs in it."""

    group_id: TaskId


class SubscribeGroup(Message, frozen=True, tag=132):
    """Anyone to GCS: tell me where the group's bundles are, now and when that changes."""

    group_id: TaskId


class GroupUpdate(Message, frozen=True, tag=133):
    """GCS to those who asked."""

    group_id: TaskId
    version: int
    """Grows with each change."""
    state: str
    """PENDING, CREATED, RESCHEDULING or REMOVED."""
    bundles: tuple[ResourceMap, ...]
    nodes: tuple[NodeId, ...]
    """Where each bundle is; empty for one that has no place."""
    reason: str = ""


class FindGroup(Message, frozen=True, tag=134):
    """Anyone to GCS: which live group has this name? Answered with GroupFound."""

    request: int
    name: str
    namespace: str


class GroupFound(Message, frozen=True, tag=135):
    """GCS to asker."""

    request: int
    group_id: TaskId
    """Empty if there is none."""
    bundles: tuple[ResourceMap, ...]
    names: tuple[str, ...] = ()
    """Groups that there are, for the error message."""


class ReserveBundles(Message, frozen=True, tag=136):
    """GCS to raylet: set these bundles aside, all or none; answered with BundlesReserved."""

    group_id: TaskId
    attempt: int
    """Grows with each attempt at any group."""
    bundles: tuple[tuple[int, ResourceMap], ...]
    """(index, resources)"""
    committed: bool = False
    """The whole group is on this node: the reservation stands at once."""


class BundlesReserved(Message, frozen=True, tag=137):
    """Raylet to GCS."""

    group_id: TaskId
    attempt: int
    granted: bool


class CommitBundles(Message, frozen=True, tag=138):
    """GCS to raylet: the group is complete; tasks may use its bundles."""

    group_id: TaskId
    nodes: tuple[NodeId, ...]
    """Of all bundles, by index."""


class ReleaseBundles(Message, frozen=True, tag=139):
    """GCS to raylet: give the resources of these bundles back to the node and end what runs in them."""

    group_id: TaskId
    attempt: int
    """Only bundles of this attempt; -1: all, for good."""


class BundlesHeld(Message, frozen=True, tag=140):
    """Raylet to a GCS that has come back: these bundles are set aside here."""

    groups: tuple[tuple[TaskId, tuple[int, ...]], ...]


class AbortObject(Message, frozen=True, tag=160):
    """Process to its raylet: I will not write what I have allocated."""

    object_id: ObjectId


class HandoverTaken(Message, frozen=True, tag=161):
    """Borrower to owner: the registration that ``giver`` made for me has reached me, with the reference."""

    object_id: ObjectId
    giver: WorkerId


class ReviewHandovers(Message, frozen=True, tag=162):
    """Owner to borrower: ``giver`` has ended; what it registered for you and has not reached you is void."""

    giver: WorkerId


class HandoversReviewed(Message, frozen=True, tag=163):
    """Borrower to owner: I take nothing more from ``giver``; every HandoverTaken was sent before this."""

    giver: WorkerId


# --- Questions and reports ------------------------------------------------------------------------------------------


class PutKey(Message, frozen=True, tag=110):
    """Anyone to GCS: set a durable key; answered with KeyValue."""

    request: int
    key: str
    value: bytes | None
    """None deletes."""
    overwrite: bool = True


class GetKey(Message, frozen=True, tag=111):
    """Anyone to GCS; answered with KeyValue."""

    request: int
    key: str


class KeyValue(Message, frozen=True, tag=112):
    """GCS to asker: the value now, after a PutKey as well."""

    request: int
    value: bytes | None


class QueryState(Message, frozen=True, tag=113):
    """Anyone to GCS or to a raylet: rows of one of its tables; answered with StateRows."""

    request: int
    table: str


class StateRows(Message, frozen=True, tag=114):
    """Rows as a JSON array of objects."""

    request: int
    rows: bytes


class TaskEvent(Record, frozen=True):
    """One finished execution, for the timeline."""

    task_id: TaskId
    attempt: int
    name: str
    worker_id: WorkerId
    start: int
    end: int
    """Both in nanoseconds since the epoch (virtual in the simulated world)."""
    outcome: str


class TaskEvents(Message, frozen=True, tag=115):
    """Worker to GCS, now and then."""

    events: tuple[TaskEvent, ...]


class LogLines(Message, frozen=True, tag=116):
    """Raylet to driver: output of a worker of its job."""

    worker_id: WorkerId
    pid: int
    name: str
    stream: str
    """stdout or stderr"""
    lines: tuple[str, ...]


MESSAGES: tuple[type[Message], ...] = tuple(Message.__subclasses__())
"""All message types, in the order of their definition."""

encode = msgspec.msgpack.Encoder().encode
"""One or a list of messages as msgpack."""
_decoder: Any = None


def decode(data: bytes | memoryview) -> list[Message]:
    """The inverse of ``encode`` of a list of messages.

    Raises:
        msgspec.DecodeError: these are not messages.
    """
    global _decoder
    if _decoder is None:
        _decoder = msgspec.msgpack.Decoder(list[reduce(or_, MESSAGES)])  # type: ignore[misc]
    messages: list[Message] = _decoder.decode(data)
    return messages
