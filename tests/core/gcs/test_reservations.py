"""Reservations of placement groups that nodes refuse."""

from __future__ import annotations

import heapq
from itertools import pairwise

from tests.core.gcs.test_late_messages import DRIVER, HEAD, Cluster, group
from thornback.core.messages import BundlesReserved, CreateGroup, Heartbeat, ReserveBundles

LONGEST = 10.0
"""Seconds, of the default configuration."""


def asked_in(cluster: Cluster) -> ReserveBundles | None:
    """What the node is asked to set aside in this turn."""
    found = [message for _, message in cluster.sent if isinstance(message, ReserveBundles)]
    return found[-1] if found else None


def moments_of_attempts(count: int) -> list[float]:
    """Seconds at which a node that always refuses is asked for the bundle of a group."""
    cluster = Cluster()
    cluster.register(HEAD)
    job_id = cluster.start_job(DRIVER)
    cluster.hears(DRIVER, CreateGroup(group(job_id)))
    moments: list[float] = []
    while len(moments) < count:
        asked = asked_in(cluster)
        if asked is not None:
            moments.append(cluster.now / 1e9)
            cluster.hears(HEAD, BundlesReserved(asked.group_id, asked.attempt, False))
            continue
        cluster.now, _, call = heapq.heappop(cluster._timers)
        cluster.hears(HEAD, Heartbeat())
        cluster.sent.clear()
        call()
        cluster.gcs.end_turn()
    return moments


def test_a_node_that_refuses_is_asked_again_soon_and_then_ever_more_rarely() -> None:
    moments = moments_of_attempts(30)
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert pauses[0] <= 0.1, f"the first refusal may have been of a stale view: {pauses[0]} s"
    assert max(pauses) <= LONGEST, f"no pause is longer than the limit: {max(pauses)} s"
    assert moments[-1] - moments[-11] > 30, f"in the end the node is left alone for seconds: {pauses}"
    assert len(set(pauses)) == len(pauses), f"pauses have jitter: {pauses}"
