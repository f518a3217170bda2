"""Who is a straggler, and how many tasks may run twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from thornback.core.scheduling.speculation import LEAST_PEERS, SHARE, SLOWER, may_run_twice, straggler_after

run_times = st.lists(st.integers(1, 10**12), min_size=LEAST_PEERS, max_size=200)


@given(st.lists(st.integers(1, 10**12), max_size=LEAST_PEERS - 1))
def test_a_few_peers_do_not_say_what_is_slow(few: list[int]) -> None:
    assert straggler_after(few) is None


@given(run_times)
def test_at_most_a_tenth_of_the_peers_themselves_count_as_stragglers(times: list[int]) -> None:
    limit = straggler_after(times)
    assert limit is not None
    assert sum(time > limit for time in times) <= 0.1 * len(times) + 1
    assert limit >= min(times), "who is as quick as the quickest is no straggler"


@given(run_times, st.integers(2, 1000))
def test_the_limit_scales_with_the_peers(times: list[int], factor: int) -> None:
    limit, scaled = straggler_after(times), straggler_after([time * factor for time in times])
    assert limit is not None and scaled is not None
    assert abs(scaled - limit * factor) <= factor


@given(run_times, st.randoms())
def test_the_order_of_the_peers_does_not_matter(times: list[int], random: object) -> None:
    shuffled = list(times)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert straggler_after(times) == straggler_after(shuffled)


def test_three_percent_of_stragglers_do_not_hide_behind_each_other() -> None:
    assert straggler_after([100] * 97 + [1000] * 3) == SLOWER * 100


@given(finished=st.integers(0, 10**6))
def test_less_than_a_tenth_runs_twice(finished: int) -> None:
    copies = 0
    while copies < 1000 and may_run_twice(finished, copies):
        copies += 1
    assert copies <= max(1, SHARE * finished)
    assert copies >= 1, "the first straggler of all may run twice"
