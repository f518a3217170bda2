"""What a process repeats, since it does not know whether the GCS has heard it, is done once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.core.gcs.cluster import DRIVER, HEAD, OTHER, STRANGER, WORKER, Cluster, actor, group
from thornback.core.ids import Address, task_id, worker_id
from thornback.core.messages import (
    ALIVE,
    ActorCreated,
    ActorRegistered,
    ActorSpec,
    AskQuota,
    BundlesReserved,
    CreateGroup,
    Death,
    Deaths,
    DrainAnswered,
    DrainNode,
    GroupUpdate,
    Heartbeat,
    HeldLease,
    KeyValue,
    KillActor,
    LeaseGranted,
    LeaseInfeasible,
    LeaseSpilled,
    MeetGcs,
    NodeDrained,
    NodeFenced,
    NodeHolds,
    NodeRemoved,
    PutKey,
    RegisterActor,
    RemoveGroup,
    RequestLease,
    ReserveBundles,
    SubscribeActor,
    SubscribeGroup,
)


def two_nodes() -> Cluster:
    cluster = Cluster()
    cluster.register(HEAD)
    cluster.register(OTHER)
    return cluster


def fail_over(cluster: Cluster, incarnation: int = 2) -> None:
    """Another GCS takes over, and everybody has met it."""
    cluster.restart()
    for process in (HEAD, OTHER, DRIVER, WORKER, STRANGER):
        cluster.hears(process, MeetGcs(incarnation))
    cluster.register(HEAD)
    cluster.register(OTHER)


@pytest.mark.parametrize("failover", [False, True])
def test_a_write_that_is_repeated_does_not_undo_a_later_one(failover: bool) -> None:
    cluster = two_nodes()
    cluster.hears(DRIVER, PutKey(7, "k", b"1"))
    if failover:
        fail_over(cluster)
    cluster.hears(STRANGER, PutKey(3, "k", b"2"))
    assert cluster.hears(DRIVER, PutKey(7, "k", b"1")) == [KeyValue(7, b"1")], "its sender may not have had the answer"
    assert cluster.gcs.tables.keys.table["k"] == b"2", "what was acknowledged to another process stays"


@pytest.mark.parametrize("failover", [False, True])
def test_a_deletion_that_is_repeated_spares_what_was_written_later(failover: bool) -> None:
    cluster = two_nodes()
    cluster.hears(DRIVER, PutKey(7, "k", b"1"), PutKey(8, "k", None))
    if failover:
        fail_over(cluster)
    cluster.hears(STRANGER, PutKey(3, "k", b"2"))
    assert cluster.hears(DRIVER, PutKey(7, "k", b"1"), PutKey(8, "k", None)) == [KeyValue(7, b"1"), KeyValue(8, None)]
    assert cluster.gcs.tables.keys.table["k"] == b"2"


@pytest.mark.parametrize("failover", [False, True])
def test_who_has_won_or_lost_a_key_hears_the_same_again(failover: bool) -> None:
    cluster = two_nodes()
    mine, yours = PutKey(7, "lock", b"mine", overwrite=False), PutKey(3, "lock", b"yours", overwrite=False)
    assert cluster.hears(DRIVER, mine) == [KeyValue(7, b"mine")]
    assert cluster.hears(STRANGER, yours) == [KeyValue(3, b"mine")]
    cluster.hears(DRIVER, PutKey(8, "lock", None))
    if failover:
        fail_over(cluster)
    assert cluster.hears(STRANGER, yours) == [KeyValue(3, b"mine")], "it has lost, though the key is free by now"
    assert cluster.hears(DRIVER, mine) == [KeyValue(7, b"mine")], "it has won, though it has given the key back"
    assert "lock" not in cluster.gcs.tables.keys.table


def test_no_more_is_remembered_of_a_sender_than_what_it_may_repeat() -> None:
    cluster = two_nodes()
    for number in range(1, 100):
        cluster.hears(DRIVER, PutKey(number, f"k{number % 3}", b"%d" % number, answered=number - 2))
    (row,) = [value for (table, _), value in cluster.rows.items() if table == "key_writers" and value is not None]
    assert len(row) < 20, "of 99 writes only those count whose answers may be lost"
    assert cluster.hears(DRIVER, PutKey(5, "k2", b"5", answered=3)) == [], "an answered one comes late from its link"
    assert cluster.gcs.tables.keys.table["k2"] == b"98"


@pytest.mark.parametrize("failover", [False, True])
@pytest.mark.parametrize("death", [STRANGER, OTHER])
def test_what_is_remembered_of_a_writer_ends_with_it(death: bytes, failover: bool) -> None:
    cluster = two_nodes()
    cluster.hears(STRANGER, PutKey(3, "k", b"2"))
    if failover:
        fail_over(cluster)
    if death == OTHER:
        cluster.pass_time(60, alive=HEAD)
    else:
        cluster.hears(OTHER, Deaths((Death(STRANGER, "killed"),)))
    assert not any(table == "key_writers" and value for (table, _), value in cluster.rows.items())
    cluster.hears(DRIVER, PutKey(7, "k", b"3"))
    assert not any(isinstance(answer, KeyValue) for answer in cluster.hears(STRANGER, PutKey(3, "k", b"2")))
    assert cluster.gcs.tables.keys.table["k"] == b"3", "nobody waits for a write that a dead process repeats"


def placed_actor(cluster: Cluster, **changes: Any) -> tuple[ActorSpec, RequestLease, Address]:
    """An actor for which the GCS has asked a node; who that is."""
    job_id = cluster.start_job(DRIVER)
    spec = msgspec.structs.replace(actor(DRIVER, job_id), **changes)
    cluster.hears(DRIVER, RegisterActor(spec, False))
    return (spec, *request_in(cluster))


def request_in(cluster: Cluster) -> tuple[RequestLease, Address]:
    """The request for a lease that was just sent, and to whom."""
    ((to, request),) = [(to, message) for to, message in cluster.sent if isinstance(message, RequestLease)]
    assert isinstance(request, RequestLease)
    return request, to


def requests(cluster: Cluster) -> int:
    return sum(isinstance(message, RequestLease) for _, message in cluster.sent)


def alive_actor(cluster: Cluster, **changes: Any) -> tuple[ActorSpec, RequestLease, Address, Address]:
    """An actor that runs; its lease, node and worker."""
    spec, request, node = placed_actor(cluster, **changes)
    worker = worker_id(node, 50)
    cluster.hears(node, LeaseGranted(request.lease_id, worker))
    cluster.hears(worker, MeetGcs(cluster.gcs.tables.incarnations.present))
    cluster.hears(worker, ActorCreated(spec.actor_id, 1, None))
    assert cluster.gcs.tables.actors.table[spec.actor_id].state == ALIVE
    return spec, request, node, worker


def test_what_a_node_has_told_an_earlier_gcs_of_its_leases_does_not_count_for_the_next() -> None:
    cluster = two_nodes()
    fail_over(cluster)
    before = NodeHolds((), (), (), 2)
    for node in (HEAD, OTHER):
        cluster.hears(node, before)
    spec, request, node, worker = alive_actor(cluster, max_restarts=0)
    fail_over(cluster, 3)
    cluster.hears(node, before)
    assert cluster.gcs.tables.actors.table[spec.actor_id].state == ALIVE, "it started after the node had said that"
    cluster.hears(node, NodeHolds((HeldLease(request.lease_id, spec.actor_id, worker),), (), (), 3))
    assert cluster.gcs.tables.actors.table[spec.actor_id].state == ALIVE


def test_what_a_node_has_told_of_its_bundles_is_not_believed_again_later() -> None:
    cluster = two_nodes()
    job_id = cluster.start_job(DRIVER)
    fail_over(cluster)
    for node in (HEAD, OTHER):
        cluster.hears(node, NodeHolds((), (), (), 2))
    cluster.hears(WORKER, CreateGroup(group(job_id)))
    ((node, reserve),) = [(to, message) for to, message in cluster.sent if isinstance(message, ReserveBundles)]
    assert isinstance(reserve, ReserveBundles)
    cluster.hears(node, BundlesReserved(reserve.group_id, reserve.attempt, True))
    assert cluster.gcs.tables.groups.table[reserve.group_id].state == "CREATED"
    cluster.hears(node, NodeHolds((), (), (), 2))
    assert cluster.gcs.tables.groups.table[reserve.group_id].state == "CREATED", "it was placed there since"


def test_a_node_that_repeats_that_another_is_better_is_believed_once() -> None:
    cluster = two_nodes()
    _, request, node = placed_actor(cluster)
    other = OTHER if node == HEAD else HEAD
    passed_on = LeaseSpilled(request.lease_id, other, 2)
    cluster.hears(node, passed_on)
    second, asked = request_in(cluster)
    assert asked == other
    cluster.hears(other, LeaseSpilled(second.lease_id, node, 3))
    third, asked = request_in(cluster)
    assert asked == node and third.hops == 3
    cluster.hears(node, passed_on)
    assert not requests(cluster), "it has the request again, with a later number: nobody else is to have it too"


def test_a_node_that_repeats_that_an_actor_fits_nowhere_does_not_end_it_when_it_runs() -> None:
    cluster = two_nodes()
    spec, request, node, _ = alive_actor(cluster, fail_infeasible=True)
    cluster.hears(node, LeaseInfeasible(request.lease_id, "no node has it"))
    assert cluster.gcs.tables.actors.table[spec.actor_id].state == ALIVE


def test_who_was_told_of_another_actor_of_that_name_does_not_make_one_by_asking_again() -> None:
    cluster = two_nodes()
    spec, *_ = alive_actor(cluster, name="n1")
    late = RegisterActor(msgspec.structs.replace(spec, actor_id=task_id(WORKER, 3)), True)
    told = [ActorRegistered(late.spec.actor_id, spec.actor_id, spec.handle)]
    assert cluster.hears(WORKER, late) == told
    cluster.hears(DRIVER, KillActor(spec.actor_id, True, 1))
    assert cluster.hears(WORKER, late) == told, "it has gone on with the other one, and would not know of its own"
    assert not requests(cluster)


@pytest.mark.parametrize("failover", [False, True])
def test_a_group_that_is_removed_before_it_is_known_is_never_placed(failover: bool) -> None:
    cluster = two_nodes()
    spec = group(cluster.start_job(DRIVER))
    cluster.hears(DRIVER, RemoveGroup(spec.group_id))
    if failover:
        fail_over(cluster)
    (answer,) = cluster.hears(WORKER, CreateGroup(spec))
    assert isinstance(answer, GroupUpdate) and answer.state == "REMOVED"
    assert not any(isinstance(message, ReserveBundles) for _, message in cluster.sent)


def test_a_drain_that_is_asked_for_again_when_the_node_has_left_was_a_success() -> None:
    cluster = two_nodes()
    drain = DrainNode(5, OTHER, "", -1)
    assert cluster.hears(DRIVER, drain) == [DrainAnswered(5, "")]
    cluster.hears(OTHER, NodeDrained())
    assert cluster.hears(DRIVER, drain) == [DrainAnswered(5, "")], "the node is gone, as was wanted"


def test_a_node_that_was_given_up_is_fenced_whatever_it_says_and_holds_nothing() -> None:
    cluster = two_nodes()
    cluster.pass_time(60, alive=HEAD)
    held = {"CPU": 10_000}
    for message in (Heartbeat(), AskQuota(1, 1, held, held, ()), NodeHolds((), (), (), 1), Deaths(()), MeetGcs(1)):
        assert cluster.hears(OTHER, message) == [NodeFenced()], f"{message} comes from a zombie"
    quotas = cluster.gcs.tables.quotas
    assert quotas.charge(1, b"group", held) and not any(OTHER in given for given in quotas._given.values())
    assert cluster.hears(OTHER, NodeDrained()) == [NodeRemoved()], "one that leaves hears that it may go"


def test_a_process_that_has_ended_leaves_nothing_in_the_tables_by_what_comes_late() -> None:
    cluster = two_nodes()
    fail_over(cluster)
    cluster.hears(OTHER, Deaths((Death(STRANGER, "killed"),)))
    wanted, groups = task_id(WORKER, 1), task_id(WORKER, 2)
    cluster.hears(STRANGER, MeetGcs(2), SubscribeActor(wanted), SubscribeGroup(groups), PutKey(1, "k", b"1"))
    tables = cluster.gcs.tables
    assert STRANGER not in tables.incarnations._met
    assert not tables.actors.news._subscribers.of(wanted) and not tables.groups.subscribers.of(groups)
    assert not tables.keys._writers
