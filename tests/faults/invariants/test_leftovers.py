"""What processes and nodes keep for nothing is found while the program is still connected; what it uses is not."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import thornback as ray
from tests.faults.invariants.stream import OTHER, WORKER
from thornback.core.ids import task_id
from thornback.core.messages import RequestLease, Strategy
from thornback.core.objects.entry import Entry
from thornback.core.owner.scheduling_classes import Lease
from thornback.core.raylet.pool import LEASED
from thornback.faults import invariants as inv
from thornback.simulator import simulate

LARGE = 50_000


@ray.remote
class Maker:
    """An actor that others have handles of."""

    def make(self, refs: list[Any]) -> Any:
        """A large value with a reference inside."""
        return [np.zeros(LARGE), *refs]


@ray.remote(num_returns="streaming")
def items() -> Iterator[Any]:
    """Some large items."""
    for number in range(3):
        yield np.full(LARGE, number)


@ray.remote(max_retries=-1)
def first(value: Any, refs: list[Any]) -> Any:
    """A large value made from another."""
    return value[0]


@contextmanager
def at_rest() -> Iterator[tuple[Any, inv.Checker, dict[str, Any]]]:
    """A cluster, its checker, and what its program refers to: something of every kind."""
    with simulate(nodes=2, cpus=2, seed=3) as world:
        checker = inv.Leftovers()
        inv.Monitor([checker]).watch(world)
        ray.init()
        held: dict[str, Any] = {"put": ray.put(np.ones(LARGE))}
        held["maker"] = Maker.options(max_task_retries=-1, max_restarts=-1).remote()
        held["nested"] = held["maker"].make.remote([held["put"]])
        held["made"] = first.remote(held["nested"], [held["nested"]])
        held["items"] = items.remote()
        held["item"] = next(held["items"])
        ray.get([held["made"], held["item"]])
        time.sleep(10)
        yield world, checker, held
        held.clear()
        ray.shutdown()


def found(world: Any, checker: inv.Checker) -> list[str]:
    """Which parts of the promise are broken."""
    return list(dict.fromkeys(each.where for each in checker.unsettled(world)))


def owner(world: Any) -> Any:
    """Of the driver."""
    [driver] = world.nodes[0].drivers.values()
    return driver.core.owner


def raylet(world: Any) -> Any:
    """Of the driver's node."""
    return world.nodes[0].process.core.raylet


def reference_of(world: Any, held: dict[str, Any]) -> Any:
    """The driver's record of what it has put."""
    return owner(world).references.table[held["put"].binary()]


def test_what_a_program_uses_is_not_kept_in_vain() -> None:
    with at_rest() as (world, checker, held):
        assert found(world, checker) == []
        del held["put"], held["nested"], held["maker"]
        time.sleep(5)
        assert found(world, checker) == [], "the task that could make its result again needs them"
        held.clear()
        time.sleep(5)
        assert found(world, checker) == []
        left = [node.process.core.raylet.store.entries for node in world.nodes]
        assert left == [{}, {}], "all is gone with the last references"


def test_a_reference_that_the_program_has_pickled_is_kept_for_good() -> None:
    with at_rest() as (world, checker, held):
        pickle.dumps(held.pop("put"))
        time.sleep(5)
        assert found(world, checker) == []


def hold_twice(world: Any, held: dict[str, Any]) -> None:
    """A use inside the engine has ended, and its hold has not."""
    reference_of(world, held).holds += 1


def hold_too_little(world: Any, held: dict[str, Any]) -> None:
    """A use has begun without a hold: the object may go too early."""
    reference_of(world, held).holds -= 1


def keep_a_lease(world: Any, held: dict[str, Any]) -> None:
    """A worker without work is not given back."""
    leases = owner(world).leases
    lease = Lease(task_id(WORKER, 9), WORKER, None, 0)  # type: ignore[arg-type]
    leases.by_id[lease.lease_id] = lease


def forget_the_handle(world: Any, held: dict[str, Any]) -> None:
    """The last handle of an actor has gone unnoticed."""
    reference = owner(world).references.table[held["maker"]._actor_id + bytes(4)]
    reference.local = reference.holds = 0
    reference.borrowers = None


def forget_an_end(world: Any, held: dict[str, Any]) -> None:
    """Nobody takes items of a generator that has ended."""
    [stream] = owner(world).streams.table.values()
    stream.closed = True


def keep_a_grant(world: Any, held: dict[str, Any]) -> None:
    """The holder has given back a worker, and its node has not heard of it."""
    grants = raylet(world).grants
    lease_id = task_id(owner(world).worker_id, 999)
    request = RequestLease(lease_id, owner(world).worker_id, {}, Strategy(), 1, "", "task")
    grants.grant(request, grants.free)


def keep_a_request(world: Any, held: dict[str, Any]) -> None:
    """The holder has taken back what it wanted, and the node still looks for it."""
    lease_id = task_id(owner(world).worker_id, 999)
    request = RequestLease(lease_id, owner(world).worker_id, {}, Strategy(), 1, "", "task")
    raylet(world).leases.infeasible[lease_id] = request


def keep_a_dead_actor(world: Any, held: dict[str, Any]) -> None:
    """An actor has ended before it had a place, and a place is looked for."""
    world.nodes[0].gcs.core.tables.actors.placement.unplaced[OTHER] = SimpleNamespace(state="DEAD")


def keep_a_worker(world: Any, held: dict[str, Any]) -> None:
    """The lease of a worker is over, and it serves no other."""
    worker = next(iter(raylet(world).pool.workers.values()))
    worker.state, worker.lease_id = LEASED, task_id(WORKER, 9)


def keep_a_freed_object(world: Any, held: dict[str, Any]) -> None:
    """An object was let go, and a node was not told."""
    object_id = task_id(owner(world).worker_id, 999) + bytes(4)
    entry = raylet(world).store.entries[object_id] = Entry(object_id, -1, 64, WORKER, 0)
    entry.sealed = True


def begin_an_object(world: Any, held: dict[str, Any]) -> None:
    """The writer has given up."""
    object_id = task_id(owner(world).worker_id, 999) + bytes(4)
    raylet(world).store.entries[object_id] = Entry(object_id, -1, 64, WORKER, 0)


def forget_a_copy(world: Any, held: dict[str, Any]) -> None:
    """The owner does not know that a node has a copy, and will not free it."""
    entry = Entry(held["put"].binary(), -1, 64, WORKER, 0)
    entry.sealed = True
    world.nodes[1].process.core.raylet.store.entries[entry.object_id] = entry


def keep_a_pin(world: Any, held: dict[str, Any]) -> None:
    """A reader has ended, and its pin has not."""
    raylet(world).store.entries[held["put"].binary()].pins[WORKER[:8] + b"\0\0\1\1"] = 1


def lose_a_block(world: Any, held: dict[str, Any]) -> None:
    """Room was taken, and no object got it."""
    raylet(world).store.allocator.allocate(64)


def lose_a_budget(world: Any, held: dict[str, Any]) -> None:
    """What a transfer that has ended was waiting for counts on."""
    raylet(world).pulls.in_flight = 64


def count_a_file_twice(world: Any, held: dict[str, Any]) -> None:
    """A spill file is gone, and its bytes count on."""
    raylet(world).store.spilling.bytes_on_disk = 64


TAMPERED: list[tuple[str, Callable[[Any, dict[str, Any]], None]]] = [
    ("a reference is held for nothing", hold_twice),
    ("a reference is not held", hold_too_little),
    ("a lease is kept without work", keep_a_lease),
    ("an actor without handles lives", forget_the_handle),
    ("a stream is remembered", forget_an_end),
    ("a lease that its holder does not know", keep_a_grant),
    ("a request that its holder does not know", keep_a_request),
    ("a dead actor waits for a place", keep_a_dead_actor),
    ("a worker that no lease has", keep_a_worker),
    ("an object that its owner has let go", keep_a_freed_object),
    ("an object that is never complete", begin_an_object),
    ("a copy that its owner does not know", forget_a_copy),
    ("a pin without a reader", keep_a_pin),
    ("memory that no object has", lose_a_block),
    ("bytes under way that nothing fetches", lose_a_budget),
    ("bytes on disk: counted wrongly", count_a_file_twice),
]


@pytest.mark.parametrize(("where", "tamper"), TAMPERED, ids=[where for where, _ in TAMPERED])
def test_what_is_kept_in_vain_is_found(where: str, tamper: Callable[[Any, dict[str, Any]], None]) -> None:
    with at_rest() as (world, checker, held):
        tamper(world, held)
        assert where in found(world, checker)


def test_nothing_is_said_while_somebody_works() -> None:
    with at_rest() as (world, checker, held):
        hold_twice(world, held)
        running = ray.remote(time.sleep).remote(1)
        assert found(world, checker) == [], "it may be for the task that runs"
        ray.get(running)
        time.sleep(5)
        assert found(world, checker) == ["a reference is held for nothing"]
