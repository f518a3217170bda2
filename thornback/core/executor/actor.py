"""The actor that a worker has become: its construction, its calls, and how it ends on its own wish."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from thornback.core.context import TaskContext
from thornback.core.errors import ActorExit
from thornback.core.executor.execution import CALL, CHECKPOINT, CREATION, Execution, Outcome
from thornback.core.executor.lanes import Lane
from thornback.core.ids import GCS, Address
from thornback.core.messages import (
    ActorCreated,
    ActorExiting,
    ActorMoved,
    ActorSpec,
    ActorTasksRefused,
    ConfirmReplies,
    CreateActor,
    MoveActor,
    PushActorTasks,
    RepliesConfirmed,
    TaskCall,
    TaskReplies,
    TaskTemplate,
    Value,
)
from thornback.core.serialization import NO_ARGUMENTS

if TYPE_CHECKING:
    from thornback.core.executor.executor import Executor

DEFAULT_ASYNC_CONCURRENCY = 1000


def _terminate() -> None:
    raise ActorExit


BUILT_IN: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "__ray_ready__": lambda _actor: lambda: True,
    "__ray_terminate__": lambda _actor: _terminate,
    "__ray_call__": lambda actor: lambda function, *args, **kwargs: function(actor, *args, **kwargs),
}
"""Methods that every actor has, under the names that Ray's users know."""


class ActorHost:
    """The one actor of a worker process, if it has become one.

    Attributes:
        spec: None: this worker runs tasks.
        instance: the user's object, once its constructor has returned.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._transport = executor.transport
        self.spec: ActorSpec | None = None
        self.instance: Any = None
        self.incarnation = 0
        self._gpu_ids: tuple[int, ...] = ()
        self._callers: dict[Address, None] = {}
        self._unconfirmed: dict[Address, None] | None = None
        """Callers that have not yet said that they have all replies of this actor, which wants to end."""
        self._asked = False
        self._moving = False
        """It ends for an incarnation on another node; the GCS has this process ended when it is told so."""

    # --- Construction

    def on_create_actor(self, sender: Address, message: CreateActor) -> None:
        """The GCS makes this worker an actor."""
        if self.spec is not None:
            return
        executor = self._executor
        spec = self.spec = message.spec
        self.incarnation = message.incarnation
        self._gpu_ids = message.gpu_ids
        default = spec.max_concurrency or (DEFAULT_ASYNC_CONCURRENCY if spec.is_async else 1)
        limits = {"": default, **spec.concurrency_groups}
        executor.lanes = {name: Lane(limit) for name, limit in limits.items()}
        executor.user_code.open_lanes(limits, spec.is_async)
        executor.functions.define(spec.definition)
        executor.checkpoints.begin(spec.checkpoint_every, message.checkpoint)
        call = TaskCall(spec.actor_id, b"", spec.arguments, spec.dependencies, message.incarnation, -1)
        executor.enqueue(self._special(CREATION, "__init__", call))
        executor.start_next("")

    def _special(self, kind: str, method: str, call: TaskCall) -> Execution:
        """A run of a method that no caller has asked for."""
        spec = self.spec
        assert spec is not None
        template = TaskTemplate(
            b"",
            spec.definition.function_id,
            f"{spec.definition.name}.{method}",
            1,
            0,
            False,
            spec.resources,
            spec.strategy,
            0,
            -1,
            spec.job_id,
            spec.runtime_env,
            method,
        )
        context = self._context(call, template)
        return Execution(self._executor, kind, GCS, spec.actor_id, call, template, context, "", False)

    def take_checkpoint(self) -> None:
        """Save the state before the next call runs."""
        assert self.spec is not None
        call = TaskCall(self.spec.actor_id, b"", Value(NO_ARGUMENTS.data), (), self.incarnation, -1)
        self._executor.lanes[""].queue.appendleft(self._special(CHECKPOINT, "save_checkpoint", call))
        self._executor.start_next("")

    def _context(self, call: TaskCall, template: TaskTemplate) -> TaskContext:
        assert self.spec is not None
        lanes = self._executor.lanes
        one_at_a_time = lanes[""].limit == 1 and not self.spec.is_async and len(lanes) == 1
        return TaskContext(
            call.task_id,
            template.name,
            call.attempt,
            self.spec.job_id,
            self._executor.owner.namespace,
            self.spec.actor_id,
            self.instance,
            self.incarnation,
            self.spec.resources,
            self._gpu_ids,
            self.spec.strategy,
            self.spec.runtime_env,
            holds_cpu=one_at_a_time and bool(self.spec.resources),
        )

    def created(self, execution: Execution, outcome: Outcome) -> None:
        """The constructor has ended."""
        assert self.spec is not None
        references = self._executor.owner.references
        for object_id in execution.covered:
            references.register(references.lookup(object_id), _nothing)
        self._executor.owner.gcs.send(ActorCreated(self.spec.actor_id, self.incarnation, outcome.error))
        if outcome.error is None:
            self._executor.checkpoints.started()

    # --- Calls

    def on_push_actor_tasks(self, sender: Address, message: PushActorTasks) -> None:
        """A caller sends method calls."""
        executor, spec = self._executor, self.spec
        if (
            spec is None
            or spec.actor_id != message.actor_id
            or self.incarnation != message.incarnation
            or executor.ending
        ):
            refused = tuple(call.task_id for call in message.tasks)
            self._transport.send(sender, ActorTasksRefused(message.actor_id, message.incarnation, refused))
            return
        if sender not in self._callers:
            executor.owner.references.peers.depend_on(sender)
            self._callers[sender] = None
        executor.functions.add_templates(message.templates)
        touched: dict[str, None] = {}
        for call in message.tasks:
            template = executor.functions.templates[call.template]
            if template.replay:
                known = executor.checkpoints.answered(sender, call)
                if known is not None:
                    self._transport.send(sender, TaskReplies(spec.actor_id, (known,)))
                    continue
            lane = template.lane if template.lane in executor.lanes else ""
            context = self._context(call, template)
            execution = Execution(executor, CALL, sender, spec.actor_id, call, template, context, lane, spec.is_async)
            executor.enqueue(execution)
            touched[lane] = None
        for lane in touched:
            executor.start_next(lane)

    def method(self, name: str) -> Any:
        """The bound method to call."""
        return BUILT_IN[name](self.instance) if name in BUILT_IN else getattr(self.instance, name)

    # --- The end

    def may_end(self) -> bool:
        """Nothing is left to do: whether nobody can miss a reply when this process ends."""
        if self._moving and not self._asked and not self._executor.replies.pending:
            self._executor.end_turn()
            self._ask_callers()
        return self._unconfirmed is None and not self._moving

    def on_move_actor(self, sender: Address, message: MoveActor) -> None:
        """The node leaves: the next incarnation starts elsewhere when the calls that are here are answered."""
        spec, executor = self.spec, self._executor
        if spec is None or spec.actor_id != message.actor_id or self.incarnation != message.incarnation:
            return
        if not executor.ending:
            self._moving = True
            executor.ending = message.reason
            executor.exit_if_done()

    def exit(self) -> None:
        """The actor has ended itself: drop what is queued, and end once all callers have their replies."""
        assert self.spec is not None
        executor = self._executor
        if executor.ending and not self._moving:
            return
        self._moving = False
        executor.ending = "exit_actor() was called"
        for lane in executor.lanes.values():
            lane.queue.clear()
        executor.end_turn()
        self._ask_callers()

    def _ask_callers(self) -> None:
        assert self.spec is not None
        self._asked = True
        self._unconfirmed = dict(self._callers)
        for caller in self._callers:
            self._transport.send(caller, ConfirmReplies(self.spec.actor_id))
        self._announce_exit()

    def on_replies_confirmed(self, sender: Address, message: RepliesConfirmed) -> None:
        """A caller has the replies of this actor, which wants to end."""
        self._confirmed(sender)

    def _confirmed(self, caller: Address) -> None:
        if self._unconfirmed is not None and caller in self._unconfirmed:
            del self._unconfirmed[caller]
            self._announce_exit()

    def _announce_exit(self) -> None:
        """Tell the GCS, which tells all callers, once nobody can miss a reply because of that."""
        if self._unconfirmed is not None and not self._unconfirmed and self.spec is not None:
            self._unconfirmed = None
            if self._moving:
                self._executor.owner.gcs.send(ActorMoved(self.spec.actor_id, self.incarnation))
                return
            self._executor.owner.gcs.send(ActorExiting(self.spec.actor_id, self.incarnation, self._executor.ending))
            self._executor.exit_if_done()

    def process_died(self, address: Address) -> None:
        """A caller has ended."""
        for caller in [caller for caller in self._callers if caller.startswith(address)]:
            del self._callers[caller]
            self._confirmed(caller)


def _nothing() -> None:
    pass
