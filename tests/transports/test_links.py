"""Connections between processes of one node: order, ends, and what strangers may do."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from thornback.core.ids import GCS, Address, worker_id
from thornback.core.messages import GetKey, KeyValue, Message, RegisterWorker
from thornback.transports.links import Links, listen, socket_path
from thornback.transports.loop import EventLoop
from thornback.transports.wire import HEADER

NODE = b"nodenode"
LIMIT = 10_000_000_000


class Process:
    """One process of a node, as far as its links go; all share the interpreter of the test."""

    def __init__(self, directory: Path, *addresses: Address) -> None:
        self.address = addresses[0]
        self.loop = EventLoop()
        self.got: list[tuple[Address, Address, Message]] = []
        self.down: list[Address] = []
        self.links = Links(
            self.loop,
            directory,
            NODE,
            addresses,
            lambda to, sender, message: self.got.append((to, sender, message)),
            lambda address, _reason: self.down.append(address),
        )
        self.links.open(listen(socket_path(directory, self.address)))

    def turn(self) -> None:
        self.links.flush()
        self.loop.dispatch(self.loop.poll(0))
        while self.loop.soon:
            self.loop.soon.popleft()()

    def numbers(self) -> list[int]:
        return [message.request for _, _, message in self.got]

    def end(self) -> None:
        self.links.close()
        self.loop.close()
        os.unlink(socket_path(self.links._directory, self.address))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def start_one(*addresses: Address) -> Process:
        started.append(Process(tmp_path, *addresses))
        return started[-1]

    yield start_one
    for process in started:
        process.links.close()


def run_until(condition: Callable[[], bool], *processes: Process) -> None:
    deadline = processes[0].loop.now() + LIMIT
    while not condition():
        assert processes[0].loop.now() < deadline, "the condition was not met in time"
        for process in processes:
            process.turn()


def test_messages_arrive_in_order_when_both_sides_connect_at_once(start: Callable[..., Process]) -> None:
    """Both processes send first; each must get all of the other's messages, in order, from the right address."""
    a, b = start(worker_id(NODE, 1)), start(worker_id(NODE, 2))
    for number in range(300):
        a.links.send(a.address, b.address, GetKey(number, "to b"))
        b.links.send(b.address, a.address, GetKey(number, "to a"))
        if number % 7 == 0:
            a.links.flush()
            b.links.flush()
        if number % 50 == 0:
            a.turn()
    run_until(lambda: len(a.got) == len(b.got) == 300, a, b)
    assert a.numbers() == b.numbers() == list(range(300))
    assert {sender for _, sender, _ in a.got} == {b.address}


def test_frames_larger_than_all_buffers_arrive_whole(start: Callable[..., Process]) -> None:
    """A sender never blocks: what the kernel does not take waits, and later messages stay behind it."""
    a, b = start(worker_id(NODE, 1)), start(worker_id(NODE, 2))
    value = os.urandom(20_000_000)
    a.links.send(a.address, b.address, KeyValue(0, value))
    a.links.flush()
    assert a.links.unsent
    for number in range(1, 20):
        a.links.send(a.address, b.address, KeyValue(number, b"small"))
        a.links.flush()
    run_until(lambda: len(b.got) == 20, a, b)
    assert b.numbers() == list(range(20))
    assert b.got[0][2] == KeyValue(0, value)
    assert not a.links.unsent


def test_a_node_process_answers_under_two_addresses(start: Callable[..., Process]) -> None:
    """The raylet and the GCS share a socket; a worker sees from which of them a message comes."""
    node, worker = start(NODE, GCS), start(worker_id(NODE, 1))
    worker.links.send(worker.address, GCS, GetKey(1, ""))
    worker.links.send(worker.address, NODE, RegisterWorker(7))
    run_until(lambda: len(node.got) == 2, node, worker)
    assert [to for to, _, _ in node.got] == [GCS, NODE]
    node.links.send(GCS, worker.address, KeyValue(1, None))
    node.links.send(NODE, worker.address, KeyValue(2, None))
    node.links.send(NODE, GCS, GetKey(3, ""))
    run_until(lambda: len(worker.got) == 2 and len(node.got) == 3, node, worker)
    assert [sender for _, sender, _ in worker.got] == [GCS, NODE]
    assert node.got[2] == (GCS, NODE, GetKey(3, ""))


def test_the_end_of_a_peer_is_told_once_and_after_its_last_words(start: Callable[..., Process]) -> None:
    """Two connections lead to the peer; its end counts when both are closed, and all it sent came before."""
    a, b = start(worker_id(NODE, 1)), start(worker_id(NODE, 2))
    a.links.send(a.address, b.address, GetKey(1, ""))
    b.links.send(b.address, a.address, GetKey(1, ""))
    run_until(lambda: bool(a.got and b.got), a, b)
    for number in range(2, 100):
        b.links.send(b.address, a.address, GetKey(number, ""))
    b.links.flush()
    b.end()
    a.links.send(a.address, b.address, GetKey(2, ""))
    run_until(lambda: bool(a.down), a)
    assert a.numbers() == list(range(1, 100))
    a.links.send(a.address, b.address, GetKey(3, ""))
    for _ in range(20):
        a.turn()
    assert a.down == [b.address]


def test_a_peer_that_cannot_be_reached_is_down(start: Callable[..., Process]) -> None:
    """The socket file of a dead process is there, but nobody listens, or it is gone."""
    a, b = start(worker_id(NODE, 1)), start(worker_id(NODE, 2))
    b.links.close()
    a.links.send(a.address, b.address, GetKey(1, ""))
    a.links.send(a.address, worker_id(NODE, 3), GetKey(1, ""))
    run_until(lambda: len(a.down) == 2, a)
    assert sorted(a.down) == [b.address, worker_id(NODE, 3)]


def test_a_stranger_that_sends_nonsense_is_thrown_out(start: Callable[..., Process], tmp_path: Path) -> None:
    """Neither a bad opening nor an endless frame does any harm to others."""
    a, b = start(worker_id(NODE, 1)), start(worker_id(NODE, 2))
    for nonsense in (HEADER.pack(3, 0) + b"abc", HEADER.pack(0xFFFFFFFF, 0)):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger:
            stranger.connect(socket_path(tmp_path, a.address))
            stranger.sendall(nonsense)
            stranger.setblocking(False)
            closed: list[bool] = []

            def is_closed(stranger: socket.socket = stranger, closed: list[bool] = closed) -> bool:
                try:
                    closed.append(stranger.recv(1) == b"")
                except BlockingIOError:
                    pass
                return bool(closed)

            run_until(is_closed, a)
    b.links.send(b.address, a.address, GetKey(5, ""))
    run_until(lambda: a.numbers() == [5], a, b)
    assert a.down == []
