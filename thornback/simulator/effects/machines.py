"""Faults of machines, of the GCS and of clocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.ids import GCS
from thornback.core.messages import Heartbeat, Message
from thornback.faults import plan as p
from thornback.simulator.effects.base import Effect, End, before_send
from thornback.simulator.model import nanoseconds
from thornback.simulator.process import NodeProcess, Outbox

if TYPE_CHECKING:
    from thornback.simulator.nodes import Node
    from thornback.simulator.world import World


def _crash_node(world: World, fault: p.CrashNode) -> None:
    _lose(world.nodes[fault.node], fault.reboot_after)


def _lose(node: Node, reboot_after: float | None) -> None:
    node.crash()
    if reboot_after is not None:
        node.boot(nanoseconds(reboot_after))


def _crash_raylet(world: World, fault: p.CrashRaylet) -> None:
    node = world.nodes[fault.node]
    restart = None if fault.restart_after is None else nanoseconds(fault.restart_after)
    node.crash_raylet(nanoseconds(fault.orphans_live), restart)


def _crash_rack(world: World, fault: p.CrashRack) -> None:
    step = nanoseconds(fault.spread) // max(1, len(fault.nodes) - 1)
    for place, index in enumerate(fault.nodes):
        node = world.nodes[index]
        world.engine.call_after(step * place, lambda node=node: _lose(node, fault.reboot_after))  # type: ignore[misc]


def _preempt(world: World, fault: p.PreemptNode) -> None:
    node = world.nodes[fault.node]
    lost = node.process
    node.notice_preemption(nanoseconds(fault.notice))

    def end() -> None:
        if node.process is lost:
            _lose(node, fault.reboot_after)

    world.engine.call_after(nanoseconds(fault.notice), end)


def _launch(world: World, fault: p.LaunchNodes) -> None:
    def arrive() -> None:
        for _ in range(fault.count if fault.arrive is None else fault.arrive):
            world.add_node(fault.cpus)

    world.engine.call_after(nanoseconds(fault.delay), arrive)


def _late_heartbeats(world: World, fault: p.LateHeartbeats) -> End:
    held: list[tuple[NodeProcess, Message]] = []
    over = False

    def hold(process: NodeProcess, outbox: Outbox) -> None:
        if over or GCS not in outbox:
            return
        held.extend((process, message) for message in outbox[GCS] if isinstance(message, Heartbeat))
        others = [message for message in outbox[GCS] if not isinstance(message, Heartbeat)]
        if others:
            outbox[GCS] = others
        else:
            del outbox[GCS]

    def end() -> None:
        nonlocal over
        over = True
        for process, message in held:
            if not process.ended:
                world.network.post(process, GCS, [message])

    world.nodes[fault.node].when_up(lambda process: before_send(process, lambda outbox: hold(process, outbox)))
    return end


def _pause_node(world: World, fault: p.PauseNode) -> End:
    node = world.nodes[fault.node]
    paused = node.process
    node.pause()

    def end() -> None:
        if node.process is paused:
            node.resume()

    return end


def _pause_raylet(world: World, fault: p.PauseRaylet) -> End:
    node = world.nodes[fault.node]
    paused = [process for process in (node.process, node.gcs) if process is not None and not process.ended]
    for process in paused:
        process.pause()

    def end() -> None:
        for process in paused:
            process.resume()

    return end


def _slow_node(world: World, fault: p.SlowNode) -> End:
    node = world.nodes[fault.node]
    node.slowness *= fault.factor

    def end() -> None:
        node.slowness /= fault.factor

    return end


def _slow_commits(world: World, fault: p.SlowCommits) -> End:
    disk, delay = world.nodes[0].disk, nanoseconds(fault.delay)
    disk.delay += delay

    def end() -> None:
        disk.delay -= delay

    return end


def _crash_gcs(world: World, fault: p.CrashGcs) -> None:
    world.nodes[0].crash_gcs(nanoseconds(fault.restart_after), fault.unsynced == "kept")


def _step_clock(world: World, fault: p.ClockStep) -> None:
    world.nodes[fault.node].clock.advance(nanoseconds(fault.seconds))


def _drift_clock(world: World, fault: p.ClockDrift) -> None:
    world.nodes[fault.node].clock.set_drift(fault.parts_per_million)


EFFECTS: dict[type, Effect] = {
    p.CrashNode: _crash_node,
    p.CrashRaylet: _crash_raylet,
    p.CrashRack: _crash_rack,
    p.PreemptNode: _preempt,
    p.LaunchNodes: _launch,
    p.LateHeartbeats: _late_heartbeats,
    p.PauseNode: _pause_node,
    p.PauseRaylet: _pause_raylet,
    p.SlowNode: _slow_node,
    p.SlowCommits: _slow_commits,
    p.CrashGcs: _crash_gcs,
    p.ClockStep: _step_clock,
    p.ClockDrift: _drift_clock,
}
