"""What runs when on this worker."""

from __future__ import annotations

from collections import deque
from typing import Any

from thornback.core.config import Config
from thornback.core.context import TaskContext
from thornback.core.errors import TaskCancelledError
from thornback.core.executor.actor import ActorHost
from thornback.core.executor.arguments import Arguments
from thornback.core.executor.checkpoints import Checkpoints
from thornback.core.executor.execution import CALL, CHECKPOINT, CREATION, TASK, Execution, Outcome
from thornback.core.executor.functions import Functions
from thornback.core.executor.generators import Generators
from thornback.core.executor.lanes import Lane
from thornback.core.executor.replies import Replies
from thornback.core.executor.timeline import Timeline
from thornback.core.ids import Address, LeaseId, TaskId
from thornback.core.messages import (
    AcquireCpu,
    CancelTask,
    CpuAcquired,
    EndWorker,
    LeaseBlocked,
    LeaseUnblocked,
    PushTasks,
    ReleaseCpu,
    RetireWorker,
    StealTasks,
    TasksReturned,
    WorkerNeeded,
)
from thornback.core.owner import Owner
from thornback.core.ports import Ports, UserCode
from thornback.core.runtime import Runtime, Waiter


class Executor:
    """Queues and starts the tasks of one worker, and replies when they have ended.

    Attributes:
        runtime: set by the world before the first task.
        ending: why this process ends as soon as it has nothing to do; "": it does not.
        parts: components that handle messages of their own.
    """

    def __init__(self, owner: Owner, ports: Ports, user_code: UserCode, config: Config) -> None:
        self.owner = owner
        self.clock = ports.clock
        self.transport = ports.transport
        self.trace = ports.trace
        self.user_code = user_code
        self.pid = 0
        self.runtime: Runtime
        self.ending = ""
        owner.gcs.settled = self.exit_if_done
        self.lanes: dict[str, Lane] = {"": Lane(1)}
        self.running: dict[TaskId, Execution] = {}
        self.functions = Functions()
        self.arguments = Arguments(self, config)
        self.replies = Replies(owner, self.transport, self._replied)
        self.generators = Generators(self)
        self.actor = ActorHost(self)
        self.checkpoints = Checkpoints(self)
        self.parts = (self.arguments, self.generators, self.actor, self.checkpoints)
        self._timeline = Timeline(owner.worker_id, ports)
        self._calls: dict[bytes, int] = {}
        self._cpu: deque[Waiter] = deque()
        self._blocked: dict[TaskId, None] = {}
        self._job = owner.await_job()
        self._job.on_done = self._job_known
        self._worn_out = False
        """``max_calls`` was reached: the raylet ends this process as soon as the owner has the last reply."""

    # --- Tasks

    def on_push_tasks(self, sender: Address, message: PushTasks) -> None:
        """An owner that has leased this worker sends work; told that this worker ends, it sends it elsewhere."""
        if self._worn_out:
            return
        for definition in message.definitions:
            self.functions.define(definition)
        self.functions.add_templates(message.templates)
        templates = self.functions.templates
        for call in message.tasks:
            template = templates[call.template]
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
            self.enqueue(Execution(self, TASK, sender, message.lease_id, call, template, context, "", False))
        self.functions.trim()
        self.start_next("")

    def _job_known(self) -> None:
        """The raylet has said for which job this process works: what came before may start."""
        for name, lane in self.lanes.items():
            for execution in lane.queue:
                execution.context.namespace = self.owner.namespace
            self.start_next(name)

    def function_for(self, execution: Execution) -> Any:
        """The function or bound method to call."""
        if execution.kind in (CALL, CHECKPOINT):
            return self.actor.method(execution.template.method)
        return self.functions.load(execution.template.function_id)

    def has(self, task: TaskId) -> bool:
        """Whether a task runs or waits here."""
        return task in self.running or any(
            task == execution.task_id for lane in self.lanes.values() for execution in lane.queue
        )

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
                self.arguments.forget(execution)
            else:
                kept.appendleft(execution)
        queue.extend(kept)
        returned.reverse()
        self.transport.send(owner, TasksReturned(lease_id, tuple(returned)))

    def on_end_worker(self, sender: Address, message: EndWorker) -> None:
        """End once everything here is done and answered."""
        self.ending = message.reason
        self.exit_if_done()

    def on_retire_worker(self, sender: Address, message: RetireWorker) -> None:
        """There are more idle workers than needed."""
        self.owner.settle()
        if self.owner.is_needed:
            self.transport.send(sender, WorkerNeeded())
        else:
            self.ending = message.reason
            self.exit_if_done()

    def exit_if_done(self) -> None:
        """End the process if it should end and has nothing left to do, and the GCS has heard all that it had to say."""
        if (
            self.ending
            and not self.owner.gcs.kept
            and not self.running
            and not any(lane.queue for lane in self.lanes.values())
            and self.actor.may_end()
        ):
            self._timeline.flush()
            self.user_code.exit(self.ending)

    # --- Starting

    def enqueue(self, execution: Execution) -> None:
        """Something is to be run; call :meth:`start_next` for its lane afterwards."""
        if execution.dependencies:
            self.arguments.queued(execution)
        self.lanes[execution.lane].queue.append(execution)

    def start_next(self, name: str) -> None:
        """Start what the lane has room for."""
        if not self._job.done:
            return  # the raylet's word for whom it works comes by another connection than the owner's tasks
        lane = self.lanes[name]
        while lane.queue and lane.running < lane.limit:
            execution = lane.queue.popleft()
            lane.running += 1
            self.running[execution.task_id] = execution
            if self.trace.enabled:
                self.trace.event("task.started", execution.task_id, self._place_of(execution))
            if execution.kind == TASK:
                self.user_code.mark_started(execution.sequence)
            if execution.dependencies:
                self.arguments.started(execution)
            self.user_code.start(execution)
        if self.arguments.waiting:
            self.arguments.prefetch()

    def _place_of(self, execution: Execution) -> tuple[object, ...]:
        """For the trace: which attempt it is, of what kind, for whom, and where it starts."""
        worker = self.owner.worker_id
        return execution.attempt, execution.kind, execution.caller, execution.source, worker, execution.lane

    # --- Ends

    def finished(self, execution: Execution, outcome: Outcome) -> None:
        """User code has returned or raised."""
        lane = self.lanes[execution.lane]
        lane.running -= 1
        self.running.pop(execution.task_id, None)
        self._blocked.pop(execution.task_id, None)
        self.generators.forget(execution.task_id)
        if execution.dependencies:
            self.arguments.forget(execution)
        self._timeline.add(execution, outcome)
        if self.trace.enabled:
            kind = "cancelled" if outcome.cancelled else "error" if outcome.error else "ok"
            self.trace.event("task.ended", execution.task_id, (execution.attempt, kind, self.owner.worker_id))
        if execution.kind == CREATION:
            self.actor.created(execution, outcome)
        elif execution.kind == CHECKPOINT:
            self.checkpoints.saved(outcome)
        else:
            if execution.template.replay:
                self.checkpoints.ended(execution, outcome)
            self.replies.add(execution, outcome)
        if outcome.exits:
            self.actor.exit()
        elif lane.queue or self.arguments.waiting:
            self.start_next(execution.lane)
        if self.ending:
            self.exit_if_done()

    def _replied(self, execution: Execution) -> None:
        if self.ending:
            self.exit_if_done()
        if execution.template.max_calls <= 0 or execution.kind != TASK:
            return
        function_id = execution.template.function_id
        calls = self._calls[function_id] = self._calls.get(function_id, 0) + 1
        if calls >= execution.template.max_calls and not self._worn_out:
            self._worn_out = True
            queue = self.lanes[""].queue
            while queue:
                self.arguments.forget(queue.popleft())

    def end_turn(self) -> None:
        """Send the replies that have come together."""
        self.replies.end_turn(self._worn_out)

    # --- Blocking

    def block(self, context: TaskContext) -> None:
        """The running task waits: others may use its CPU, and what is queued behind it goes elsewhere."""
        self._blocked[context.task_id] = None
        execution = self.running.get(context.task_id)
        if execution is not None and execution.kind == TASK:
            if self.lanes[""].queue:
                self._give_back(execution.caller, execution.source, len(self.lanes[""].queue))
            self.transport.send(execution.caller, LeaseBlocked(execution.source))
        self.transport.send(self.owner.node_id, ReleaseCpu())

    def unblock(self, context: TaskContext) -> Waiter:
        """The task has what it waited for; the waiter completes when it has a CPU again."""
        self._blocked.pop(context.task_id, None)
        waiter = Waiter()
        self._cpu.append(waiter)
        self.owner.leases.return_idle_here()
        self.transport.send(self.owner.node_id, AcquireCpu())
        execution = self.running.get(context.task_id)
        if execution is not None and execution.kind == TASK:
            waiter.result = (execution.caller, execution.source)
        return waiter

    def makes_progress(self, task: TaskId) -> bool:
        """Whether a task runs, and does not wait for others, as far as is known: only those that hold a CPU tell."""
        execution = self.running.get(task)
        return execution is not None and execution.context.holds_cpu and task not in self._blocked

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
        self.arguments.forget(execution)
        error = TaskCancelledError(f"task {execution.name} was cancelled")
        self.replies.add(execution, execution.interrupted(error))

    def _cancel_running(self, execution: Execution, message: CancelTask) -> None:
        if message.recursive:
            self.owner.cancellation.children(execution.task_id, message.force)
        if execution.kind == TASK and message.force:
            self.user_code.exit("its task was cancelled by force")
            return
        execution.context.cancelled = True
        if execution.kind == TASK or execution.is_async:
            self.user_code.interrupt(execution.task_id)
        self.generators.wake(execution.task_id)

    def process_died(self, address: Address) -> None:
        """A caller has ended: its calls that have not started are dropped, its generators stopped."""
        for lane in self.lanes.values():
            for execution in [execution for execution in lane.queue if execution.caller.startswith(address)]:
                lane.queue.remove(execution)
                self.arguments.forget(execution)
        for execution in list(self.running.values()):
            if execution.caller.startswith(address) and execution.kind != CREATION:
                self.generators.close(execution.task_id)
        self.actor.process_died(address)
        self.checkpoints.process_died(address)
