"""Tasks on their way between owners and workers."""

from __future__ import annotations

from thornback.core.ids import JobId, LeaseId, NodeId, ObjectId, TaskId
from thornback.core.messages.base import Message, Record, ResourceMap
from thornback.core.messages.values import Content, Dependency, Value

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
    priority: int = 0
    """Within the job; a higher one goes first."""
    replay: bool = False
    """A method of an actor with checkpoints: acknowledged calls are replayed until they are in a checkpoint."""
    speculative: bool = False
    """It may run twice at the same time; the first result counts."""


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
    """Grows by one with each task that the sender pushed on this lease, or with each call to this actor incarnation;
    for an actor with checkpoints: the call's place among all calls of the sender, the same in all incarnations."""
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


class ConfirmReplies(Message, frozen=True, tag=14):
    """Worker to caller, before it ends on its own wish: have you got all my replies? Answered with RepliesConfirmed."""

    source: bytes
    """The actor."""


class RepliesConfirmed(Message, frozen=True, tag=15):
    """Caller to worker: what you sent before you asked is here."""

    source: bytes
