"""Where the user code of a simulated worker runs: greenlets, and an asyncio loop on virtual time."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from greenlet import GreenletExit

from thornback.core.executor.execution import Outcome
from thornback.core.ids import TaskId
from thornback.simulator import threads
from thornback.simulator.event_loop import VirtualEventLoop
from thornback.simulator.process import UserProcess
from thornback.simulator.surroundings import Surroundings
from thornback.simulator.threads import GreenletThread, cancelled

if TYPE_CHECKING:
    from thornback.simulator.world import World


class SimulatedUserCode:
    """Implements the ``UserCode`` port. How many run at the same time is up to the executor.

    Attributes:
        running: the name of what was started last, for the prefix of printed lines.
    """

    def __init__(self, world: World, process: UserProcess) -> None:
        self._world = world
        self._process = process
        self._surroundings = Surroundings(world, process.node, process.address, process.pid)
        self._ready: deque[Any] = deque()
        self._idle: list[GreenletThread] = []
        self._by_task: dict[TaskId, GreenletThread] = {}
        self._loop: _LoopLane | None = None
        self._taking_next = False
        self.running = ""

    # --- The port

    def open_lanes(self, lanes: dict[str, int], with_event_loop: bool) -> None:
        """The process becomes an actor."""
        if with_event_loop:
            self._loop = self._new_loop()

    def start(self, execution: Any) -> None:
        """Run it soon."""
        if execution.is_async and self._loop is None:
            self._loop = self._new_loop()
        if self._loop is not None:
            self._loop.start(execution)
            return
        self._ready.append(execution)
        if not self._taking_next:
            self._process.beginning.append(self._idle_thread())

    def interrupt(self, task_id: TaskId) -> None:
        """Raise TaskCancelledError where the task waits, or where it waits next."""
        thread = self._by_task.get(task_id)
        if thread is not None:
            thread.interrupt(cancelled(self.running))
        elif self._loop is not None:
            self._loop.cancel(task_id)

    def mark_started(self, sequence: int) -> None:
        """Note it with the process, where the node can read it after its end."""
        self._process.started_through = sequence

    def exit(self, reason: str) -> None:
        """End the process after the present turn."""
        if self._process.exit_reason is None:
            self._process.exit_reason = reason

    # --- Threads

    def new_thread(self, target: Any) -> GreenletThread:
        """A thread of this process, which does not run yet."""
        process = self._process
        thread = GreenletThread(self._world, self._surroundings, process, target)
        thread.runtime = process.runtime
        process.threads.append(thread)
        return thread

    def _new_loop(self) -> _LoopLane:
        return _LoopLane(self._world, self)

    def _idle_thread(self) -> GreenletThread:
        thread = self._idle.pop() if self._idle else self.new_thread(self._serve)
        thread.idle = False
        return thread

    def _serve(self) -> None:
        thread = threads.active
        assert isinstance(thread, GreenletThread)
        while True:
            while self._ready:
                self._run(thread, self._ready.popleft())
            thread.idle = True
            self._idle.append(thread)
            thread.suspend()
            thread.idle = False

    def _run(self, thread: GreenletThread, execution: Any) -> None:
        self._by_task[execution.task_id] = thread
        outcome = self.run(thread, execution)
        del self._by_task[execution.task_id]
        thread.clear_interruption()
        self._taking_next = True
        self.finished(execution, outcome)
        self._taking_next = False
        for _ in range(len(self._ready) - 1):
            self._idle_thread().wake()

    def run(self, thread: GreenletThread, execution: Any) -> Outcome:
        """Run it to its end in this thread. What the cost model says comes first."""
        self.running = execution.name
        thread.waits_for = execution.name
        cost = self.cost_of(execution.name)
        if cost:
            try:
                thread.sleep(cost)
            except Exception as error:
                return interrupted(execution, error)
        outcome: Outcome = execution.run()
        if cost:
            count_cost(outcome, cost)
        if self._process.ended:
            raise GreenletExit
        return outcome

    def finished(self, execution: Any, outcome: Outcome) -> None:
        """Hand the outcome to the executor."""
        process = self._process
        executor = process.core.executor
        assert executor is not None
        self._world.tasks += 1
        executor.finished(execution, outcome)
        if process.before_send is not None or (self._ready and execution.runs_once):
            process.settle()
        if process.ended:
            raise GreenletExit

    def cost_of(self, name: str) -> int:
        """Nanoseconds that the cost model adds on this node."""
        world = self._world
        return int(world.cost_of(name) * self._process.node.slowness) if world.costs else 0


def interrupted(execution: Any, error: BaseException) -> Outcome:
    """The outcome of an execution that was interrupted before its code began."""
    outcome = Outcome()
    execution._failed(error, outcome)
    return outcome


def count_cost(outcome: Outcome, cost: int) -> None:
    """The time that passed before the code ran is part of its run time."""
    outcome.run_time += cost
    outcome.start -= cost


class _LoopLane:
    """A thread with an asyncio loop: coroutines run as its tasks, plain methods in between."""

    def __init__(self, world: World, owner: SimulatedUserCode) -> None:
        self._owner = owner
        self._loop = VirtualEventLoop(world)
        self._tasks: dict[TaskId, asyncio.Task[None]] = {}
        self._thread = owner.new_thread(self._serve)
        self._thread.wake()

    def start(self, execution: Any) -> None:
        self._loop.call_soon_threadsafe(self._begin, execution)

    def cancel(self, task_id: TaskId) -> None:
        self._loop.call_soon_threadsafe(self._cancel, task_id)

    def _cancel(self, task_id: TaskId) -> None:
        task = self._tasks.get(task_id)
        if task is not None:
            task.cancel()

    def _serve(self) -> None:
        self._thread.waits_for = "asyncio actor"
        self._loop.run_forever()

    def _begin(self, execution: Any) -> None:
        if execution.is_async:
            self._tasks[execution.task_id] = self._loop.create_task(self._run(execution))
        else:
            self._owner.finished(execution, self._owner.run(self._thread, execution))

    async def _run(self, execution: Any) -> None:
        owner = self._owner
        owner.running = execution.name
        try:
            cost = owner.cost_of(execution.name)
            if cost:
                await asyncio.sleep(cost / 1e9)
            outcome = await execution.run_async()
            if cost:
                count_cost(outcome, cost)
        except (GreenletExit, GeneratorExit):
            raise
        except BaseException as error:
            outcome = interrupted(execution, error)
        self._tasks.pop(execution.task_id, None)
        if self._thread.process is None or self._thread.process.ended:
            return
        owner.running = execution.name
        owner.finished(execution, outcome)
