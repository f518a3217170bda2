"""What must come true within a bound of virtual time after the last fault.

These checkers read the tables of the components, between turns and when the program has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from thornback.core.ids import WORKER_ID_SIZE, Address, ObjectId, TaskId, owner_of, short
from thornback.core.messages import DEAD
from thornback.core.owner.task import DONE
from thornback.faults.invariants.base import Checker, Detail, Unsettled

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore
    from thornback.core.owner.references import Reference
    from thornback.core.raylet import Raylet
    from thornback.simulator.nodes import Node
    from thornback.simulator.process import UserProcess
    from thornback.simulator.world import World


def raylets(world: World) -> Iterator[tuple[Node, Raylet]]:
    """Of all nodes that run, in order."""
    for node in world.nodes:
        if node.alive and node.process is not None and not node.pauses:
            yield node, node.process.core.raylet


def user_processes(world: World) -> Iterator[UserProcess]:
    """Drivers and workers of all nodes that run."""
    for node, _ in raylets(world):
        yield from node.drivers.values()
        yield from (process for process in node.workers.values() if process is not None and not process.ended)


def global_store(world: World) -> GlobalControlStore | None:
    """The GCS, if it runs."""
    process = world.nodes[0].gcs
    return None if process is None or process.ended else process.core.tables


def lasting_actors(world: World) -> set[bytes]:
    """Actors that may outlive the program."""
    gcs = global_store(world)
    return set() if gcs is None else {key for key, actor in gcs.actors.table.items() if actor.state != DEAD}


def _nodes_of_group(gcs: GlobalControlStore, group_id: bytes) -> list[bytes]:
    group = gcs.groups.table.get(group_id)
    return [] if group is None else group.nodes


class Returns(Checker):
    """Of the program itself, reported by whoever runs it: the simulator says when nothing can go on. Other programs are
    looked at when it is over."""

    name = "everything returns"
    promise = "every get and wait returns"
    liveness = True

    def unsettled(self, world: World) -> Iterable[Unsettled]:
        """Other programs that wait, although nothing runs for them and nothing that they want is impossible."""
        impossible = any(raylet.leases.infeasible for _, raylet in raylets(world))
        if impossible or any(process.is_busy for process in user_processes(world)):
            return
        for process in user_processes(world):
            if process.number >= 0 or process.is_program:
                continue
            for what, has_timeout, _, _ in process.core.blocked.notes.values():
                if not has_timeout:
                    text = f"the program of driver {short(process.address)} on {process.node.name} waits in {what[0]}"
                    yield Unsettled("a program waits for ever", text, process.address)


class Rebuilt(Checker):
    """Remembers the objects whose last copy was lost."""

    name = "rebuilt"
    promise = "an object whose copies are lost is made again, or becomes an error, or is let go"
    liveness = True

    def __init__(self) -> None:
        super().__init__()
        self._lost: dict[ObjectId, None] = {}

    def on_object_lost(self, time: int, subject: bytes, detail: Detail) -> None:
        """All copies are gone."""
        self._lost[subject] = None

    def on_object_ready(self, time: int, subject: bytes, detail: Detail) -> None:
        """It has a content again."""
        self._lost.pop(subject, None)

    def on_object_released(self, time: int, subject: bytes, detail: Detail) -> None:
        """Nobody wants it any more."""
        self._lost.pop(subject, None)

    def on_process_end(self, time: int, subject: bytes, detail: Detail) -> None:
        """An owner has ended, and its objects with it."""
        for object_id in [object_id for object_id in self._lost if object_id.startswith(subject)]:
            del self._lost[object_id]

    def unsettled(self, world: World) -> Iterable[Unsettled]:
        """Those that are still lost."""
        for object_id in self._lost:
            yield Unsettled("a lost object is not rebuilt", f"object {short(object_id)} is still lost", object_id)


class Runs(Checker):
    """Remembers the tasks that have not ended."""

    name = "everything feasible runs"
    promise = "a task that some node could run is run"
    liveness = True

    def __init__(self) -> None:
        super().__init__()
        self._open: dict[TaskId, str] = {}
        self._running: dict[TaskId, Address] = {}

    def on_task_submitted(self, time: int, subject: bytes, detail: Detail) -> None:
        """Somebody calls a function or method."""
        self._open[subject] = detail[0]

    def on_task_rebuilding(self, time: int, subject: bytes, detail: Detail) -> None:
        """It runs again, to make a lost object."""
        self._open[subject] = "a rebuilt task"

    def on_task_started(self, time: int, subject: bytes, detail: Detail) -> None:
        """It runs."""
        self._running[subject] = detail[4]

    def on_task_ended(self, time: int, subject: bytes, detail: Detail) -> None:
        """A run is over."""
        self._running.pop(subject, None)

    def on_task_finished(self, time: int, subject: bytes, detail: Detail) -> None:
        """Its owner has the result."""
        self._open.pop(subject, None)

    def on_task_failed(self, time: int, subject: bytes, detail: Detail) -> None:
        """Its owner has the error."""
        self._open.pop(subject, None)

    def on_process_end(self, time: int, subject: bytes, detail: Detail) -> None:
        """What a process has submitted ends with it; what it ran does not run any more."""
        for task in [task for task in self._open if task.startswith(subject)]:
            del self._open[task]
        for task in [task for task, worker in self._running.items() if worker == subject]:
            del self._running[task]

    def unsettled(self, world: World) -> Iterable[Unsettled]:
        """Tasks that wait, although they run nowhere and some node could run them."""
        infeasible = any(raylet.leases.infeasible for _, raylet in raylets(world))
        for task, name in self._open.items():
            if task not in self._running and not infeasible and not self._behind_running(world, task):
                yield Unsettled("a task never runs", f"task {name} ({short(task)}) is neither run nor ended", task)

    def _behind_running(self, world: World, task: TaskId) -> bool:
        """Whether its owner has others that run: it may have to wait for those."""
        return any(each.startswith(task[:WORKER_ID_SIZE]) for each in self._running)


class Zero(Checker):
    """Looks for what is left when nobody needs anything any more."""

    name = "nothing is left"
    promise = "when the program is over, counts, leases, bundles, memory and spill files return to zero"
    liveness = True

    def unsettled(self, world: World) -> Iterable[Unsettled]:
        """What is left, unless a detached actor may need it."""
        gcs = global_store(world)
        if gcs is None or any(node.drivers for node in world.nodes):
            return
        lasting = lasting_actors(world)
        for actor_id, actor in gcs.actors.table.items():
            if actor_id in lasting and not actor.spec.detached and owner_of(actor_id) not in world.network.directory:
                text = f"actor {short(actor_id)} is {actor.state}, and its owner has ended"
                yield Unsettled("an actor is left", text, actor_id)
        for job_id, given in gcs.quotas._given.items():
            for holder in given:
                if holder not in gcs.nodes.alive() and not any(_nodes_of_group(gcs, holder)):
                    text = f"{short(holder)}, which is gone, counts as holding a part of the quota of job {job_id}"
                    yield Unsettled("a quota is left", text, holder)
        for node, raylet in raylets(world):
            for lease_id, grant in raylet.grants.table.items():
                if grant.request.actor_id not in lasting:
                    yield Unsettled("a lease is left", f"lease {short(lease_id)} is left on {node.name}", lease_id)
            for group_id in raylet.bundles.groups:
                group = gcs.groups.table.get(group_id)
                if group is None or group.state == "REMOVED":
                    yield Unsettled("a bundle is left", f"group {short(group_id)} has bundles on {node.name}", group_id)
            if not lasting:
                for object_id, entry in raylet.store.entries.items():
                    text = f"object {short(object_id)} of {entry.size:,} bytes is left on {node.name}"
                    yield Unsettled("an object is left in memory", text, object_id)
                allocator = raylet.store.allocator
                if allocator.largest() < allocator.capacity and not raylet.store.entries:
                    text = (
                        f"{allocator.used:,} bytes of {node.name} are in use by nothing, or what is free is in pieces"
                    )
                    yield Unsettled("memory is left", text)
                if node.spill.files and not raylet.store.entries:
                    yield Unsettled(
                        "a spill file is left", f"{len(node.spill.files)} spill files are left on {node.name}"
                    )


class Counts(Checker):
    """Looks at drivers and workers once nothing is left to do."""

    name = "counts"
    promise = "no process counts below zero, counts borrowers that have let go, or remembers a task that nothing needs"
    liveness = True
    of_drivers = True

    def __init__(self) -> None:
        super().__init__()
        self._processes: dict[Address, UserProcess] = {}

    def unsettled(self, world: World) -> Iterable[Unsettled]:
        """References with counts, and finished tasks, in drivers that are still connected and in workers."""
        self._processes = {process.address: process for process in user_processes(world)}
        for process in self._processes.values():
            yield from self._of(process)
        self._processes = {}

    def _of(self, process: UserProcess) -> Iterator[Unsettled]:
        owner = process.core.owner
        if owner.tasks.unfinished or process.is_busy:
            return
        for object_id, reference in owner.references.table.items():
            if reference.local > 0:
                continue
            if reference.owned and reference.borrowers:
                yield from self._of_borrowers(process, reference)
            elif reference.local < 0 or reference.holds < 0:
                text = f"object {short(object_id)}: local {reference.local}, holds {reference.holds}"
                yield Unsettled("a count below zero", text, object_id)
        for task_id, task in owner.tasks.table.items():
            if task.state == DONE and task.live_returns <= 0 and not task.logged:
                yield Unsettled("a task is remembered", f"task {short(task_id)} is done and remembered", task_id)

    def _of_borrowers(self, owner: UserProcess, reference: Reference) -> Iterator[Unsettled]:
        name = f"object {short(reference.object_id)} counts the borrower"
        for borrower in reference.borrowers or ():
            process = self._processes.get(borrower)
            if borrower not in owner.world.network.directory:
                text = f"{name} {short(borrower)}, which has ended"
                yield Unsettled("a dead borrower is counted", text, reference.object_id)
            elif process is not None and reference.object_id not in process.core.owner.references.table:
                text = f"{name} {short(borrower)}, which does not know it any more"
                yield Unsettled("a borrower that has let go is counted", text, reference.object_id)


class Views(Checker):
    """Compares what nodes and the GCS believe with what there is."""

    name = "views converge"
    promise = "the GCS knows exactly the nodes that run and what is free on them, and no node counts on a dead one"
    liveness = True

    def unsettled(self, world: World) -> Iterable[Unsettled]:
        """Beliefs that are wrong."""
        gcs = global_store(world)
        if gcs is None:
            yield Unsettled("there is no GCS", "the GCS does not run")
            return
        known = {node.node_id: node for node in gcs.nodes.view.alive()}
        there = {node.node_id for node in world.nodes if node.alive}
        for node_id in there - known.keys():
            yield Unsettled("the GCS lacks a node", f"the GCS does not know node {short(node_id)}, which runs", node_id)
        for node_id in known.keys() - there:
            text = f"the GCS counts on node {short(node_id)}, which does not run"
            yield Unsettled("the GCS has a dead node", text, node_id)
        for node, raylet in raylets(world):
            view = known.get(node.node_id)
            if view is not None and view.available != raylet.grants.free.available:
                free = raylet.grants.free.available
                text = f"the GCS believes that {node.name} has {view.available} free; it has {free}"
                yield Unsettled("the GCS has old amounts", text, node.node_id)
            for other in raylet.view.alive():
                if other.node_id not in there:
                    text = f"{node.name} counts on node {short(other.node_id)}, which does not run"
                    yield Unsettled("a node counts on a dead one", text, other.node_id)
