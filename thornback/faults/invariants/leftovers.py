"""What processes and nodes keep when nothing is left to do: only what something needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from thornback.core.ids import GCS, WORKER_ID_SIZE, Address, ObjectId, owner_of, return_id, short
from thornback.core.messages import DEAD, RequestLease, Stored
from thornback.core.owner.task import DONE
from thornback.core.ports import OUTSIDE
from thornback.core.raylet.pool import LEASED
from thornback.faults.invariants.base import Checker, Detail, Unsettled
from thornback.faults.invariants.liveness import global_store, raylets, user_processes

if TYPE_CHECKING:
    from thornback.core.objects.entry import Entry
    from thornback.core.objects.store import NodeStore
    from thornback.core.owner import Owner
    from thornback.core.raylet import Raylet
    from thornback.simulator.process import UserProcess
    from thornback.simulator.world import World

_Processes = Mapping[Address, "UserProcess"]


class Leftovers(Checker):
    """Counts anew what each process holds, and compares what nodes keep with what those know for whom they keep it.

    It does so while drivers are still connected: with a driver ends all that it owns, and nobody could tell any more
    whether it had forgotten something. A program may go on to refer to what it likes.
    """

    name = "nothing is kept in vain"
    promise = "with nothing left to do, no reference, lease, worker, actor, copy or block is kept that nothing needs"
    liveness = True
    of_drivers = True

    def __init__(self) -> None:
        super().__init__()
        self._exported: Counter[tuple[Address, ObjectId]] = Counter()

    def on_reference_exported(self, time: int, subject: bytes, detail: Detail) -> None:
        """User code has pickled a reference on its own: its process keeps the object for good."""
        self._exported[detail, subject] += 1

    def unsettled(self, world: World) -> Iterator[Unsettled]:
        """What nobody needs."""
        processes = {process.address: process for process in user_processes(world)}
        if any(_works(process) for process in processes.values()):
            return
        for address, process in processes.items():
            expected = expected_holds(process.core.owner)
            expected.update({each: count for (by, each), count in self._exported.items() if by == address})
            yield from _wrong_holds(process.core.owner, expected)
            yield from _of_owner(process.core.owner)
        gcs = global_store(world)
        for actor_id, actor in {} if gcs is None else gcs.actors.placement.unplaced.items():
            if actor.state == DEAD:
                yield Unsettled("a dead actor waits for a place", f"actor {short(actor_id)} is dead", actor_id)
        for _node, raylet in raylets(world):
            yield from _of_leases(world, raylet, processes)
            yield from _of_store(raylet, processes)


def _works(process: UserProcess) -> bool:
    owner = process.core.owner
    return bool(process.is_busy or owner.tasks.unfinished or owner.references.pending)


# --- Processes


def expected_holds(owner: Owner) -> Counter[ObjectId]:
    """How often an owner without unfinished tasks needs each object itself, beside what user code refers to."""
    holds: Counter[ObjectId] = Counter()
    tasks, lineage = owner.tasks, owner.tasks.lineage
    for definition in tasks.definitions.values():
        holds.update(definition.contained)
    for reference in owner.references.table.values():
        if reference.owned and reference.content is not None:
            holds.update(reference.content.contained)
    for pinned in lineage._pinned.values():
        holds.update(pinned)
    for task_id in lineage._sizes:
        holds.update(tasks.table[task_id].arguments.contained)
    for calls in owner.actors.log._calls.values():
        for task in calls.values():
            holds.update((*task.dependencies, *task.arguments.contained))
    for creation in owner.actors.creations.values():
        spec = creation.spec
        holds.update((*spec.definition.contained, *spec.arguments.contained, *creation.dependencies))
    for task_id, stream in owner.streams.table.items():
        holds.update(return_id(task_id, index + 1) for index in stream.arrived)
    return holds


def _wrong_holds(owner: Owner, expected: Counter[ObjectId]) -> Iterator[Unsettled]:
    table = owner.references.table
    for object_id in dict.fromkeys((*table, *expected)):
        reference = table.get(object_id)
        holds = 0 if reference is None else reference.holds
        if holds != expected[object_id]:
            where = "a reference is held for nothing" if holds > expected[object_id] else "a reference is not held"
            text = f"{short(owner.worker_id)} holds object {short(object_id)} {holds} times, and needs it "
            yield Unsettled(where, f"{text}{expected[object_id]} times", object_id)


def _of_owner(owner: Owner) -> Iterator[Unsettled]:
    name = short(owner.worker_id)
    for lease_id in owner.leases.by_id:
        yield Unsettled(
            "a lease is kept without work", f"{name} has no task, and keeps lease {short(lease_id)}", lease_id
        )
    for group in owner.leases.classes:
        for lease_id in group.requests:
            text = f"{name} has no task, and asks for lease {short(lease_id)}"
            yield Unsettled("a lease is asked for without work", text, lease_id)
    for actor_id, creation in owner.actors.creations.items():
        handle = owner.references.table.get(return_id(actor_id, 0))
        if not creation.spec.detached and (handle is None or not handle.held):
            text = f"actor {short(actor_id)} of {name} lives, and nobody has a handle of it"
            yield Unsettled("an actor without handles lives", text, actor_id)
    for task_id, stream in owner.streams.table.items():
        if stream.closed and stream.task.state == DONE:
            text = f"{name} remembers the items of {short(task_id)}, which has ended and whose consumer is gone"
            yield Unsettled("a stream is remembered", text, task_id)


# --- Nodes


def _of_leases(world: World, raylet: Raylet, processes: _Processes) -> Iterator[Unsettled]:
    waiting = [each.request for each in raylet.leases.queue]
    kept = {
        "lease": [grant.request for grant in raylet.grants.table.values()],
        "request": [*waiting, *raylet.leases.infeasible.values()],
    }
    for what, requests in kept.items():
        for request in requests:
            if not _is_known(world, request, processes):
                text = (
                    f"{raylet.name} has {what} {short(request.lease_id)} of {short(request.holder)}, which knows it not"
                )
                yield Unsettled(f"a {what} that its holder does not know", text, request.lease_id)
    for worker in raylet.pool.workers.values():
        if worker.state == LEASED and not worker.reason and worker.lease_id not in raylet.grants.table:
            text = f"worker {short(worker.worker_id)} counts as leased on {raylet.name}, and no lease has it"
            yield Unsettled("a worker that no lease has", text, worker.worker_id)


def _is_known(world: World, request: RequestLease, processes: _Processes) -> bool:
    lease_id = request.lease_id
    if request.holder == GCS:
        gcs = global_store(world)
        actor = None if gcs is None else gcs.actors.placement.by_lease.get(lease_id)
        return gcs is None or (actor is not None and actor.state != DEAD)
    process = processes.get(request.holder)
    if process is None:
        return True  # that its holder has ended is said by another checker
    leases = process.core.owner.leases
    return lease_id in leases.by_id or any(lease_id in group.requests for group in leases.classes)


def _of_store(raylet: Raylet, processes: _Processes) -> Iterator[Unsettled]:
    store = raylet.store
    for entry in store.entries.values():
        yield from _of_entry(raylet, entry, processes)
    in_memory = [entry.offset for entry in store.entries.values() if 0 <= entry.offset < OUTSIDE]
    if sum(map(store.allocator.size_of, in_memory)) != store.allocator.used:
        text = f"{store.allocator.used:,} bytes of {raylet.name} are in use, more than its objects have"
        yield Unsettled("memory that no object has", text, raylet.node_id)
    if raylet.pulls.in_flight and not raylet.pulls.active:
        text = f"{raylet.name} fetches nothing, and counts {raylet.pulls.in_flight:,} bytes as under way"
        yield Unsettled("bytes under way that nothing fetches", text, raylet.node_id)
    yield from _of_disk(raylet.name, store)


def _of_disk(name: str, store: NodeStore) -> Iterator[Unsettled]:
    spilling = store.spilling
    size = sum(file.size for file in spilling.files.values())
    if size != spilling.bytes_on_disk:
        text = f"the spill files of {name} have {size:,} bytes, and are counted as {spilling.bytes_on_disk:,}"
        yield Unsettled("bytes on disk: counted wrongly", text)


def _of_entry(raylet: Raylet, entry: Entry, processes: _Processes) -> Iterator[Unsettled]:
    object_id = entry.object_id
    name = f"object {short(object_id)} on {raylet.name}"
    for reader in entry.pins:
        process = processes.get(reader)
        if process is None or object_id not in process.core.owner.blocks.table:
            yield Unsettled(
                "a pin without a reader", f"{name} is pinned for {short(reader)}, which reads it not", object_id
            )
    owner = processes.get(object_id[:WORKER_ID_SIZE])
    if owner is None or entry.used:
        return
    reference = owner.core.owner.references.table.get(object_id)
    content = None if reference is None else reference.content
    if not entry.sealed:
        text = f"{name} was begun by {short(entry.writer)}, and is not complete"
        yield Unsettled("an object that is never complete", text, object_id)
    elif reference is None or reference.released:
        text = f"{name} is kept, and its owner {short(owner_of(object_id))} has let it go"
        yield Unsettled("an object that its owner has let go", text, object_id)
    elif raylet.node_id not in (*(content.nodes if isinstance(content, Stored) else ()), *reference.strays):
        text = f"{name} is kept, and its owner {short(owner_of(object_id))} knows nothing of that copy"
        yield Unsettled("a copy that its owner does not know", text, object_id)
