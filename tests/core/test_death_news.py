"""Who is told of the end of a process: raylets, and the processes that ask them."""

from __future__ import annotations

from typing import Any

from thornback.core.deaths import DeadProcesses
from thornback.core.ids import worker_id
from thornback.core.messages import Death, Deaths, WatchProcesses
from thornback.core.owner.peers import Peers
from thornback.core.raylet.death_news import DeathNews

HERE, THERE, FAR = (b"\0" * 7 + bytes([number]) for number in (1, 2, 3))
ONE, TWO = worker_id(HERE, 1), worker_id(HERE, 2)
REMOTE = worker_id(THERE, 1)


class Sent(list[tuple[bytes, Any]]):
    """A transport that keeps what was sent."""

    def send(self, to: bytes, message: Any) -> None:
        self.append((to, message))

    def taken(self) -> list[tuple[bytes, Any]]:
        """What was sent since the last look."""
        found = list(self)
        self.clear()
        return found


class Node:
    """The news of one node, with what its raylet knows."""

    def __init__(self, *living: bytes) -> None:
        self.sent = Sent()
        self.dead = DeadProcesses()
        self.living = set(living)
        self.news = DeathNews(HERE, self.sent, self.dead.__contains__, self.living.__contains__)

    def end(self, process: bytes) -> None:
        """A process ends, or a raylet says so of its own."""
        self.dead.add(process)
        self.living.discard(process)
        self.news.ended(Death(process, "it was killed"))


def told(process: bytes, reason: str = "it was killed") -> Deaths:
    return Deaths((Death(process, reason),))


def test_whoever_watches_a_process_of_this_node_is_told_when_it_ends_and_nobody_else() -> None:
    node = Node(ONE, TWO)
    for watcher in (TWO, FAR):
        node.news.on_watch_processes(watcher, WatchProcesses((ONE,)))
    assert node.sent.taken() == [], "it lives"
    node.end(ONE)
    assert node.sent.taken() == [(TWO, told(ONE)), (FAR, told(ONE))]
    node.end(TWO)
    assert node.sent.taken() == [], "nobody has asked for that one"
    assert len(node.news) == 0


def test_whoever_asks_for_a_process_that_has_ended_is_told_at_once() -> None:
    node = Node(ONE)
    gone = told(TWO, "it has ended")
    for watcher in (ONE, FAR):
        node.news.on_watch_processes(watcher, WatchProcesses((TWO,)))
        assert node.sent.taken() == [(watcher, gone)], "its own raylet knows for certain that it does not live"
    node.dead.add(REMOTE)
    node.news.on_watch_processes(ONE, WatchProcesses((REMOTE,)))
    assert node.sent.taken() == [(ONE, told(REMOTE, "it has ended"))], "this node has learned of it before"


def test_a_process_elsewhere_is_asked_for_once_and_all_who_wait_here_are_told() -> None:
    node = Node(ONE, TWO)
    node.news.depend_on(REMOTE)
    for watcher in (ONE, TWO):
        node.news.on_watch_processes(watcher, WatchProcesses((REMOTE,)))
    assert node.sent.taken() == [(THERE, WatchProcesses((REMOTE,)))], "one question to the raylet of its node"
    node.end(REMOTE)
    assert node.sent.taken() == [(ONE, told(REMOTE)), (TWO, told(REMOTE))]


def test_the_end_of_a_node_takes_the_place_of_those_of_its_processes() -> None:
    node = Node(ONE)
    node.news.on_watch_processes(ONE, WatchProcesses((REMOTE,)))
    node.news.on_watch_processes(FAR, WatchProcesses((ONE,)))
    node.sent.clear()
    for dead in (THERE, FAR):
        node.dead.add(dead)
        node.news.node_died(dead)
    assert len(node.news) == 0, "of neither is anything left"
    node.end(ONE)
    assert node.sent.taken() == []


def test_a_process_asks_once_for_each_that_it_depends_on() -> None:
    sent = Sent()
    peers = Peers(ONE, sent)
    for process in (REMOTE, TWO, REMOTE, ONE, THERE, b"gcs"):
        peers.depend_on(process)
    asked = [(HERE, WatchProcesses((REMOTE,))), (HERE, WatchProcesses((TWO,)))]
    assert sent.taken() == asked, "nodes, the GCS and itself need not be watched"
    peers.died(REMOTE)
    peers.died(HERE)
    for process in (REMOTE, TWO):
        peers.depend_on(process)
    assert sent.taken() == [], "it knows already that they have ended"
