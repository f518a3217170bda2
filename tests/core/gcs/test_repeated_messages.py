"""What a process repeats, since it does not know whether the GCS has heard it, is done once."""

from __future__ import annotations

import pytest

from tests.core.gcs.cluster import DRIVER, HEAD, OTHER, STRANGER, WORKER, Cluster
from thornback.core.messages import Death, Deaths, KeyValue, MeetGcs, PutKey


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
