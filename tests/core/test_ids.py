"""Ids say where a thing lives, without a table."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from thornback.core import ids

NODES = st.binary(min_size=ids.NODE_ID_SIZE, max_size=ids.NODE_ID_SIZE)
COUNTERS_32 = st.integers(0, 2**32 - 1)
COUNTERS_64 = st.integers(0, 2**64 - 1)


@given(NODES, COUNTERS_32, COUNTERS_64, COUNTERS_32)
def test_every_part_of_an_id_can_be_read_back(node: bytes, process: int, counter: int, index: int) -> None:
    worker = ids.worker_id(node, process)
    task = ids.task_id(worker, counter)
    made = ids.return_id(task, index)
    assert (len(worker), len(task), len(made)) == (ids.WORKER_ID_SIZE, ids.TASK_ID_SIZE, ids.OBJECT_ID_SIZE)
    assert ids.task_of(made) == task
    assert ids.index_of(made) == index
    assert ids.owner_of(made) == ids.owner_of(task) == worker
    assert ids.node_of(worker) == ids.node_of(made) == ids.node_of(node) == node
    assert ids.is_node(node) and not ids.is_node(worker) and not ids.is_node(ids.GCS)


@given(NODES, st.lists(st.tuples(COUNTERS_64, COUNTERS_32), max_size=20, unique=True))
def test_ids_from_different_counters_differ_and_sort_by_them(node: bytes, pairs: list[tuple[int, int]]) -> None:
    worker = ids.worker_id(node, 1)
    made = [ids.return_id(ids.task_id(worker, counter), index) for counter, index in pairs]
    assert len(set(made)) == len(pairs)
    assert [pairs[made.index(each)] for each in sorted(made)] == sorted(pairs)


@given(NODES, COUNTERS_32, COUNTERS_64, COUNTERS_32)
def test_the_short_form_is_one_to_one(node: bytes, process: int, counter: int, index: int) -> None:
    worker = ids.worker_id(node, process)
    made = ids.return_id(ids.task_id(worker, counter), index)
    text = ids.short(made)
    node_text = node.hex().lstrip("0") or "0"
    assert text == f"n{node_text}.w{process}.t{counter}.r{index}"
    assert text.startswith(ids.short(ids.task_of(made))) and text.startswith(ids.short(worker))


def test_the_control_store_has_a_name() -> None:
    assert ids.short(ids.GCS) == "gcs"
