"""The experiment about the time of one decision, on a small cluster."""

from __future__ import annotations

import decision_time


def test_each_strategy_is_measured_and_gives_back_what_it_takes() -> None:
    found = decision_time.measure(nodes=30, decisions=400, most=16)
    assert list(found) == list(decision_time.STRATEGIES)
    for name, (median, most, update) in found.items():
        assert 0 < median <= most, f"{name}: the 99th percentile is {most} us, the median {median} us"
        assert update > 0, f"{name} must have placed something and kept the view up to date"
