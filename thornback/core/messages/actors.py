"""The life of actors, and calls to them."""

from __future__ import annotations

from typing import ClassVar

from thornback.core.ids import ActorId, JobId, TaskId, WorkerId
from thornback.core.messages.base import Message, Record, ResourceMap
from thornback.core.messages.checkpoints import Checkpoint
from thornback.core.messages.tasks import FunctionDefinition, Strategy, TaskCall, TaskTemplate
from thornback.core.messages.values import Dependency, Value


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
    priority: int = 0
    """Of its place, within the job; a higher one goes first."""
    checkpoint_every: int = 0
    """Calls between two checkpoints; 0: it has none."""


class RegisterActor(Message, frozen=True, tag=60):
    """Owner to GCS: make this actor."""

    latest_by: ClassVar[tuple[str, ...] | None] = ("actor_id",)

    spec: ActorSpec
    get_if_exists: bool
    error: Value | None = None
    """Of an argument: the actor is dead from the beginning, which others than its owner must learn."""

    @property
    def actor_id(self) -> ActorId:
        """Of the new actor."""
        return self.spec.actor_id


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
    checkpoint: Checkpoint | None = None
    """The state to start from, if one was saved."""


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

    latest_by: ClassVar[tuple[str, ...] | None] = ("actor_id",)

    actor_id: ActorId
    owner_died: bool = False
    """The caller knows that the actor's owner has ended: if the GCS has not heard of the actor, it never will."""


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
    """Why it is dead, if that was an exception of its own."""
    moved: bool = False
    """The last incarnation has answered every call that it has started."""


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
    """Anyone to GCS: end this actor at once."""

    latest_by: ClassVar[tuple[str, ...] | None] = ("actor_id", "no_restart", "incarnation")

    actor_id: ActorId
    no_restart: bool
    incarnation: int = 0
    """The one that is meant, if it may be restarted: the same wish, heard twice, does not end the next one too."""


class ActorOutOfScope(Message, frozen=True, tag=70):
    """Owner to GCS: no handle is left and no call is under way."""

    latest_by: ClassVar[tuple[str, ...] | None] = ("actor_id",)

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


class AskMaker(Message, frozen=True, tag=73):
    """GCS to owner: somebody waits for an actor or placement group of yours that I do not know; NotComing if it is not
    to be registered any more."""

    subject: TaskId


class NotComing(Message, frozen=True, tag=74):
    """Owner to GCS: what I have not registered so far I never will."""

    latest_by: ClassVar[tuple[str, ...] | None] = ("subject",)

    subject: TaskId
