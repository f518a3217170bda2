"""What runs when on this worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from thornback.core.blocking import Fetch
from thornback.core.config import SECOND, Config
from thornback.core.context import TaskContext, current
from thornback.core.errors import ActorExit, TaskCancelledError
from thornback.core.executor.execution import CALL, CREATION, TASK, Execution, Outcome
from thornback.core.ids import GCS, Address, LeaseId, ObjectId, TaskId, owner_of
from thornback.core.messages import (
    STREAMING,
    AcquireCpu,
    ActorCreated,
    ActorExiting,
    ActorSpec,
    ActorTasksRefused,
    CancelTask,
    ConfirmReplies,
    Content,
    CpuAcquired,
    CreateActor,
    Dependency,
    EndWorker,
    FunctionDefinition,
    LeaseBlocked,
    LeaseUnblocked,
    PushActorTasks,
    PushTasks,
    ReleaseCpu,
    RepliesConfirmed,
    StealTasks,
    Stored,
    StreamConsumed,
    StreamItem,
    TaskCall,
    TaskEvent,
    TaskEvents,
    TaskReplies,
    TaskReply,
    TasksReturned,
    TaskTemplate,
)
from thornback.core.owner import Owner
from thornback.core.ports import Ports, UserCode
from thornback.core.runtime import Runtime, Waiter
from thornback.core.serialization import load_function

EVENTS_PERIOD = 1 * SECOND
EVENTS_BATCH = 1000
DEFAULT_ASYNC_CONCURRENCY = 1000


def _terminate() -> None:
    raise ActorExit


BUILT_IN: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "__ray_ready__": lambda _actor: lambda: True,
    "__ray_terminate__": lambda _actor: _terminate,
    "__ray_call__": lambda actor: lambda function, *args, **kwargs: function(actor, *args, **kwargs),
}
"""Methods that every actor has, under the names that Ray's users know."""


@dataclass(slots=True)
class Lane:
    """A concurrency group of an actor; a task worker has one, with limit 1."""

    limit: int
    running: int = 0
    queue: deque[Execution] = field(default_factory=deque)


class Executor:
    """Queues and starts the tasks of one worker, and replies when they have ended.

    Attributes:
        runtime: set by the world before the first task.
        instance: the actor, once its constructor has returned.
    """

    def __init__(self, owner: Owner, ports: Ports, user_code: UserCode, config: Config) -> None:
        self.owner = owner
        self.clock = ports.clock
        self.transport = ports.transport
        self.trace = ports.trace
        self.user_code = user_code
        self.config = config
        self.pid = 0
        self.runtime: Runtime
        self.instance: Any = None
        self.spec: ActorSpec | None = None
        self.incarnation = 0
        self.gpu_ids: tuple[int, ...] = ()
        self.lanes: dict[str, Lane] = {"": Lane(1)}
        self.running: dict[TaskId, Execution] = {}
        self._templates: dict[bytes, TaskTemplate] = {}
        self._definitions: dict[bytes, FunctionDefinition] = {}
        self._functions: dict[bytes, Any] = {}
        self._calls: dict[bytes, int] = {}
        self._replies: dict[tuple[Address, bytes], list[TaskReply]] = {}
        self._handed: list[ObjectId] = []
        """References in results, held until the replies have left: a removal must not overtake them."""
        self._arguments: dict[tuple[TaskId, ObjectId], Fetch] = {}
        self._ahead_limit = min(config.prefetch_limit, owner.objects.memory.capacity // 16)
        owner.objects.before_trim = self._give_up_prefetched
        self._ahead = 0
        """Bytes of arguments that were brought here before their tasks have started."""
        self._consumed: dict[TaskId, int] = {}
        self._room: dict[TaskId, tuple[int, Waiter]] = {}
        self._cpu: deque[Waiter] = deque()
        self._events: list[TaskEvent] = []
        self._events_timer = False
        self._lease: tuple[Address, LeaseId] = (b"", b"")
        self._ending = ""
        """Why this process ends as soon as it has nothing to do."""
        self._callers: dict[Address, None] = {}
        self._unconfirmed: dict[Address, None] | None = None
        """Callers that have not yet said that they have all replies of this actor, which wants to end."""
        self._worn_out = False
        """``max_calls`` was reached: the raylet ends this process as soon as the owner has the last reply."""

    # --- Tasks

    def on_push_tasks(self, sender: Address, message: PushTasks) -> None:
        """An owner that has leased this worker sends work; told that this worker ends, it sends it elsewhere."""
        if self._worn_out:
            return
        for definition in message.definitions:
            self._definitions[definition.function_id] = definition
        for template in message.templates:
            self._templates[template.key] = template
        self._lease = (sender, message.lease_id)
        queue = self.lanes[""].queue
        for call in message.tasks:
            template = self._templates[call.template]
            context = TaskContext(
                call.task_id,
                template.name,
                call.attempt,
                template.job_id,
                self.owner.namespace,
                resources=template.resources,
                gpu_ids=message.gpu_ids,
                strategy=template.strategy,
                runtime_env=template.runtime_env,
                holds_cpu=True,
            )
            execution = Execution(self, TASK, sender, message.lease_id, call, template, context, "", False)
            self._prefetch(execution)
            queue.append(execution)
        self._start_next("")

    def function_for(self, execution: Execution) -> Any:
        """The function or bound method to call; unpickled at its first use."""
        if execution.kind == CALL:
            method = execution.template.method
            return BUILT_IN[method](self.instance) if method in BUILT_IN else getattr(self.instance, method)
        function_id = execution.template.function_id
        function = self._functions.get(function_id)
        if function is None:
            function = self._functions[function_id] = load_function(self._definitions[function_id])
        return function

    def on_steal_tasks(self, sender: Address, message: StealTasks) -> None:
        """The owner has idle workers: give back what waits at the end of the queue."""
        self._give_back(sender, message.lease_id, message.count)

    def _give_back(self, owner: Address, lease_id: LeaseId, count: int) -> None:
        queue = self.lanes[""].queue
        kept: deque[Execution] = deque()
        returned: list[TaskId] = []
        while queue:
            execution = queue.pop()
            if len(returned) < count and execution.source == lease_id:
                returned.append(execution.task_id)
                self._forget_arguments(execution)
            else:
                kept.appendleft(execution)
        queue.extend(kept)
        returned.reverse()
        self.transport.send(owner, TasksReturned(lease_id, tuple(returned)))

    # --- Actors

    def on_create_actor(self, sender: Address, message: CreateActor) -> None:
        """The GCS makes this worker an actor."""
        spec = message.spec
        self.spec = spec
        self.incarnation = message.incarnation
        self.gpu_ids = message.gpu_ids
        default = spec.max_concurrency or (DEFAULT_ASYNC_CONCURRENCY if spec.is_async else 1)
        limits = {"": default, **spec.concurrency_groups}
        self.lanes = {name: Lane(limit) for name, limit in limits.items()}
        self.user_code.open_lanes(limits, spec.is_async)
        definition = spec.definition
        self._definitions[definition.function_id] = definition
        template = TaskTemplate(
            b"",
            definition.function_id,
            f"{definition.name}.__init__",
            1,
            0,
            False,
            spec.resources,
            spec.strategy,
            0,
            -1,
            spec.job_id,
            spec.runtime_env,
        )
        call = TaskCall(spec.actor_id, b"", spec.arguments, spec.dependencies, message.incarnation, -1)
        context = self._actor_context(call, template)
        execution = Execution(self, CREATION, sender, spec.actor_id, call, template, context, "", False)
        self._prefetch(execution)
        self.lanes[""].queue.append(execution)
        self._start_next("")

    def _actor_context(self, call: TaskCall, template: TaskTemplate) -> TaskContext:
        assert self.spec is not None
        limit = self.lanes[""].limit
        return TaskContext(
            call.task_id,
            template.name,
            call.attempt,
            self.spec.job_id,
            self.owner.namespace,
            self.spec.actor_id,
            self.instance,
            self.incarnation,
            self.spec.resources,
            self.gpu_ids,
            self.spec.strategy,
            self.spec.runtime_env,
            holds_cpu=limit == 1 and not self.spec.is_async and len(self.lanes) == 1 and bool(self.spec.resources),
        )

    def on_push_actor_tasks(self, sender: Address, message: PushActorTasks) -> None:
        """A caller sends method calls."""
        spec = self.spec
        if spec is None or spec.actor_id != message.actor_id or self.incarnation != message.incarnation or self._ending:
            refused = tuple(call.task_id for call in message.tasks)
            self.transport.send(sender, ActorTasksRefused(message.actor_id, message.incarnation, refused))
            return
        self._callers[sender] = None
        for template in message.templates:
            self._templates[template.key] = template
        touched: dict[str, None] = {}
        for call in message.tasks:
            template = self._templates[call.template]
            lane = template.lane if template.lane in self.lanes else ""
            context = self._actor_context(call, template)
            execution = Execution(self, CALL, sender, spec.actor_id, call, template, context, lane, spec.is_async)
            self._prefetch(execution)
            self.lanes[lane].queue.append(execution)
            touched[lane] = None
        for lane in touched:
            self._start_next(lane)

    def on_end_worker(self, sender: Address, message: EndWorker) -> None:
        """End once everything here is done and answered."""
        self._ending = message.reason
        self._exit_if_done()

    def _exit_if_done(self) -> None:
        if (
            self._ending
            and self._unconfirmed is None
            and not self.running
            and not any(lane.queue for lane in self.lanes.values())
        ):
            self._flush_events()
            self.user_code.exit(self._ending)

    # --- Starting

    def _start_next(self, name: str) -> None:
        lane = self.lanes[name]
        while lane.queue and lane.running < lane.limit:
            execution = lane.queue.popleft()
            lane.running += 1
            self.running[execution.task_id] = execution
            if self.trace.enabled:
                detail = (execution.attempt, execution.kind, execution.caller, execution.sequence)
                self.trace.event("task.started", execution.task_id, detail)
            if execution.kind == TASK:
                self.user_code.mark_started(execution.sequence)
            self.user_code.start(execution)

    # --- Arguments

    def _prefetch(self, execution: Execution) -> bool:
        """Bring its large arguments here, as far as :attr:`Config.prefetch_limit` allows; False if it does not."""
        for dependency in execution.dependencies:
            content = dependency.content
            if isinstance(content, Stored) and (execution.task_id, dependency.object_id) not in self._arguments:
                if self._ahead and self._ahead + content.size > self._ahead_limit:
                    return False
                self._ahead += content.size
                self._fetch(execution.task_id, dependency).ahead = content.size
        return True

    def _give_up_prefetched(self) -> None:
        """Room is short: arguments of tasks that have not started make way."""
        for key, fetch in list(self._arguments.items()):
            if key[0] not in self.running:
                del self._arguments[key]
                self._ahead -= fetch.ahead
                fetch.abandon()

    def _prefetch_next(self, lane: Lane) -> None:
        for execution in lane.queue:
            if not self._prefetch(execution):
                return

    def _fetch(self, task: TaskId, dependency: Dependency) -> Fetch:
        key = (task, dependency.object_id)
        fetch = self._arguments.get(key)
        if fetch is None:
            reference = self.owner.references.hold(dependency.object_id)
            if reference.content is None and not reference.owned:
                reference.content = dependency.content
            fetch = self._arguments[key] = Fetch(self.runtime, [dependency.object_id])
            self.owner.references.release(dependency.object_id)
        return fetch

    def fetch_argument(self, dependency: Dependency) -> Fetch:
        """The transfer of a large argument, under way since its task arrived here. Called in a user thread."""
        context = current.get()
        assert context is not None
        with self.runtime.turn:
            fetch = self._fetch(context.task_id, dependency)
            del self._arguments[(context.task_id, dependency.object_id)]
            self._ahead -= fetch.ahead
            if fetch.ahead:
                self._prefetch_next(self.lanes[""])
        return fetch

    def _forget_arguments(self, execution: Execution) -> None:
        for dependency in execution.dependencies:
            fetch = self._arguments.pop((execution.task_id, dependency.object_id), None)
            if fetch is not None:
                self._ahead -= fetch.ahead
                fetch.abandon()

    # --- Generators

    def item_made(self, execution: Execution, index: int, content: Content) -> None:
        """A generator has an item: send it once the caller is registered for what is in it."""
        message = StreamItem(execution.task_id, execution.attempt, index, content)
        self._hand_over(execution, content, lambda: self.transport.send(execution.caller, message))

    def room_for(self, execution: Execution, made: int) -> Waiter:
        """Completes when the generator may make its next item; its result is False if nobody wants any more."""
        limit = execution.template.backpressure
        consumed = self._consumed.get(execution.task_id, 0)
        if execution.template.num_returns != STREAMING or limit <= 0 or 0 <= made - consumed < limit:
            return Waiter(0)
        waiter = Waiter()
        if consumed < 0:
            waiter.complete(False)
        else:
            self._room[execution.task_id] = (made - limit + 1, waiter)
        return waiter

    def on_stream_consumed(self, sender: Address, message: StreamConsumed) -> None:
        """The consumer has taken items, or is gone."""
        queued = (execution.task_id for lane in self.lanes.values() for execution in lane.queue)
        if message.task_id not in self.running and message.task_id not in queued:
            return
        if message.count < 0 or message.count > self._consumed.get(message.task_id, 0):
            self._consumed[message.task_id] = message.count
        needed, waiter = self._room.get(message.task_id, (0, None))
        if waiter is not None and (message.count < 0 or message.count >= needed):
            del self._room[message.task_id]
            waiter.complete(message.count >= 0)

    # --- Ends

    def finished(self, execution: Execution, outcome: Outcome) -> None:
        """User code has returned or raised."""
        lane = self.lanes[execution.lane]
        lane.running -= 1
        self.running.pop(execution.task_id, None)
        self._consumed.pop(execution.task_id, None)
        self._room.pop(execution.task_id, None)
        if execution.dependencies:
            self._forget_arguments(execution)
        self._note_event(execution, outcome)
        if self.trace.enabled:
            kind = "cancelled" if outcome.cancelled else "error" if outcome.error else "ok"
            self.trace.event("task.ended", execution.task_id, (execution.attempt, kind))
        if execution.kind == CREATION:
            self._created(execution, outcome)
        elif execution.covered or execution.handed:
            self.owner.settle()
            self._reply_with_references(execution, outcome)
        else:
            self._reply(execution, outcome, ())
        if outcome.exits:
            self._exit_actor(execution, outcome)
        else:
            self._start_next(execution.lane)
        self._exit_if_done()

    def _created(self, execution: Execution, outcome: Outcome) -> None:
        assert self.spec is not None
        references = self.owner.references
        for object_id in execution.covered:
            references.register(references.lookup(object_id), _nothing)
        self.transport.send(GCS, ActorCreated(self.spec.actor_id, self.incarnation, outcome.error))

    def _exit_actor(self, execution: Execution, outcome: Outcome) -> None:
        assert self.spec is not None
        if self._ending:
            return
        self._ending = "exit_actor() was called"
        for lane in self.lanes.values():
            lane.queue.clear()
        self.end_turn()
        self._unconfirmed = dict(self._callers)
        for caller in self._callers:
            self.transport.send(caller, ConfirmReplies(self.spec.actor_id))
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
            self.transport.send(GCS, ActorExiting(self.spec.actor_id, self.incarnation, self._ending))
            self._exit_if_done()

    def _reply_with_references(self, execution: Execution, outcome: Outcome) -> None:
        references = self.owner.references
        kept: list[ObjectId] = []
        execution.registering = 1

        def registered() -> None:
            execution.registering -= 1
            if execution.registering == 0:
                self._reply(execution, outcome, tuple(kept))
                self._handed += execution.handed

        for object_id in dict.fromkeys(execution.covered):
            reference = references.table.get(object_id)
            if reference is None or not reference.held or reference.owned or reference.registrations:
                continue
            if owner_of(object_id) == execution.caller:
                reference.registrations += 1
                kept.append(object_id)
            else:
                execution.registering += 1
                references.register(reference, registered)
        for content in outcome.results:
            self._hand_over(execution, content, _nothing, registered)
        registered()

    def _hand_over(self, execution: Execution, content: Content, then: Any, registered: Any = None) -> None:
        """Register the caller for all references in a result, then call ``then``."""
        remaining = [1]

        def one_done() -> None:
            remaining[0] -= 1
            if remaining[0] == 0:
                then()
                if registered is not None:
                    registered()

        if registered is not None:
            execution.registering += 1
        for object_id in content.contained:
            remaining[0] += 1
            self.owner.references.register_other(object_id, execution.caller, one_done)
        one_done()

    def _reply(self, execution: Execution, outcome: Outcome, kept: tuple[ObjectId, ...]) -> None:
        reply = TaskReply(
            execution.task_id,
            execution.attempt,
            tuple(outcome.results),
            outcome.error,
            outcome.retryable,
            outcome.cancelled,
            outcome.items,
            kept,
            outcome.run_time,
        )
        key = (execution.caller, execution.source)
        replies = self._replies.get(key)
        if replies is None:
            self._replies[key] = [reply]
        else:
            replies.append(reply)
        if execution.template.max_calls > 0 and execution.kind == TASK:
            self._count_call(execution)

    def _count_call(self, execution: Execution) -> None:
        function_id = execution.template.function_id
        calls = self._calls[function_id] = self._calls.get(function_id, 0) + 1
        if calls >= execution.template.max_calls and not self._worn_out:
            self._worn_out = True
            queue = self.lanes[""].queue
            while queue:
                self._forget_arguments(queue.popleft())

    def end_turn(self) -> None:
        """Send the replies that have come together."""
        if self._replies:
            replies, self._replies = self._replies, {}
            for (caller, source), some in replies.items():
                self.transport.send(caller, TaskReplies(source, tuple(some), self._worn_out))
        if self._handed:
            handed, self._handed = self._handed, []
            for object_id in handed:
                self.owner.references.release(object_id)

    # --- Blocking

    def block(self, context: TaskContext) -> None:
        """The running task waits: others may use its CPU, and what is queued behind it goes elsewhere."""
        execution = self.running.get(context.task_id)
        if execution is not None and execution.kind == TASK:
            if self.lanes[""].queue:
                self._give_back(execution.caller, execution.source, len(self.lanes[""].queue))
            self.transport.send(execution.caller, LeaseBlocked(execution.source))
        self.transport.send(self.owner.node_id, ReleaseCpu())

    def unblock(self, context: TaskContext) -> Waiter:
        """The task has what it waited for; the waiter completes when it has a CPU again."""
        waiter = Waiter()
        self._cpu.append(waiter)
        self.owner.leases.return_idle_here()
        self.transport.send(self.owner.node_id, AcquireCpu())
        execution = self.running.get(context.task_id)
        if execution is not None and execution.kind == TASK:
            caller, lease_id = execution.caller, execution.source
            waiter.result = (caller, lease_id)
        return waiter

    def on_cpu_acquired(self, sender: Address, message: CpuAcquired) -> None:
        """The raylet has a CPU for the task that waited."""
        waiter = self._cpu.popleft()
        if waiter.result is not None:
            caller, lease_id = waiter.result
            self.transport.send(caller, LeaseUnblocked(lease_id))
        waiter.complete()

    # --- Cancellation

    def on_cancel_task(self, sender: Address, message: CancelTask) -> None:
        """Stop a task that is queued or runs here."""
        for lane in self.lanes.values():
            for execution in lane.queue:
                if execution.task_id == message.task_id:
                    lane.queue.remove(execution)
                    self._cancel_queued(execution)
                    return
        execution_or_none = self.running.get(message.task_id)
        if execution_or_none is not None:
            self._cancel_running(execution_or_none, message)

    def _cancel_queued(self, execution: Execution) -> None:
        execution.context.cancelled = True
        self._forget_arguments(execution)
        error = TaskCancelledError(f"task {execution.name} was cancelled")
        self._reply(execution, execution.interrupted(error), ())

    def _cancel_running(self, execution: Execution, message: CancelTask) -> None:
        if message.recursive:
            self.owner.tasks.cancel_children(execution.task_id, message.force)
        if execution.kind == TASK and message.force:
            self.user_code.exit("its task was cancelled by force")
            return
        execution.context.cancelled = True
        if execution.kind == TASK or execution.is_async:
            self.user_code.interrupt(execution.task_id)
        waiter = self._room.pop(execution.task_id, (0, None))[1]
        if waiter is not None:
            waiter.complete(False)

    def process_died(self, address: Address) -> None:
        """A caller has ended: its calls that have not started are dropped, its tasks stopped."""
        for lane in self.lanes.values():
            for execution in [execution for execution in lane.queue if execution.caller.startswith(address)]:
                lane.queue.remove(execution)
                self._forget_arguments(execution)
        for execution in list(self.running.values()):
            if execution.caller.startswith(address) and execution.kind != CREATION:
                self._room_closed(execution.task_id)
        for caller in [caller for caller in self._callers if caller.startswith(address)]:
            del self._callers[caller]
            self._confirmed(caller)

    def _room_closed(self, task: TaskId) -> None:
        self._consumed[task] = -1
        waiter = self._room.pop(task, (0, None))[1]
        if waiter is not None:
            waiter.complete(False)

    # --- Timeline

    def _note_event(self, execution: Execution, outcome: Outcome) -> None:
        state = "cancelled" if outcome.cancelled else "failed" if outcome.error is not None else "finished"
        end = outcome.start + outcome.run_time
        worker = self.owner.worker_id
        self._events.append(
            TaskEvent(execution.task_id, execution.attempt, execution.name, worker, outcome.start, end, state)
        )
        if len(self._events) >= EVENTS_BATCH:
            self._flush_events()
        elif not self._events_timer:
            self._events_timer = True
            self.clock.call_after(EVENTS_PERIOD, self._flush_events)

    def _flush_events(self) -> None:
        self._events_timer = False
        events, self._events = self._events, []
        if events:
            self.transport.send(GCS, TaskEvents(tuple(events)))


def _nothing() -> None:
    pass
