"""Resource arithmetic is exact: what is given back equals what was taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thornback.core import resources
from thornback.core.resources import UNIT, add, describe, fits, from_units, subtract, to_units, total

NAMES = st.sampled_from(["CPU", "GPU", "memory", "license", "object_store_memory"])
UNITS = st.dictionaries(NAMES, st.integers(0, 10**12), max_size=4)


@given(st.dictionaries(st.sampled_from(["CPU", "GPU", "license"]), st.integers(1, 10**9)))
def test_amounts_survive_the_way_to_units_and_back(counts: dict[str, int]) -> None:
    amounts = {name: count / UNIT for name, count in counts.items()}
    assert to_units(amounts) == counts
    assert from_units(counts) == amounts


@given(st.integers(1, 10**15))
def test_memory_is_counted_in_bytes(size: int) -> None:
    assert to_units({"memory": size}) == {"memory": size}


@given(UNITS, UNITS)
def test_what_is_taken_and_given_back_leaves_no_trace(first: dict[str, int], second: dict[str, int]) -> None:
    held = dict(first)
    add(held, second)
    assert fits(second, held)
    subtract(held, second)
    assert {name: count for name, count in held.items() if count} == {k: v for k, v in first.items() if v}


@given(UNITS, UNITS)
def test_a_demand_fits_exactly_if_every_resource_does(demand: dict[str, int], available: dict[str, int]) -> None:
    expected = all(count <= available.get(name, 0) for name, count in demand.items())
    assert fits(demand, available) is expected


@given(st.lists(UNITS, max_size=5))
def test_a_total_is_the_sum_and_changes_nothing(many: list[dict[str, int]]) -> None:
    before = [dict(each) for each in many]
    summed = total(many)
    assert many == before
    for name in {name for each in many for name in each}:
        assert summed[name] == sum(each.get(name, 0) for each in many)


@given(st.lists(st.floats(0.0001, 0.1), max_size=50))
def test_many_small_fractions_do_not_drift(fractions: list[float]) -> None:
    held: resources.Resources = {}
    taken = [to_units({"CPU": fraction}) for fraction in fractions]
    for each in taken:
        add(held, each)
    for each in taken:
        subtract(held, each)
    assert held.get("CPU", 0) == 0


@pytest.mark.parametrize("amount", [-1, float("inf"), float("nan"), 0.00001])
def test_a_bad_amount_names_the_resource_and_what_is_allowed(amount: float) -> None:
    with pytest.raises(ValueError, match="resource 'CPU' must be"):
        to_units({"CPU": amount})


def test_zeros_are_left_out() -> None:
    assert to_units({"CPU": 0, "GPU": 1}) == {"GPU": UNIT}


def test_people_read_plain_numbers() -> None:
    assert describe(to_units({"GPU": 0.5, "CPU": 2})) == "{CPU: 2, GPU: 0.5}"
