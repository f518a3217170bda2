"""Which nodes are slow: a robust statistic of run times."""

from __future__ import annotations

import random

from hypothesis import assume, given
from hypothesis import strategies as st

from thornback.core.config import MILLISECOND, Config
from thornback.core.ids import NodeId
from thornback.core.messages import NodeView, Strategy
from thornback.core.resources import UNIT
from thornback.core.scheduling.policies import place
from thornback.core.scheduling.request import PlacementRequest
from thornback.core.scheduling.slowness import LEAST_NODES, LEAST_RUNS, NORMAL, SLOW, choose_slow, slowness
from thornback.core.scheduling.view import ClusterView


def node(number: int) -> NodeId:
    return number.to_bytes(8, "big")


typical = st.integers(2 * MILLISECOND, 10**12)
noise = st.floats(0.8, 1.2)


@given(st.data(), typical, st.integers(5, 12), st.floats(3.0, 100.0))
def test_one_slow_node_is_found_and_no_other(data: st.DataObject, usual: int, count: int, factor: float) -> None:
    times = {
        node(number): [
            int(usual * data.draw(noise) * (factor if number == 0 else 1.0))
            for _ in range(data.draw(st.integers(5, 9)))
        ]
        for number in range(count)
    }
    slow = choose_slow(slowness({"f": times}), {})
    assert list(slow) == [node(0)]
    assert 0.6 * factor <= slow[node(0)] <= 1.6 * factor


@given(st.lists(st.lists(typical, max_size=20), max_size=8))
def test_too_few_runs_or_nodes_say_nothing(times: list[list[int]]) -> None:
    by_node = {node(number): each for number, each in enumerate(times)}
    measured = slowness({"f": by_node})
    enough = [each for each, runs in by_node.items() if len(runs) >= LEAST_RUNS]
    assert list(measured) == (enough if len(enough) >= LEAST_NODES else [])


@given(st.lists(st.lists(typical, min_size=5, max_size=9), min_size=3, max_size=9))
def test_fewer_than_half_of_the_nodes_are_slow(times: list[list[int]]) -> None:
    """By one function: more than half of them are not above the middle."""
    slow = choose_slow(slowness({"f": {node(number): each for number, each in enumerate(times)}}), {})
    assert len(slow) <= len(times) / 2


@given(st.lists(st.lists(typical, min_size=5, max_size=9), min_size=3, max_size=6))
def test_the_order_in_which_runs_and_nodes_are_known_does_not_matter(times: list[list[int]]) -> None:
    by_node = {node(number): each for number, each in enumerate(times)}
    shuffled = {each: sorted(runs) for each, runs in sorted(by_node.items(), reverse=True)}
    assert slowness({"f": by_node}) == slowness({"f": shuffled})


def test_a_function_with_unequal_calls_does_not_outvote_the_others() -> None:
    equal = {node(number): [MILLISECOND] * 5 for number in range(4)}
    unequal = equal | {node(0): [100 * MILLISECOND] * 5}
    assert choose_slow(slowness({"f": equal, "g": equal, "h": unequal}), {}) == {}


def test_short_functions_do_not_count() -> None:
    assert slowness({"f": {node(number): [1000 * (1 + 9 * (number == 0))] * 9 for number in range(5)}}) == {}


@given(st.dictionaries(st.integers(0, 5).map(node), st.floats(0.1, 10)), st.sets(st.integers(0, 5).map(node)))
def test_a_slow_node_is_forgiven_when_it_is_nearly_normal_and_not_before(
    measured: dict[NodeId, float], known: set[NodeId]
) -> None:
    slow = choose_slow(measured, dict.fromkeys(known, SLOW))
    for each, factor in measured.items():
        assert (each in slow) == (factor >= (NORMAL if each in known else SLOW))
    assert slow.keys() <= measured.keys(), "a node of which nothing is known gets another chance"


@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=8),
    st.sets(st.integers(0, 7)),
    st.sampled_from(["DEFAULT", "SPREAD", "RANDOM", "POWER_OF_TWO", "MEMORY"]),
    st.integers(0, 99),
)
def test_a_slow_node_is_chosen_just_when_no_other_has_room(
    free: list[int], slow: set[int], kind: str, seed: int
) -> None:
    view = ClusterView()
    for number, cpus in enumerate(free):
        view.apply(NodeView(node(number), 1, "", {"CPU": 4 * UNIT}, {"CPU": cpus * UNIT}, {}))
    view.set_slow({node(number): 3.0 for number in slow})
    assume(any(free))
    local = node(seed % len(free))
    chosen = place(PlacementRequest({"CPU": UNIT}, local, Strategy(kind), Config(), random.Random(seed)), view.alive())
    steady = [node(number) for number, cpus in enumerate(free) if cpus and number not in slow]
    assert chosen is not None
    if steady:
        assert chosen in steady
    view.set_slow({})
    assert view.alive().steady is None
