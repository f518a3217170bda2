"""Checkers that look at the cluster besides events and messages: what nodes believe, where things run, what is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import thornback as ray
from tests.faults.invariants.stream import DRIVER, LATER, NODE, OBJECT, OTHER, SECOND, TASK, WORKER, Stream
from thornback.core import messages as m
from thornback.core.ids import GCS, return_id, task_id
from thornback.core.messages import Dependency, Strategy, TaskCall, TaskReply, Value
from thornback.core.serialization import dumps
from thornback.faults import invariants as inv
from thornback.faults.invariants.ledgers import wrong_books
from thornback.simulator import simulate

INNER = return_id(task_id(SECOND, 7), 0)
"""An object of another process, which the driver has borrowed."""
PLAIN = dumps(1).to_value()
WITH_INNER = Value(b"a pickle", (), (INNER,))


def raylet(world: Any) -> Any:
    """Of the second node."""
    return world.nodes[1].process.core.raylet


def lose_a_cpu(world: Any) -> None:
    """What came back was not given to the node."""
    raylet(world).grants.free.available["CPU"] -= 10_000


def lose_a_gpu(world: Any) -> None:
    """The amount is right, the id is not."""
    raylet(world).grants.free.gpus[0] = 5_000


def lose_a_part_of_a_bundle(world: Any) -> None:
    """What a task has used in it did not come back."""
    [group] = raylet(world).bundles.groups.values()
    group.bundles[0].pool.available["CPU"] = 0


def charge_a_job_for_ever(world: Any) -> None:
    """Its part of the cluster does not shrink when its tasks are over."""
    raylet(world).grants.shares.take(1, {"CPU": 10_000})


def believe_in_an_actor(world: Any) -> None:
    """Something is thought to last that has ended."""
    raylet(world).grants.lasting["CPU"] = 70_000


WRONG_BOOKS: list[tuple[str, Callable[[Any], None]]] = [
    ("what is free on the node: counted wrongly", lose_a_cpu),
    ("the GPUs of the node: counted wrongly", lose_a_gpu),
    ("what is free on a bundle: counted wrongly", lose_a_part_of_a_bundle),
    ("what a job holds: counted wrongly", charge_a_job_for_ever),
    ("what actors and bundles hold: counted wrongly", believe_in_an_actor),
]


@pytest.mark.parametrize(("where", "tamper"), WRONG_BOOKS, ids=[where for where, _ in WRONG_BOOKS])
def test_a_node_whose_books_are_wrong_is_found_with_its_next_heartbeat(
    where: str, tamper: Callable[[Any], None]
) -> None:
    with simulate(nodes=[{"cpus": 1}, {"cpus": 4, "gpus": 2}], seed=3) as world:
        monitor = inv.Monitor([inv.Ledgers()])
        monitor.watch(world)
        ray.init()
        group = ray.util.placement_group([{"CPU": 2, "GPU": 0.5}])
        ray.get(group.ready())
        actor = ray.remote(num_gpus=0.25)(type("Actor", (), {"ping": lambda self: 1})).remote()
        assert ray.get(actor.ping.remote()) == 1
        world.run_for(10)
        assert not monitor.violations
        assert list(wrong_books(raylet(world))) == []
        tamper(world)
        world.run_for(10)
        assert [each.where for each in monitor.violations] == [where], "and it is told once"
        ray.shutdown()


def placement(nodes: int = 2) -> tuple[Stream, Any]:
    """A stream for the checker of places, in a cluster whose second node has a label; and that cluster."""
    world = simulate(nodes=[{}, {"labels": {"zone": "b"}}][:nodes], seed=1)
    checker = inv.Placement()
    checker.begin(world)
    return Stream(checker), world


IN_B = (("zone", "In", ("b",)),)


@pytest.mark.parametrize(
    ("strategy", "node", "found"),
    [
        (Strategy("LABELS", hard=IN_B), OTHER, []),
        (Strategy("LABELS", hard=IN_B), NODE, ["a lease on a node without its labels"]),
        (Strategy("LABELS", preferred=IN_B), NODE, []),
        (Strategy("NODE", OTHER), OTHER, []),
        (Strategy("NODE", OTHER), NODE, ["a lease on another node than its affinity allows"]),
        (Strategy("NODE", OTHER, soft=True), NODE, []),
    ],
)
def test_leases_are_granted_where_their_strategy_allows(strategy: Strategy, node: bytes, found: list[str]) -> None:
    stream, _ = placement()
    stream.message(DRIVER, node, m.RequestLease(LATER, DRIVER, {}, strategy, 1, "", "f"))
    stream.event("lease.granted", LATER, (node, {}, {}, b"", -1, DRIVER))
    assert stream.found == found


def test_bundles_are_where_their_labels_are() -> None:
    stream, _ = placement()
    spec = m.GroupSpec(TASK, "", "", "SPREAD", ({}, {}), ((), IN_B), False, 1)
    stream.message(DRIVER, NODE, m.CreateGroup(spec))
    stream.event("group.created", TASK, ("SPREAD", ({}, {}), (NODE, OTHER)))
    assert stream.found == []
    stream.event("group.created", TASK, ("SPREAD", ({}, {}), (OTHER, NODE)))
    assert stream.found == ["a bundle on a node without its labels"]


class Sending(Stream):
    """A stream that also shows what leaves."""

    def __init__(self) -> None:
        self.checker = inv.HandedOn()
        super().__init__(self.checker)

    def send(self, sender: bytes, to: bytes, message: Any) -> Sending:
        """A message leaves."""
        self.checker.sent(sender, to, message)
        return self

    def release(self) -> list[str]:
        """The owner of the inner object lets it go; returns what was found."""
        self.event("object.released", INNER)
        return self.found


def pushed(dependencies: tuple[Dependency, ...] = (), arguments: Value = PLAIN) -> m.PushTasks:
    """The task, on its way to a worker."""
    return m.PushTasks(LATER, (), (), (TaskCall(TASK, b"key", arguments, dependencies, 0, 1),))


REPLY = m.TaskReplies(LATER, (TaskReply(TASK, 0, (WITH_INNER,)),))


@pytest.mark.parametrize("push", [pushed(arguments=WITH_INNER), pushed((Dependency(INNER, PLAIN),))])
def test_an_argument_is_kept_until_its_task_has_ended(push: m.PushTasks) -> None:
    assert Sending().send(DRIVER, WORKER, push).release() == ["let go as an argument"]
    for end in ("task.finished", "task.failed"):
        ended = Sending().send(DRIVER, WORKER, push)
        ended.event(end, TASK, 0)
        assert ended.release() == [], "nobody needs it then"
    gone = Sending().send(DRIVER, WORKER, push)
    gone.event("process.end", DRIVER, "")
    assert gone.release() == []


def test_what_is_inside_of_a_value_is_kept_as_long_as_the_value() -> None:
    kept = Sending()
    kept.event("object.ready", OBJECT, WITH_INNER)
    assert kept.release() == ["let go inside of a value"]
    freed = Sending()
    freed.event("object.ready", OBJECT, WITH_INNER).event("object.released", OBJECT)
    assert freed.release() == []


def test_what_is_inside_of_a_reply_is_kept_until_the_reply_has_come() -> None:
    assert Sending().send(WORKER, DRIVER, REPLY).release() == ["let go inside of a reply"]
    arrived = Sending().send(WORKER, DRIVER, REPLY)
    arrived.message(WORKER, DRIVER, REPLY)
    assert arrived.release() == []
    never = Sending().send(WORKER, DRIVER, REPLY)
    never.event("process.end", WORKER, "")
    assert never.release() == []


def test_what_is_inside_of_an_item_is_kept_until_the_item_has_come() -> None:
    item = m.StreamItem(TASK, 0, 4, WITH_INNER)
    assert Sending().send(WORKER, DRIVER, item).release() == ["let go inside of a reply"]
    others = Sending().send(WORKER, DRIVER, item)
    others.message(WORKER, DRIVER, m.StreamItem(TASK, 0, 3, WITH_INNER))
    assert others.release() == ["let go inside of a reply"], "that was another item"
    arrived = Sending().send(WORKER, DRIVER, item)
    arrived.message(WORKER, DRIVER, item)
    assert arrived.release() == []


def registered() -> Sending:
    """An actor whose argument has the inner object inside, on its way to the GCS."""
    definition = m.FunctionDefinition(b"key", "Actor", b"", ())
    numbers = (0, 0, 0, {}, False, False, 0)
    spec = m.ActorSpec(TASK, definition, WITH_INNER, (), "", "", False, *numbers, {}, {}, Strategy(), 1, "", b"")
    return Sending().send(DRIVER, GCS, m.RegisterActor(spec, False))


def test_the_arguments_of_an_actor_are_kept_until_it_is_dead() -> None:
    assert registered().release() == ["let go as an argument"]
    restarting = registered()
    restarting.event("actor.state", TASK, ("RESTARTING", 1, b"", 1))
    assert restarting.release() == ["let go as an argument"], "the next incarnation needs it"
    dead = registered()
    dead.event("actor.state", TASK, ("DEAD", 1, b"", 1))
    assert dead.release() == []
    assert registered().send(DRIVER, GCS, m.KillActor(TASK, True)).release() == [], "it counts as dead for who kills it"
    assert registered().send(DRIVER, GCS, m.KillActor(TASK, False)).release() == ["let go as an argument"]
    other = registered()
    other.message(GCS, DRIVER, m.ActorRegistered(TASK, LATER, b"handle"))
    assert other.release() == [], "another actor has the name"


def test_what_a_process_has_that_the_owner_takes_for_dead_does_not_count() -> None:
    stream = Sending().send(DRIVER, WORKER, pushed(arguments=WITH_INNER))
    stream.checker.counts = lambda object_id, address: (object_id, address) != (INNER, DRIVER)
    assert stream.release() == []
