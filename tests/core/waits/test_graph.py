"""Who can never go on, as a pure idea: against its definition, and against histories of waits that change."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from thornback.core.messages.waits import TASK, Held, Reason, Subject
from thornback.core.waits.graph import Graph, cycle, knot, still, stuck

MOST = 6


def subject(number: int) -> Subject:
    return Subject(b"process", TASK, bytes([number]))


@st.composite
def graphs(draw: st.DrawFn, least: int = 1, acyclic: bool = False) -> dict[Subject, Reason]:
    """Subjects that need some of each other, and now and then of one that nobody knows."""
    count = draw(st.integers(least, MOST))
    graph: dict[Subject, Reason] = {}
    for number in range(count):
        others = st.integers(number + 1 if acyclic else 0, count)
        needs = tuple(subject(other) for other in draw(st.lists(others, max_size=3)))
        needed = draw(st.integers(0, len(needs)))
        graph[subject(number)] = Held(needs=needs, needed=needed)
    return graph


def is_stuck_together(graph: Graph, some: tuple[Subject, ...]) -> bool:
    """The definition: not one of them could go on even if all others did."""
    return all(sum(need not in some for need in graph[each].needs) < graph[each].needed for each in some)


@given(graphs())
def test_stuck_is_the_union_of_all_sets_that_are_stuck_together(graph: Graph) -> None:
    members = [
        each
        for size in range(1, len(graph) + 1)
        for some in combinations(graph, size)
        if is_stuck_together(graph, some)
        for each in some
    ]
    assert set(stuck(graph)) == set(members)


@given(graphs(acyclic=True))
def test_without_a_cycle_nobody_is_stuck(graph: Graph) -> None:
    assert stuck(graph) == {}, "a long chain of waits ends where somebody is at work"


@given(graphs())
def test_a_cycle_is_found_from_everybody_who_is_stuck(graph: Graph) -> None:
    found = stuck(graph)
    for start in found:
        round_trip = cycle(found, start)
        assert all(
            following in graph[each].needs
            for each, following in zip(round_trip, [*round_trip[1:], round_trip[0]], strict=True)
        )
        assert set(round_trip) <= set(knot(found, round_trip[0])), "a cycle belongs to one knot"


@given(graphs(), st.permutations(range(MOST)))
def test_the_order_of_the_graph_does_not_matter(graph: Graph, order: list[int]) -> None:
    shuffled = {subject(number): graph[subject(number)] for number in order if subject(number) in graph}
    assert set(stuck(shuffled)) == set(stuck(graph))


@given(graphs(), graphs())
def test_one_that_goes_on_frees_others_but_binds_nobody(graph: Graph, other: Graph) -> None:
    freed = dict(graph) | {each: Held() for each in other}
    assert set(stuck(freed)) <= set(stuck(graph))


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[dict[Subject, Reason]], Any]:
    """Waits that begin and end, step by step; and when each subject was asked, in two walks about one moment."""
    now: dict[Subject, Reason] = dict(draw(graphs(least=3)))
    steps = [dict(now)]
    for time in range(1, draw(st.integers(2, 12))):
        changed = draw(st.sampled_from(list(now)))
        needs = tuple(subject(other) for other in draw(st.lists(st.integers(0, MOST), max_size=2)))
        now[changed] = Held(needs=needs, needed=draw(st.integers(0, len(needs))), since=time)
        steps.append(dict(now))
    middle = draw(st.integers(0, len(steps) - 1))
    before = {each: draw(st.integers(0, middle)) for each in now}
    after = {each: draw(st.integers(middle, len(steps) - 1)) for each in now}
    return steps, (middle, before, after)


@given(histories())
def test_what_two_walks_agree_on_was_all_true_at_the_moment_between_them(history: Any) -> None:
    steps, (middle, before, after) = history
    first = {each: steps[when][each] for each, when in before.items()}
    second = {each: steps[when][each] for each, when in after.items()}
    kept = still(first, second)
    assert all(reason == steps[middle][each] for each, reason in kept.items())
    assert set(stuck(kept)) <= set(stuck(steps[middle])), "a cycle that is told of has existed"
