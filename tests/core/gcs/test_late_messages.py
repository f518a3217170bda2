"""What reaches the GCS too late, from nodes, drivers and jobs that have ended, or before an actor is registered."""

from __future__ import annotations

from tests.core.gcs.cluster import DRIVER, HEAD, OTHER, STRANGER, WORKER, Cluster, actor, group
from thornback.core.ids import task_id
from thornback.core.messages import (
    ActorUpdate,
    AskMaker,
    CreateGroup,
    Death,
    Deaths,
    EndJob,
    GroupUpdate,
    Heartbeat,
    KillActor,
    MeetGcs,
    Message,
    NodeFenced,
    NotComing,
    PutKey,
    RegisterActor,
    RequestLease,
    ReserveBundles,
    StartJob,
    SubscribeActor,
    SubscribeGroup,
)


def states(answers: list[Message]) -> list[str]:
    return [answer.state for answer in answers if isinstance(answer, GroupUpdate)]


def test_a_process_on_a_node_that_was_given_up_is_not_listened_to_by_later_gcs_either() -> None:
    cluster = Cluster()
    cluster.register(HEAD)
    cluster.register(OTHER)
    cluster.hears(STRANGER, PutKey(1, "key", b"before"))
    cluster.pass_time(60, alive=HEAD)
    assert cluster.gcs.tables.nodes.alive() == [HEAD], "a node that is not heard of is given up"
    for incarnation in (1, 2):
        answers = cluster.hears(STRANGER, MeetGcs(incarnation), PutKey(2, "key", b"too late"))
        assert not answers, f"GCS {incarnation} must not answer a process that lives on as if nothing had happened"
        assert (OTHER, NodeFenced()) in cluster.sent, "its raylet is told, which may have nothing to say by itself"
        assert cluster.gcs.tables.keys.table["key"] == b"before"
        cluster.restart()


def test_a_node_that_a_later_gcs_has_given_up_is_fenced_when_it_comes_back() -> None:
    cluster = Cluster()
    for node in (HEAD, OTHER):
        cluster.register(node)
    cluster.restart()
    for node in (HEAD, OTHER):
        cluster.hears(node, MeetGcs(2))
        cluster.register(node)
    cluster.pass_time(60, alive=HEAD)
    assert cluster.gcs.tables.nodes.alive() == [HEAD], "a node that is not heard of is given up"
    assert cluster.hears(OTHER, Heartbeat()) == [NodeFenced()], (
        "it must hear that it was given up, or it stays a zombie"
    )


def test_the_end_of_a_driver_ends_its_job_though_nobody_else_knows_the_job_yet() -> None:
    cluster = Cluster()
    cluster.register(HEAD)
    job_id = cluster.start_job(DRIVER)
    cluster.hears(HEAD, Deaths((Death(DRIVER, "killed"),)))
    assert cluster.gcs.tables.jobs.has_ended(job_id), "a raylet that hears of no job only reports the driver's end"
    assert not cluster.hears(DRIVER, StartJob("n", "", {})), "a late request of a dead driver starts no job"
    cluster.restart()
    assert cluster.gcs.tables.jobs.has_ended(job_id), "a job that has ended stays so"


def test_a_group_that_is_asked_for_after_the_end_of_its_job_holds_nothing() -> None:
    cluster = Cluster()
    cluster.register(HEAD)
    job_id = cluster.start_job(DRIVER)
    cluster.hears(DRIVER, EndJob(job_id))
    answers = cluster.hears(WORKER, CreateGroup(group(job_id)))
    assert states(answers) == ["REMOVED"], "who asks is told that the group has ended with its job"
    assert not any(isinstance(message, ReserveBundles) for _, message in cluster.sent)


def test_a_group_that_a_dead_actor_has_asked_for_holds_nothing() -> None:
    cluster = Cluster()
    cluster.register(HEAD)
    job_id = cluster.start_job(DRIVER)
    answers = cluster.hears(WORKER, CreateGroup(group(job_id, actor_id=task_id(DRIVER, 3))))
    assert states(answers) == ["REMOVED"], "a group ends with the actor that made it, also if that comes first"


def test_a_group_of_a_job_that_runs_is_placed() -> None:
    cluster = Cluster()
    cluster.register(HEAD)
    job_id = cluster.start_job(DRIVER)
    cluster.hears(WORKER, CreateGroup(group(job_id)))
    assert any(isinstance(message, ReserveBundles) for _, message in cluster.sent)


def test_an_actor_that_is_killed_before_it_is_registered_never_starts() -> None:
    for gcs_crashes in (False, True):
        cluster = Cluster()
        cluster.register(HEAD)
        spec = actor(WORKER, cluster.start_job(DRIVER))
        cluster.hears(DRIVER, KillActor(spec.actor_id, True, 0))
        if gcs_crashes:
            cluster.restart()
            for process in (HEAD, DRIVER, WORKER):
                cluster.hears(process, MeetGcs(2))
            cluster.register(HEAD)
        answers = cluster.hears(WORKER, RegisterActor(spec, False))
        assert [each.state for each in answers if isinstance(each, ActorUpdate)] == ["DEAD"], f"{gcs_crashes=}"
        assert not any(isinstance(message, RequestLease) for _, message in cluster.sent)
        assert not any(table == "early_ends" and value for (table, _), value in cluster.rows.items())


def test_what_is_noted_of_actors_that_nobody_registers_ends_with_their_owner() -> None:
    cluster = Cluster()
    cluster.register(HEAD)
    cluster.hears(DRIVER, KillActor(task_id(WORKER, 9), True, 0))
    cluster.hears(HEAD, Deaths((Death(WORKER, "killed"),)))
    assert not any(table == "early_ends" and value for (table, _), value in cluster.rows.items())


def test_the_maker_of_an_unknown_actor_or_group_is_asked_and_who_waits_for_it_learns_that_it_is_over() -> None:
    cluster = Cluster()
    cluster.register(HEAD)
    subject = task_id(WORKER, 9)
    for wish in (SubscribeActor(subject), SubscribeGroup(subject)):
        assert cluster.hears(DRIVER, wish) == [], "it may still come"
        assert cluster.sent == [(WORKER, AskMaker(subject))]
    cluster.hears(WORKER, NotComing(subject))
    news = [message for to, message in cluster.sent if to == DRIVER]
    assert [each.state for each in news if isinstance(each, ActorUpdate | GroupUpdate)] == ["DEAD", "REMOVED"]


def test_what_is_registered_before_its_maker_says_that_nothing_more_comes_is_there() -> None:
    cluster = Cluster()
    cluster.register(HEAD)
    spec = actor(WORKER, cluster.start_job(DRIVER))
    cluster.hears(DRIVER, SubscribeActor(spec.actor_id))
    cluster.hears(WORKER, RegisterActor(spec, False), NotComing(spec.actor_id))
    assert not any(to == DRIVER for to, _ in cluster.sent), "it has not ended"
    (news,) = cluster.hears(DRIVER, SubscribeActor(spec.actor_id))
    assert isinstance(news, ActorUpdate) and news.state == "PENDING_CREATION"
