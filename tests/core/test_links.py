"""The reliable link: whatever the network does, payloads arrive exactly once and in order."""

from __future__ import annotations

import heapq
import random
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thornback.core import links
from thornback.core.config import MILLISECOND, SECOND, Config
from thornback.core.links import Frame, ReliableLink

CONFIG = Config()


class Pair:
    """Two ends and a network between them that misbehaves until ``healed``."""

    def __init__(self, seed: int, loss: float, duplicate: float, spread: int, healed: int) -> None:
        self.rng = random.Random(seed)
        self.loss, self.duplicate, self.spread, self.healed = loss, duplicate, spread, healed
        self.ends = [ReliableLink(CONFIG), ReliableLink(CONFIG)]
        self.received: list[list[Any]] = [[], []]
        self.now = 0
        self.flying: list[tuple[int, int, int, Frame]] = []
        self.numbers = count()
        self.transmitted = 0

    def transmit(self, end: int, frames: list[Frame]) -> None:
        for frame in frames:
            self.transmitted += 1
            bad = self.now < self.healed
            if bad and self.rng.random() < self.loss:
                continue
            copies = 2 if bad and self.rng.random() < self.duplicate else 1
            for _ in range(copies):
                late = self.rng.randrange(self.spread) if bad else 0
                heapq.heappush(self.flying, (self.now + MILLISECOND + late, next(self.numbers), 1 - end, frame))

    def send(self, end: int, payload: Any) -> None:
        self.transmit(end, self.ends[end].send(payload, self.now))

    def step(self) -> bool:
        """The next arrival or deadline; False if there is none."""
        deadlines = [(link.deadline, end) for end, link in enumerate(self.ends) if link.deadline is not None]
        due = min(deadlines, default=None)
        if self.flying and (due is None or self.flying[0][0] <= due[0]):
            self.now, _, end, frame = heapq.heappop(self.flying)
            payloads, frames = self.ends[end].receive(frame, self.now)
            self.received[end] += payloads
            self.transmit(end, frames)
            return True
        if due is None:
            return False
        self.now = max(self.now, due[0])
        self.transmit(due[1], self.ends[due[1]].on_deadline(self.now))
        return True

    def settle(self) -> None:
        for _ in range(200_000):
            if not self.step():
                return
        raise AssertionError("the link never comes to rest")


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    loss=st.floats(0, 0.6),
    duplicate=st.floats(0, 0.6),
    spread=st.integers(1, 500 * MILLISECOND),
    healed=st.integers(0, 20 * SECOND),
    sends=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 300)), max_size=60),
)
def test_everything_arrives_once_and_in_order(
    seed: int, loss: float, duplicate: float, spread: int, healed: int, sends: list[tuple[int, int]]
) -> None:
    pair = Pair(seed, loss, duplicate, spread, healed)
    sent: list[list[int]] = [[], []]
    for number, (end, pause) in enumerate(sends):
        pair.send(end, number)
        sent[end].append(number)
        until = pair.now + pause * MILLISECOND
        while pair.now < until and pair.step():
            assert pair.received[1] == sent[0][: len(pair.received[1])]
            assert pair.received[0] == sent[1][: len(pair.received[0])]
    pair.settle()
    assert pair.received == [sent[1], sent[0]]
    assert all(link.outstanding == 0 for link in pair.ends)


def test_a_healthy_link_sends_nothing_twice() -> None:
    pair = Pair(0, 0, 0, 1, 0)
    for number in range(10):
        pair.send(0, number)
    pair.settle()
    assert pair.received[1] == list(range(10))
    assert pair.transmitted == 11, "ten frames and one acknowledgement"


def test_answers_carry_the_acknowledgement() -> None:
    first, second = ReliableLink(CONFIG), ReliableLink(CONFIG)
    (question,) = first.send("question", 0)
    assert second.receive(question, 1) == (["question"], [])
    (answer,) = second.send("answer", 2)
    assert answer.acknowledged == 1
    first.receive(answer, 3)
    assert first.outstanding == 0
    assert second.deadline == 2 + CONFIG.resend_after


def test_pauses_between_resends_grow_up_to_the_limit() -> None:
    link = ReliableLink(CONFIG)
    link.send("x", 0)
    pauses, now = [], 0
    for _ in range(10):
        assert link.deadline is not None
        pauses.append(link.deadline - now)
        now = link.deadline
        assert [frame.payload for frame in link.on_deadline(now)] == ["x"]
    assert pauses[:3] == [CONFIG.resend_after, 2 * CONFIG.resend_after, 4 * CONFIG.resend_after]
    assert pauses[-1] == CONFIG.resend_limit


def test_no_more_than_the_window_is_under_way() -> None:
    pair = Pair(0, 0, 0, 1, 0)
    for number in range(links.WINDOW + 10):
        pair.send(0, number)
    assert pair.transmitted == links.WINDOW
    pair.settle()
    assert pair.received[1] == list(range(links.WINDOW + 10))


def test_a_receiver_keeps_no_more_than_the_window() -> None:
    link = ReliableLink(CONFIG)
    assert link.receive(Frame(links.WINDOW + 1, 0, "far"), 0)[0] == []
    assert link.receive(Frame(2, 0, "next"), 0)[0] == []
    assert link.receive(Frame(1, 0, "first"), 0)[0] == ["first", "next"]


def test_a_link_that_overflows_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "QUEUE_LIMIT", 3)
    link = ReliableLink(CONFIG)
    for number in range(links.WINDOW + 4):
        link.send(number, 0)
    assert link.broken
    assert link.deadline is None
    assert link.send("more", 0) == []
    assert link.receive(Frame(1, 0, "x"), 0) == ([], [])
