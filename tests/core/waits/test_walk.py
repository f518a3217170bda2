"""The walk through the graph of waits: every question once, whatever the answers and their order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from thornback.core.messages.waits import TASK, Held, Reason, Subject, Unknown
from thornback.core.waits.walk import Walk


def subject(number: int) -> Subject:
    return Subject(bytes([number % 3]), TASK, bytes([number]))


def held(*numbers: int) -> Reason:
    return Held(needs=tuple(map(subject, numbers)), needed=len(numbers))


@given(st.dictionaries(st.integers(0, 9), st.lists(st.integers(0, 9), max_size=3)), st.data())
def test_all_that_can_be_reached_is_asked_once(edges: dict[int, list[int]], data: st.DataObject) -> None:
    walk = Walk([subject(0)])
    asked: list[Subject] = []
    open_now: list[Subject] = []
    while not walk.done:
        for address, subjects in walk.questions().items():
            assert all(each.at == address for each in subjects)
            asked += subjects
            open_now += subjects
        answered = data.draw(st.sampled_from(open_now))
        open_now.remove(answered)
        for _ in range(data.draw(st.integers(1, 2))):
            walk.answered([answered], [held(*edges.get(answered.identifier[0], []))], 0)
    reached = {0}
    while more := {each for known in reached for each in edges.get(known, [])} - reached:
        reached |= more
    assert len(set(asked)) == len(asked), "nothing is asked twice"
    assert set(walk.reasons) == set(map(subject, reached))


def test_who_does_not_answer_is_unknown_and_may_go_on() -> None:
    walk = Walk([subject(0), subject(1)])
    walk.questions()
    walk.answered([subject(0)], [held(1)], 0)
    assert not walk.done
    walk.give_up([subject(1)])
    assert walk.done
    assert isinstance(walk.reasons[subject(1)], Unknown) and walk.reasons[subject(1)].needed == 0
    walk.answered([subject(1)], [held(0)], 0)
    assert isinstance(walk.reasons[subject(1)], Unknown), "an answer that comes too late changes nothing"


def test_a_walk_ends_at_its_limit() -> None:
    walk = Walk([subject(0)], limit=3)
    for number in range(3):
        walk.questions()
        walk.answered([subject(number)], [held(number + 1)], 0)
    assert walk.done and len(walk.reasons) == 3
