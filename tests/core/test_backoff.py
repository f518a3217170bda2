"""Delays before something is tried again: they grow, they end growing, and they differ."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from thornback.core.backoff import Backoff

backoffs = st.builds(Backoff, first=st.integers(1, 10**9), limit=st.integers(1, 10**11))


@given(backoffs, st.integers(1, 10_000), st.integers(0, 2**32))
def test_a_delay_is_in_the_upper_half_of_its_bound(backoff: Backoff, failures: int, seed: int) -> None:
    bound = backoff.bound(failures)
    assert bound // 2 <= backoff.delay(failures, random.Random(seed)) <= bound


@given(backoffs, st.integers(1, 200))
def test_bounds_double_up_to_the_limit(backoff: Backoff, failures: int) -> None:
    before, after = backoff.bound(failures), backoff.bound(failures + 1)
    assert after == max(backoff.first, min(2 * before, backoff.limit))


def test_many_that_failed_together_do_not_come_back_together() -> None:
    backoff, chance = Backoff(1000, 100_000), random.Random(1)
    delays = {backoff.delay(6, chance) for _ in range(100)}
    assert len(delays) > 90
