"""Each liveness invariant is broken by tampering with a cluster at rest, or by a made-up run."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

import thornback as ray
from tests.faults.invariants.stream import DRIVER, LATER, NODE, OBJECT, OTHER, TASK, WORKER, Stream
from thornback.core.ids import task_id
from thornback.core.messages import Heartbeat, RemoveBorrower, RequestLease, Strategy
from thornback.core.objects.entry import Entry
from thornback.core.objects.room import Rank
from thornback.core.owner.lease_requests import LeaseRequests
from thornback.core.raylet import Raylet
from thornback.faults import invariants as inv
from thornback.faults.invariants import LIVENESS, Checker
from thornback.faults.invariants.liveness import user_processes
from thornback.faults.plan import LateHeartbeats, Plan
from thornback.faults.run import Setup, run_once
from thornback.simulator import active, simulate
from thornback.simulator.conditions import Rule

Tamper = Callable[[Any], Any]


def request(world: Any, node: int = 1, holder: bytes = DRIVER) -> RequestLease:
    """A request that nobody has made."""
    resources = {"CPU": 10_000}
    return RequestLease(task_id(holder, 999), holder, resources, Strategy(), 1, "", "task")


def raylet(world: Any, node: int = 1) -> Any:
    """Of one node."""
    return world.nodes[node].process.core.raylet


def leave_a_lease(world: Any) -> None:
    """A lease that its holder has forgotten."""
    grants = raylet(world).grants
    grants.grant(request(world), grants.free)


def leave_an_object(world: Any) -> None:
    """An object that its owner has forgotten."""
    raylet(world).store.entries[OBJECT] = Entry(OBJECT, 0, 100, WORKER, 0)


def leave_memory(world: Any) -> None:
    """A block that no object has."""
    raylet(world).store.allocator.allocate(100)


def leave_a_file(world: Any) -> None:
    """A spill file of no object."""
    world.nodes[1].spill.files["spill-1"] = bytearray(10)


def forget_a_node(world: Any) -> None:
    """The GCS does not know a node that runs."""
    world.nodes[0].gcs.core.tables.nodes.view.died(world.nodes[2].node_id)


def believe_in_the_dead(world: Any) -> None:
    """A node crashes, and nobody has noticed yet."""
    world.kill_node(2)


def believe_old_amounts(world: Any) -> None:
    """A report of resources got lost."""
    raylet(world).grants.free.available["CPU"] = 5_000


def let_a_request_wait(world: Any) -> None:
    """A request that is never served."""
    raylet(world).leases.queue.add(request(world), world.engine._now)


def let_memory_wait(world: Any) -> None:
    """A demand for memory that is never served."""
    raylet(world).store.room.add((WORKER, OBJECT), 100, Rank.WRITE, lambda: False, lambda: None, 1)


def let_a_write_wait(world: Any) -> None:
    """A write that the GCS never says to be durable."""
    raylet(world).gcs._kept[1] = Heartbeat()


def leave_an_actor(world: Any) -> None:
    """The end of its owner did not reach the GCS's table of actors."""
    spec = SimpleNamespace(detached=False)
    actor = SimpleNamespace(state="ALIVE", spec=spec)
    world.nodes[0].gcs.core.tables.actors.table[task_id(OTHER + b"\0\0\0\7", 1)] = actor


def leave_memory_in_pieces(world: Any) -> None:
    """Blocks that came back were not put together."""
    raylet(world).store.allocator._free[:] = [(64, 0), (64, 64)]


def leave_a_quota(world: Any) -> None:
    """A node has died, and its part of a quota was not given back."""
    world.nodes[0].gcs.core.tables.quotas._given[1] = {OTHER[:-1] + b"\7": {"CPU": 10_000}}


TAMPERED: list[tuple[type[Checker], str, Tamper]] = [
    (inv.Zero, "memory is left", leave_memory_in_pieces),
    (inv.Zero, "a quota is left", leave_a_quota),
    (inv.Zero, "an actor is left", leave_an_actor),
    (inv.Zero, "a lease is left", leave_a_lease),
    (inv.Zero, "an object is left in memory", leave_an_object),
    (inv.Zero, "memory is left", leave_memory),
    (inv.Zero, "a spill file is left", leave_a_file),
    (inv.DeadHolders, "a lease of a dead holder", leave_a_lease),
    (inv.Views, "the GCS lacks a node", forget_a_node),
    (inv.Views, "the GCS has a dead node", believe_in_the_dead),
    (inv.Views, "a node counts on a dead one", believe_in_the_dead),
    (inv.Views, "the GCS has old amounts", believe_old_amounts),
    (inv.Queues, "lease requests wait", let_a_request_wait),
    (inv.Queues, "demands for memory wait", let_memory_wait),
    (inv.Queues, "messages to the GCS wait", let_a_write_wait),
]


@pytest.mark.parametrize(
    ("checker", "where", "tamper"), TAMPERED, ids=[f"{checker.name}: {where}" for checker, where, _ in TAMPERED]
)
def test_a_cluster_that_does_not_come_to_rest_is_found(checker: type[Checker], where: str, tamper: Tamper) -> None:
    with simulate(nodes=3, cpus=2, seed=3) as world:
        watching = checker()
        inv.Monitor([watching]).watch(world)
        ray.init()
        assert ray.get([ray.remote(abs).remote(-x) for x in range(8)]) == list(range(8))
        ray.shutdown()
        world.run_for(5)
        assert [each.where for each in watching.unsettled(world)] == [], "nothing is left by a program that was right"
        tamper(world)
        assert where in [each.where for each in watching.unsettled(world)], f"{checker.promise}: this cluster breaks it"


def test_a_lost_object_that_is_never_made_again() -> None:
    checker = inv.Rebuilt()
    stream = Stream(checker).event("object.lost", OBJECT)
    assert [each.where for each in checker.unsettled(None)] == ["a lost object is not rebuilt"]  # type: ignore[arg-type]
    stream.event("object.ready", OBJECT)
    assert list(checker.unsettled(None)) == []  # type: ignore[arg-type]


def test_a_task_that_never_runs() -> None:
    checker = inv.Runs()
    stream = Stream(checker)
    stream.event("task.submitted", TASK, ("f", 3, b"")).event("task.submitted", LATER, ("f", 3, b""))
    stream.event("task.finished", LATER, 0)
    with simulate(nodes=1) as world:
        assert [(each.where, each.subject) for each in checker.unsettled(world)] == [("a task never runs", TASK)]
        stream.event("task.started", TASK, (0, "task", DRIVER, LATER, WORKER, ""))
        assert list(checker.unsettled(world)) == [], "it runs"
        stream.event("process.end", WORKER, "")
        assert [each.where for each in checker.unsettled(world)] == ["a task never runs"]


def test_a_count_that_is_wrong() -> None:
    with simulate(nodes=1) as world:
        ray.init()
        ref = ray.put(1)
        world.run_for(1)
        [driver] = world.nodes[0].drivers.values()
        assert list(inv.Counts().unsettled(world)) == []
        [reference] = driver.core.owner.references.table.values()
        reference.local, reference.borrowers = 0, {OTHER + b"\0\0\0\7": 1}
        assert [each.where for each in inv.Counts().unsettled(world)] == ["a dead borrower is counted"]
        reference.borrowers, reference.holds = None, -1
        assert [each.where for each in inv.Counts().unsettled(world)] == ["a count below zero"]
        reference.holds, reference.local = 0, 1
        del ref
        ray.shutdown()


def test_what_an_owner_waits_for_in_the_end() -> None:
    with simulate(nodes=1) as world:
        ray.init()
        world.run_for(1)
        [driver] = world.nodes[0].drivers.values()
        references = driver.core.owner.references
        assert list(inv.Queues().unsettled(world)) == []
        references.lookup(OBJECT).covered = []
        assert [each.where for each in inv.Queues().unsettled(world)] == ["registrations of borrowers wait"]
        del references.table[OBJECT]
        references.handovers.given(WORKER, OBJECT, OTHER + b"\0\0\0\7")
        assert [each.where for each in inv.Queues().unsettled(world)] == ["references that were handed over wait"]
        references.handovers._open.clear()
        driver.core.owner.blocks._pinning[OBJECT] = []
        assert [each.where for each in inv.Queues().unsettled(world)] == ["objects that are asked for wait"]
        driver.core.owner.blocks._pinning.clear()
        references.new_owned(OBJECT).asking = [WORKER]
        assert [each.where for each in inv.Queues().unsettled(world)] == ["borrowers that ask wait"]
        del references.table[OBJECT]
        ray.shutdown()


def test_what_an_actor_and_its_caller_wait_for_in_the_end() -> None:
    with simulate(nodes=1) as world:
        ray.init()
        actor = ray.remote(type("Actor", (), {"ping": lambda self: 1})).remote()
        ray.get(actor.ping.remote())
        [driver] = world.nodes[0].drivers.values()
        executors = [process.core.executor for process in user_processes(world) if process is not driver]
        [executor] = [each for each in executors if each is not None and each.actor.spec is not None]
        [client] = driver.core.owner.actors.clients.values()
        assert list(inv.Queues().unsettled(world)) == []
        client.in_flight[TASK] = cast(Any, None)
        assert [each.where for each in inv.Queues().unsettled(world)] == ["calls to actors wait"]
        client.in_flight.clear()
        executor.lanes[""].queue.append(cast(Any, None))
        assert [each.where for each in inv.Queues().unsettled(world)] == ["tasks in the queues of workers wait"]
        executor.lanes[""].queue.clear()
        executor.replies.pending = 1
        assert [each.where for each in inv.Queues().unsettled(world)] == ["replies wait"]
        executor.replies.pending = 0
        del actor
        ray.shutdown()


def test_messages_that_are_never_delivered() -> None:
    with simulate(nodes=2, seed=3, lossy=True) as world:
        ray.init()
        world.run_for(1)
        [driver] = world.nodes[0].drivers.values()
        peer = world.nodes[1].process
        assert peer is not None
        world.network.link_between(driver, peer)
        world.network.endpoint(driver, driver.links[peer.address])
        assert list(inv.Queues().unsettled(world)) == []
        world.network.conditions.add(Rule(cut=True))
        driver.endpoints[peer.address].post(peer.address, [RemoveBorrower(OBJECT, 1)], 0)
        assert [each.where for each in inv.Queues().unsettled(world)] == ["parcels wait to be acknowledged"]
        ray.shutdown()


def test_a_task_that_waits_in_its_owners_queue_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    with simulate(nodes=2, cpus=1, seed=3) as world:
        checker = inv.Starving()
        monitor = inv.Monitor([checker])
        monitor.watch(world)
        ray.init()
        refs = [ray.remote(time.sleep).remote(50) for _ in range(3)]
        world.run_for(20)
        world.run_for(55)
        assert not monitor.violations, "it waits for 30 s while both CPUs are in use, and then it runs"
        ray.get(refs)
        world.run_for(5)
        monkeypatch.setattr(LeaseRequests, "ask_for_more", lambda self, group: None)
        forgotten = ray.remote(time.sleep).remote(1)
        world.run_for(100)
        assert [each.where for each in monitor.violations] == ["a task waits while there is room"]
        ray.cancel(forgotten)
        ray.shutdown()


def test_a_demand_that_waits_for_memory_that_is_free() -> None:
    with simulate(nodes=2, seed=3, object_store_memory=1 << 20) as world:
        monitor = inv.Monitor([inv.Room()])
        monitor.watch(world)
        ray.init()
        world.run_for(1)
        room, writer = raylet(world).store.room, (WORKER, OBJECT)
        room.add(writer, 2 << 20, Rank.WRITE, lambda: False, lambda: None, 10**12)
        world.run_for(5)
        assert not monitor.violations, "there is not that much"
        room.withdraw(writer)
        room.add(writer, 1000, Rank.AHEAD, lambda: False, lambda: None, 10**12)
        world.run_for(5)
        assert not monitor.violations, "that is for later"
        room.withdraw(writer)
        room.add(writer, 1000, Rank.WRITE, lambda: False, lambda: None, 10**12)
        world.run_for(5)
        assert [each.where for each in monitor.violations] == ["it waits for what is free"]
        room.withdraw(writer)
        ray.shutdown()


def test_a_program_that_waits_for_ever() -> None:
    def program() -> None:
        ray.init()
        ray.get(ray.remote(num_cpus=64)(abs).remote(-1))

    outcome = run_once(program, 1, None, Setup(nodes=1, bound=5))
    assert [violation.invariant for violation in outcome.violations] == [inv.Returns.name]


def test_a_program_beside_that_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Raylet, "on_node_fenced", lambda self, sender, message: None)

    def beside() -> None:
        ray.init()
        ray.get(ray.remote(time.sleep).options(scheduling_strategy="SPREAD", num_cpus=2).remote(5))

    def program() -> None:
        ray.init()
        world: Any = active()
        world.start_program(beside, node=1)
        time.sleep(10)

    late = Plan(faults=(LateHeartbeats(node=1, at=1.0, until=4.0),))
    setup = Setup(nodes=3, node={"cpus": 2}, bound=20, config={"heartbeat_period": 200_000_000})
    where = {violation.where for violation in run_once(program, 1, late, setup).violations}
    assert {"the GCS lacks a node", "a program waits for ever"} <= where, "its node never learns that it was given up"


def test_rows_that_a_restart_has_lost() -> None:
    with simulate(nodes=1) as world:
        checker = inv.Acknowledged()
        inv.Monitor([checker]).watch(world)
        ray.init()
        counter = ray.remote(type("Actor", (), {})).options(name="lasting", lifetime="detached").remote()
        time.sleep(1)
        assert list(checker.unsettled(world)) == []
        rows = world.nodes[0].disk.rows
        saved = dict(rows)
        rows.clear()
        assert "actors: a durable row is gone" in [each.where for each in checker.unsettled(world)]
        rows.update(saved)
        gcs: Any = world.nodes[0].gcs.core.tables  # type: ignore[union-attr]
        gcs.actors.table.clear()
        assert [each.where for each in checker.unsettled(world)] == ["actors: not in memory"]
        del counter
        ray.shutdown()


def test_bundles_of_a_removed_group() -> None:
    checker = inv.Groups()
    stream = Stream(checker).event("bundle.reserved", TASK, (NODE, 0, 1, {}, {}))
    stream.event("group.state", TASK, ("REMOVED", ()))
    assert [each.where for each in checker.unsettled(None)] == ["a bundle of a removed group"]  # type: ignore[arg-type]
    stream.event("bundle.released", TASK, (NODE, 0, 1))
    assert list(checker.unsettled(None)) == []  # type: ignore[arg-type]


def test_every_liveness_invariant_can_fail() -> None:
    special = {inv.Rebuilt, inv.Runs, inv.Starving, inv.Counts, inv.Returns, inv.Leftovers}
    tested = {checker for checker, _, _ in TAMPERED} | special
    assert tested >= set(LIVENESS), "each is broken by something in this file, or in test_leftovers.py"
