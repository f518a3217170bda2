"""When a task had better go elsewhere than wait: rules about times and sizes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from thornback.core.config import SECOND
from thornback.core.scheduling.policies import by_bytes
from thornback.core.scheduling.stealing import moving_time, patience, should_move, waiting_time

times = st.integers(0, 10**12)
nodes = st.binary(min_size=8, max_size=8)


def test_moving_takes_size_over_bandwidth_after_what_is_queued() -> None:
    assert moving_time(100_000_000, 1_000_000_000) == SECOND // 10
    assert moving_time(100_000_000, 1_000_000_000, queued=7) == SECOND // 10 + 7
    assert moving_time(0, 1_000_000_000, queued=7) == 0, "nothing to move, so nothing to wait for"


def test_waiting_is_not_known_without_workers_or_run_times() -> None:
    assert waiting_time(10, 100, 0) == 0
    assert waiting_time(10, 0, 3) == 0
    assert waiting_time(10, 100, 4) == 250


@given(moving=times, waiting=times)
def test_a_request_is_patient_just_when_its_tasks_would_not_move(moving: int, waiting: int) -> None:
    assert patience(moving, waiting) in (0, moving)
    if waiting > moving:
        assert patience(moving, waiting) == 0 and should_move(moving, waiting, 0)


@given(moving=times, waiting=times)
def test_who_knows_nothing_pays_at_most_twice_the_best(moving: int, waiting: int) -> None:
    """``waiting`` is what the wait for the preferred node turns out to be, unknown before."""
    waited = min(waiting, moving)
    paid = waited + (moving if waiting > moving else 0)
    assert should_move(moving, 0, moving) and (moving == 0 or not should_move(moving, 0, moving - 1))
    assert paid <= 2 * min(moving, waiting)


@given(moving=times, waiting=times, waited=times, more=times)
def test_waiting_longer_never_speaks_against_moving(moving: int, waiting: int, waited: int, more: int) -> None:
    if should_move(moving, waiting, waited):
        assert should_move(moving, waiting + more, waited)
        assert should_move(moving, waiting, waited + more)


@given(sizes=st.dictionaries(nodes, st.integers(1, 10**9), max_size=8), local=nodes)
def test_tasks_prefer_the_node_with_most_bytes_and_their_own_among_equals(
    sizes: dict[bytes, int], local: bytes
) -> None:
    chosen = by_bytes(sizes, local)
    if not sizes:
        assert chosen == b""
        return
    assert sizes[chosen] == max(sizes.values())
    if sizes.get(local, 0) == max(sizes.values()):
        assert chosen == local
    assert chosen == by_bytes(dict(reversed(sizes.items())), local), "the order of the nodes must not matter"
