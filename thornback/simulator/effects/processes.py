"""Faults of single processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from thornback.core.messages import CreateActor, Message, PushActorTasks, PushTasks
from thornback.core.raylet.memory_guard import MemoryReport
from thornback.faults import plan as p
from thornback.simulator.effects.base import Effect, End, before_send
from thornback.simulator.model import nanoseconds
from thornback.simulator.process import Outbox, UserProcess, replies_in

if TYPE_CHECKING:
    from thornback.simulator.nodes import Node
    from thornback.simulator.world import World


def _crash_worker(world: World, fault: p.CrashWorker) -> None:
    _kill(world, world.find_worker(fault.node, fault.worker))


def _crash_owner(world: World, fault: p.CrashOwner) -> None:
    owners = [process for process in world.nodes[fault.node].running_workers() if process.owns()]
    _kill(world, max(owners, key=UserProcess.owns, default=None))


def _crash_driver(world: World, fault: p.CrashDriver) -> None:
    drivers = [process for process in world.nodes[fault.node].drivers.values() if not process.is_program]
    _kill(world, drivers[0] if drivers else None)


def _kill(world: World, process: UserProcess | None) -> None:
    if process is not None and not process.ended:
        world.end_process(process, "killed (SIGKILL)")


def _pause_worker(world: World, fault: p.PauseWorker) -> End | None:
    process = world.find_worker(fault.node, fault.worker)
    if process is None:
        return None
    process.pause()
    return process.resume


def _out_of_memory(world: World, fault: p.OutOfMemory) -> None:
    process = world.nodes[fault.node].process
    if process is not None and not process.gate:
        limit = 1 << 34
        process.core.raylet.memory_guard.check(MemoryReport(limit, limit, {}))
        process.settle()


def _slow_start(world: World, fault: p.SlowStart) -> End:
    node, delay = world.nodes[fault.node], nanoseconds(fault.delay)
    node.start_delay += delay

    def end() -> None:
        node.start_delay -= delay

    return end


def _failed_start(world: World, fault: p.FailedStart) -> None:
    world.nodes[fault.node].start_failures += fault.count


EFFECTS: dict[type, Effect] = {
    p.CrashWorker: _crash_worker,
    p.CrashOwner: _crash_owner,
    p.CrashDriver: _crash_driver,
    p.PauseWorker: _pause_worker,
    p.OutOfMemory: _out_of_memory,
    p.SlowStart: _slow_start,
    p.FailedStart: _failed_start,
}


# --- Moments in the life of a task


def watch_tasks(world: World, fault: p.CrashWorker) -> None:
    """Kill the worker at the fault's moment, of which there is only one."""
    _TaskWatch(world, world.nodes[fault.node] if fault.node < len(world.nodes) else None, fault)


class _TaskWatch:
    """Counts tasks of the workers of a node, or of one of them, up to the one at which a worker dies."""

    def __init__(self, world: World, node: Node | None, fault: p.CrashWorker) -> None:
        self._world = world
        self._fault = fault
        self._left = fault.nth
        world.on_worker_start.append(self._started)

    def _started(self, process: UserProcess) -> None:
        fault = self._fault
        if process.node.index != fault.node or fault.worker not in (None, process.number):
            return
        if fault.moment == "before_running":
            self._watch_arrivals(process)
        elif fault.moment == "running":
            self._watch_starts(process)
        else:
            before_send(process, lambda outbox: self._replies(process, outbox))

    def _passed(self, count: int) -> bool:
        before, self._left = self._left, self._left - count
        return 0 < before <= count

    def _watch_arrivals(self, process: UserProcess) -> None:
        receive: Callable[..., None] = process.core.receive

        def counting(sender: bytes, message: Message) -> None:
            if self._passed(_tasks_in(message)):
                self._kill(process)
            elif not process.ended:
                receive(sender, message)

        process.core.receive = counting  # type: ignore[method-assign]

    def _watch_starts(self, process: UserProcess) -> None:
        user_code: Any = process.user_code
        start: Callable[[Any], None] = user_code.start

        def counting(execution: Any) -> None:
            start(execution)
            if self._passed(1):
                self._world.engine.call_after(1, lambda: self._kill(process))

        user_code.start = counting

    def _replies(self, process: UserProcess, outbox: Outbox) -> None:
        if self._passed(replies_in(outbox)):
            if self._fault.moment == "before_reply":
                self._kill(process)
            else:
                self._world.engine.call_after(1, lambda: self._kill(process))

    def _kill(self, process: UserProcess) -> None:
        if not process.ended:
            self._world.fault(self._fault.kind, process.address)
            self._world.end_process(process, "killed (SIGKILL)")


def _tasks_in(message: Message) -> int:
    if isinstance(message, (PushTasks, PushActorTasks)):
        return len(message.tasks)
    return int(isinstance(message, CreateActor))
