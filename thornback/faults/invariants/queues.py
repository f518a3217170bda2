"""Whatever waits in a queue, and whatever is under way: in the end, nothing does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from thornback.core.ids import node_of, short
from thornback.faults.invariants.base import Checker, Unsettled
from thornback.faults.invariants.liveness import global_store, raylets, user_processes

if TYPE_CHECKING:
    from thornback.core.raylet import Raylet
    from thornback.simulator.nodes import Node
    from thornback.simulator.process import Process, UserProcess
    from thornback.simulator.world import World


class Queues(Checker):
    """Looks into all queues: of nodes, of drivers and workers, and of the links between them."""

    name = "queues drain"
    promise = "no task, call, reply, request, pull, demand for memory, registration or message waits for ever"
    liveness = True

    def unsettled(self, world: World) -> Iterable[Unsettled]:
        """What waits."""
        busy = [process for process in user_processes(world) if process.is_busy]
        for node, raylet in raylets(world):
            on_node = any(node_of(each.address) == node.node_id for each in busy)
            if not on_node:
                yield from _of_node(node, raylet)
            yield from _of_links(raylet.gcs.kept, node.name, node.process)
        gcs = global_store(world)
        infeasible = any(raylet.leases.infeasible for _, raylet in raylets(world))
        infeasible = infeasible or bool(gcs is not None and gcs.actors.placement.unplaced)
        for process in user_processes(world):
            if not busy:
                yield from _of_process(process, infeasible)
            yield from _of_links(process.core.owner.gcs.kept, short(process.address), process)
        held = world.network.held
        if held:
            yield Unsettled("messages wait for the end of a cut", f"{held} messages wait for the end of a cut")


def _of_node(node: Node, raylet: Raylet) -> Iterator[Unsettled]:
    waiting: dict[str, int] = {
        "lease requests": len(raylet.leases.queue),
        "leases without a worker": len(raylet.grants.waiting_workers),
        "workers that wait for a CPU": len(raylet.grants.waiting_cpu),
        "demands for memory": len(raylet.store.room),
        "pulls": len(raylet.pulls.queue) + len(raylet.pulls.active),
    }
    for what, count in waiting.items():
        if count:
            yield Unsettled(f"{what} wait", f"{count} {what} wait on {node.name}", node.node_id)


def _of_process(process: UserProcess, infeasible: bool) -> Iterator[Unsettled]:
    owner, executor = process.core.owner, process.core.executor
    waiting: dict[str, int] = {
        "registrations of borrowers": owner.references.pending,
        "references that were handed over": len(owner.references.handovers),
        "objects that are asked for": len(owner.blocks._pinning),
    }
    if not infeasible:
        waiting["tasks in the queues of their owners"] = sum(len(each.queue) for each in owner.leases.classes)
        calls = (len(client.queue) + len(client.in_flight) for client in owner.actors.clients.values())
        waiting["calls to actors"] = sum(calls)
        waiting["borrowers that ask"] = sum(len(each.asking or ()) for each in owner.references.table.values())
    if executor is not None:
        waiting["tasks in the queues of workers"] = sum(len(lane.queue) for lane in executor.lanes.values())
        waiting["replies"] = executor.replies.pending
    for what, count in waiting.items():
        if count:
            yield Unsettled(f"{what} wait", f"{count} {what} wait in {short(process.address)}", process.address)


def _of_links(kept: int, name: str, process: Process | None) -> Iterator[Unsettled]:
    if kept:
        text = f"{name} has sent {kept} messages to the GCS that are not known to be durable"
        yield Unsettled("messages to the GCS wait", text)
    for peer, endpoint in () if process is None else process.endpoints.items():
        if endpoint.outstanding and not endpoint.peer.ended:
            text = f"{endpoint.outstanding} parcels of {name} wait to be acknowledged by {short(peer)}"
            yield Unsettled("parcels wait to be acknowledged", text)
