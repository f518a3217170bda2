"""The relay hands on what it gets, in order and whole, as late as it is told; last words arrive before the end."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

from thornback.transports import relay
from thornback.transports.links import listen
from thornback.transports.relay import LinkRule, Rules
from thornback.transports.relay_process import Relay

LIMIT = 10.0


class Setting:
    """A relay, driven by hand, and connections that lead through it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.relay = Relay(listen(str(directory / relay.FILE)))
        self.server = listen(str(directory / "server"))
        self.control = self._socket()
        self.control.connect(str(directory / relay.FILE))

    @staticmethod
    def _socket() -> socket.socket:
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def turn(self) -> None:
        loop = self.relay.loop
        loop.dispatch(loop.poll(min(loop.next_deadline(), loop.now() + 5_000_000)))

    def until(self, condition: Callable[[], bool], expected: str) -> None:
        deadline = monotonic() + LIMIT
        while not condition():
            assert monotonic() < deadline, expected
            self.turn()

    def connected(self, between: str) -> tuple[socket.socket, socket.socket]:
        """Both ends of a connection."""
        client = self._socket()
        relay.dial(client, self.directory, str(self.directory / "server"), between)
        accepted: list[socket.socket] = []

        def accept() -> bool:
            try:
                accepted.append(self.server.accept()[0])
            except BlockingIOError:
                return False
            return True

        self.until(accept, "the relay should connect to where the connection is to lead")
        for sock in (client, *accepted):
            sock.setblocking(False)
        return client, accepted[0]

    def rules(self, *rules: LinkRule) -> None:
        self.control.sendall(relay.frame_for_relay(Rules(rules)))
        self.until(lambda: self.relay.rules == rules, "the rules should be in force")

    def receive(self, sock: socket.socket, size: int) -> bytes:
        data = b""

        def read() -> bool:
            nonlocal data
            try:
                data += sock.recv(1 << 20)
            except BlockingIOError:
                pass
            return len(data) >= size

        self.until(read, f"{size} bytes should arrive")
        return data

    def nothing_comes(self, sock: socket.socket, seconds: float) -> None:
        end = monotonic() + seconds
        while monotonic() < end:
            self.turn()
            with pytest.raises(BlockingIOError):
                sock.recv(1)


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    made = Setting(tmp_path)
    yield made
    for pair in list(made.relay.pairs):
        pair._close()
    made.control.close()
    made.server.close()
    made.relay.loop.close()


def test_bytes_pass_both_ways_in_order(setting: Setting) -> None:
    client, server = setting.connected(relay.OWNER_WORKER)
    for number in range(100):
        client.send(b"%3d" % number)
        server.send(b"%3d" % -number)
        setting.turn()
    assert setting.receive(server, 300) == b"".join(b"%3d" % number for number in range(100))
    assert setting.receive(client, 300).startswith(b"  0 -1 -2")


def test_more_than_all_buffers_hold_waits_for_the_reader(setting: Setting) -> None:
    client, server = setting.connected(relay.OWNER_WORKER)
    data = memoryview(os.urandom(30_000_000))
    sent, received = 0, b""

    def send() -> int:
        try:
            return client.send(data[sent : sent + (1 << 20)])
        except BlockingIOError:
            return 0

    for _ in range(300):
        sent += send()
        setting.turn()
    held = sum(way.size for pair in setting.relay.pairs for way in pair._ways)
    assert sent < len(data) // 2 and held < 6_000_000, "nobody reads: the sender must be held up"
    while len(received) < len(data):
        received += setting.receive(server, 1)
        sent += send()
    assert received == data


def test_descriptors_pass(setting: Setting, tmp_path: Path) -> None:
    client, server = setting.connected(relay.DRIVER_NODE)
    (tmp_path / "file").write_text("content")
    with open(tmp_path / "file") as file:
        socket.send_fds(server, [b"here"], [file.fileno()])
    found: list[int] = []

    def receive() -> bool:
        try:
            found.extend(socket.recv_fds(client, 10, 1)[1])
        except BlockingIOError:
            pass
        return bool(found)

    setting.until(receive, "the descriptor should arrive with its byte")
    with os.fdopen(found[0]) as passed:
        assert passed.read() == "content"


def test_a_cut_holds_back_what_it_concerns_and_the_end_of_a_process_too(setting: Setting) -> None:
    client, server = setting.connected(relay.WORKER_NODE)
    other, other_server = setting.connected(relay.OWNER_WORKER)
    setting.rules(LinkRule(relay.WORKER_NODE, cut=True))
    client.send(b"last words")
    client.close()
    other.send(b"untouched")
    assert setting.receive(other_server, 9) == b"untouched"
    setting.nothing_comes(server, 0.1)
    setting.rules()
    assert setting.receive(server, 10) == b"last words"
    setting.until(lambda: server.recv(1) == b"", "after the last words the connection should be closed")


def test_delays_and_bandwidth_make_bytes_late_and_keep_their_order(setting: Setting) -> None:
    client, server = setting.connected(relay.OWNER_WORKER)
    setting.rules(LinkRule("all", delay=50_000_000, jitter=50_000_000))
    start = monotonic()
    for number in range(10):
        client.send(b"%d" % number)
        setting.turn()
    assert setting.receive(server, 10) == b"0123456789"
    assert monotonic() - start > 0.05
    setting.rules(LinkRule("all", bandwidth=0.001))
    start = monotonic()
    client.send(bytes(100_000))
    setting.receive(server, 100_000)
    assert monotonic() - start > 0.09, "100 kB at 1 MB/s take 0.1 s"


def test_rules_end_with_the_connection_that_set_them(setting: Setting) -> None:
    client, server = setting.connected(relay.OWNER_WORKER)
    setting.rules(LinkRule("all", cut=True))
    client.send(b"held")
    setting.nothing_comes(server, 0.05)
    setting.control.close()
    assert setting.receive(server, 4) == b"held"


def test_a_connection_to_nobody_is_closed(setting: Setting) -> None:
    client = setting._socket()
    relay.dial(client, setting.directory, str(setting.directory / "nobody"), relay.OWNER_WORKER)
    client.setblocking(False)

    def closed() -> bool:
        try:
            return client.recv(1) == b""
        except BlockingIOError:
            return False

    setting.until(closed, "who connects to a process that is gone should see that")
