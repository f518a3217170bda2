"""Who wants news of what."""

from __future__ import annotations

from thornback.core.ids import task_id, worker_id
from thornback.core.subscribers import Subscribers

NODE, OTHER = b"\0" * 7 + b"\1", b"\0" * 7 + b"\2"
MAKER, FRIEND, STRANGER = worker_id(NODE, 1), worker_id(NODE, 2), worker_id(OTHER, 1)


def test_subscribers_are_found_by_subject_until_they_or_it_have_ended() -> None:
    subscribers = Subscribers()
    first, second = task_id(MAKER, 1), task_id(STRANGER, 1)
    for subject in (first, second):
        for subscriber in (FRIEND, STRANGER):
            subscribers.add(subject, subscriber)
    assert subscribers.of(first) == (FRIEND, STRANGER)
    subscribers.process_died(FRIEND)
    assert subscribers.of(first) == subscribers.of(second) == (STRANGER,)
    subscribers.drop_subject(first)
    assert not subscribers.of(first), "there is no more news of it"
    subscribers.process_died(OTHER)
    assert not subscribers.of(second), "its subscriber was on the node that has died"
    assert len(subscribers) == 0, "nothing is left of them"


def test_subjects_are_found_by_the_process_or_the_node_that_made_them() -> None:
    subscribers = Subscribers()
    mine, theirs, foreign = task_id(MAKER, 1), task_id(FRIEND, 1), task_id(STRANGER, 1)
    for subject in (mine, theirs, foreign):
        subscribers.add(subject, STRANGER)
    assert subscribers.subjects_owned_by(MAKER) == [mine]
    assert subscribers.subjects_owned_by(NODE) == [mine, theirs]
    subscribers.drop_subject(mine)
    assert subscribers.subjects_owned_by(NODE) == [theirs]
    subscribers.process_died(STRANGER)
    assert subscribers.subjects_owned_by(NODE) == subscribers.subjects_owned_by(OTHER) == []
