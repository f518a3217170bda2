"""Processes that have ended: all are remembered, in space that grows with those that live."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from thornback.core.deaths import DeadProcesses, Runs
from thornback.core.ids import worker_id

ONE, OTHER = b"\0" * 7 + b"\1", b"\0" * 7 + b"\2"


@given(st.lists(st.integers(0, 40)))
def test_runs_hold_what_was_put_in_and_nothing_else(numbers: list[int]) -> None:
    runs = Runs()
    for number in numbers:
        runs.add(number)
    assert {number for number in range(50) if number in runs} == set(numbers)
    gaps = [start - end for end, start in zip(runs.ends, runs.starts[1:], strict=False)]
    assert all(gap > 0 for gap in gaps), f"neighbouring runs should be one: {runs.starts}, {runs.ends}"


def test_a_million_processes_that_ended_cost_as_much_as_the_few_that_live_between_them() -> None:
    deaths = DeadProcesses()
    living = {10, 500_000, 999_999}
    for number in range(1_000_000):
        if number not in living:
            deaths.add(worker_id(ONE, number))
    assert deaths.size == 3
    assert worker_id(ONE, 0) in deaths and worker_id(ONE, 777_777) in deaths, "the oldest should be refused as well"
    assert not any(worker_id(ONE, number) in deaths for number in living)


def test_the_end_of_a_node_is_that_of_its_processes() -> None:
    deaths = DeadProcesses()
    deaths.add(worker_id(ONE, 7))
    deaths.add(ONE)
    deaths.add(worker_id(ONE, 9))
    assert deaths.size == 1
    assert ONE in deaths and worker_id(ONE, 7) in deaths and worker_id(ONE, 8) in deaths
    assert OTHER not in deaths and worker_id(OTHER, 7) not in deaths


def test_the_head_of_the_cluster_is_no_process_of_a_node() -> None:
    deaths = DeadProcesses()
    deaths.add(worker_id(ONE, 0))
    assert b"gcs" not in deaths and ONE not in deaths
