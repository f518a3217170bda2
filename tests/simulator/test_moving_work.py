"""The experiment about moving work, in quick versions."""

from __future__ import annotations

import moving_work
import pytest


@pytest.mark.parametrize("skew", list(moving_work.SKEWS))
def test_skewed_queues_end_within_15_percent_of_the_ideal_on_100_nodes(skew: str) -> None:
    result = moving_work.makespan(skew, tasks=2000)
    assert result.ratio <= 1.15, f"{skew}: {result.seconds:.2f} s of virtual time, the ideal is {result.ideal:.2f} s"


def test_tasks_with_100_mb_arguments_move_ten_times_fewer_bytes_than_with_random_placement() -> None:
    """At a fiftieth of the scale: objects, stores and bandwidth alike."""
    near, took_near = moving_work.moved("DEFAULT", scale=50)
    anywhere, took_anywhere = moving_work.moved("RANDOM", scale=50)
    assert anywhere > 8e9, "placed at random, most of the 12 GB are read on another node"
    assert near * 10 <= anywhere, f"{near / 1e9:.2f} GB moved, and {anywhere / 1e9:.2f} GB with random placement"
    assert took_near <= took_anywhere, "waiting for the data must not take longer than moving it"


def test_speculation_halves_the_p99_of_a_workload_with_three_percent_stragglers_for_under_a_tenth_more_work() -> None:
    without, with_copies = moving_work.latencies(False, 600), moving_work.latencies(True, 600)
    assert with_copies.p99 <= without.p99 / 2, f"p99 {without.p99:.3f} s became {with_copies.p99:.3f} s"
    assert with_copies.runs <= 1.1 * without.runs, f"{with_copies.runs} runs instead of {without.runs}"
    assert with_copies.busy <= 1.1 * without.busy, f"{with_copies.busy:.1f} s of computing, not {without.busy:.1f} s"
