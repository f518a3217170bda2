"""Makes the faults of a plan happen in a simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from thornback.faults import plan as p
from thornback.faults.plan import AnyFault, Plan
from thornback.simulator.conditions import Rule
from thornback.simulator.model import nanoseconds
from thornback.simulator.process import Outbox, UserProcess, replies_in

if TYPE_CHECKING:
    from thornback.simulator.nodes import Node
    from thornback.simulator.world import World


class Injector:
    """Schedules the faults of ``plan`` when it is made, before the simulation begins.

    Raises:
        ValueError: a fault names a node that the cluster does not have.
    """

    def __init__(self, world: World, plan: Plan) -> None:
        self._world = world
        for index, fault in enumerate(plan.faults):
            self._check(index, fault)
        for fault in plan.faults:
            self._schedule(fault)

    def _check(self, index: int, fault: AnyFault) -> None:
        count = len(self._world.nodes)
        named: list[int] = []
        for field in ("node", "a", "b"):
            value = getattr(fault, field, None)
            named += value if isinstance(value, list) else [] if value is None else [value]
        for node in named:
            if node >= count:
                raise ValueError(f"faults[{index}]: there is no node {node} in a cluster of {count} nodes")

    def _schedule(self, fault: AnyFault) -> None:
        if isinstance(fault, p.CrashWorker):
            self._schedule_worker_crash(fault)
            return
        begin, end = _EFFECTS.get(type(fault), (None, None))
        if isinstance(fault, p.LinkFault):
            self._schedule_rule(fault)
        elif begin is not None:
            self._at(fault.at, lambda: self._happens(fault, begin))
            until = getattr(fault, "until", None)
            if end is not None and until is not None:
                self._at(until, lambda: end(self._world, fault))

    def _at(self, seconds: float, call: Callable[[], Any]) -> None:
        self._world.engine.call_after(nanoseconds(seconds), call)

    def _happens(self, fault: AnyFault, begin: Callable[[World, Any], None]) -> None:
        self._note(fault)
        begin(self._world, fault)

    def _note(self, fault: AnyFault) -> None:
        self._world.fault(str(fault.__struct_config__.tag), repr(fault).encode())

    # --- Links

    def _schedule_rule(self, fault: p.LinkFault) -> None:
        conditions = self._world.network.conditions

        def begin() -> None:
            self._note(fault)  # type: ignore[arg-type]
            number = conditions.add(_rule(fault))
            if fault.until is not None:
                self._at(fault.until - fault.at, lambda: conditions.remove(number))

        self._at(fault.at, begin)

    # --- Workers

    def _schedule_worker_crash(self, fault: p.CrashWorker) -> None:
        if fault.at is not None:
            self._at(fault.at, lambda: self._world.kill_worker(fault.node, fault.worker))
        if fault.after_replies is not None:
            self._world.on_worker_start.append(lambda process: self._watch(process, fault))

    def _watch(self, process: UserProcess, fault: p.CrashWorker) -> None:
        if process.node.index == fault.node and process.number == (fault.worker or 0):
            process.before_send = lambda outbox: self._count(process, fault, outbox)

    def _count(self, process: UserProcess, fault: p.CrashWorker, outbox: Outbox) -> None:
        sent = replies_in(outbox)
        if not sent:
            return
        limit = fault.after_replies or 0
        process.replies += sent
        if process.replies <= limit:
            if process.replies == limit:
                self._world.engine.call_after(0, lambda: self._kill(process))
            return
        self._kill(process)

    def _kill(self, process: UserProcess) -> None:
        if not process.ended:
            self._world.fault("crash_worker", process.address)
            self._world.end_process(process, "killed (SIGKILL)")


def _rule(fault: p.LinkFault) -> Rule:
    effects: dict[str, Any] = {}
    if isinstance(fault, p.Cut):
        effects["cut"] = True
    elif isinstance(fault, p.Loss):
        effects["loss"] = fault.rate
    elif isinstance(fault, p.Duplicate):
        effects.update(duplicate=fault.rate, window=nanoseconds(0.001))
    elif isinstance(fault, p.Reorder):
        effects.update(reorder=fault.rate, window=nanoseconds(fault.window))
    elif isinstance(fault, p.Delay):
        effects.update(delay=nanoseconds(fault.seconds), jitter=nanoseconds(fault.jitter))
    elif isinstance(fault, p.Bandwidth):
        effects["bandwidth"] = fault.factor
    sources = None if fault.a is None else frozenset(fault.a)
    targets = None if fault.b is None else frozenset(fault.b)
    return Rule(sources, targets, fault.one_way, **effects)


def _crash_node(world: World, fault: p.CrashNode) -> None:
    node = world.nodes[fault.node]
    node.crash()
    if fault.reboot_after is not None:
        node.boot(nanoseconds(fault.reboot_after))


def _of(change: Callable[[Node, Any], None]) -> Callable[[World, Any], None]:
    return lambda world, fault: change(world.nodes[fault.node], fault)


def _set_slowness(node: Node, fault: p.SlowNode) -> None:
    node.slowness *= fault.factor


def _end_slowness(node: Node, fault: p.SlowNode) -> None:
    node.slowness /= fault.factor


def _set_start_delay(node: Node, fault: p.SlowStart) -> None:
    node.start_delay += nanoseconds(fault.delay)


def _end_start_delay(node: Node, fault: p.SlowStart) -> None:
    node.start_delay -= nanoseconds(fault.delay)


def _fail_starts(node: Node, fault: p.FailedStart) -> None:
    node.start_failures += fault.count


def _pause(node: Node, fault: p.PauseNode) -> None:
    node.pause()


def _resume(node: Node, fault: p.PauseNode) -> None:
    node.resume()


def _step_clock(node: Node, fault: p.ClockStep) -> None:
    node.clock.advance(nanoseconds(fault.seconds))


def _drift_clock(node: Node, fault: p.ClockDrift) -> None:
    node.clock.set_drift(fault.parts_per_million)


def _reset(world: World, fault: p.Reset) -> None:
    world.network.reset(fault.a, fault.b)


Effect = Callable[["World", Any], None]
_EFFECTS: dict[type, tuple[Effect, Effect | None]] = {
    p.CrashNode: (_crash_node, None),
    p.PauseNode: (_of(_pause), _of(_resume)),
    p.SlowNode: (_of(_set_slowness), _of(_end_slowness)),
    p.SlowStart: (_of(_set_start_delay), _of(_end_start_delay)),
    p.FailedStart: (_of(_fail_starts), None),
    p.Reset: (_reset, None),
    p.ClockStep: (_of(_step_clock), None),
    p.ClockDrift: (_of(_drift_clock), None),
}
