"""The process that all connections between the processes of a node lead through, in sessions that have a relay.

The bytes of each direction leave in the order in which they came, and none is lost while both ends live: these are
streams, and the engine relies on that. When one end closes, what it has sent still arrives, then the other end is
closed.
"""

from __future__ import annotations

import os
import random
import select
import signal
import socket
from collections import deque
from typing import NamedTuple

from thornback.transports.connection import prepare
from thornback.transports.loop import EventLoop, LoopTimer
from thornback.transports.parent_death import die_with
from thornback.transports.relay import LinkRule, Rules, Through, combine, decode
from thornback.transports.template import close_all_but
from thornback.transports.wire import FRAME_LIMIT, HEADER

BANDWIDTH = 1e9
"""Bytes per second, of which a fault leaves a part."""
_PIECE = 1 << 18
_MOST = 4 << 20
"""Bytes that wait in one direction before no more are read."""
_LAST_WORDS = 1_000_000_000
"""Nanoseconds for what is on its way when the node ends."""
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


def fork(listener: socket.socket, keep: set[int]) -> int:
    """Start the relay as a child of this process; it ends with it. Returns its pid.

    Args:
        listener: on the relay's socket file.
        keep: descriptors that the child must not close.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        close_all_but({0, 1, 2, listener.fileno(), *keep})
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        relay = Relay(listener)
        signal.signal(signal.SIGTERM, lambda *_: relay.stop())
        die_with(parent, signal.SIGTERM)
        relay.run()
    finally:
        os._exit(0)


class Relay:
    """Accepts connections and leads them on."""

    def __init__(self, listener: socket.socket) -> None:
        self.loop = EventLoop()
        self.rules: tuple[LinkRule, ...] = ()
        self.pairs: dict[Pair, None] = {}
        self._listener = listener
        self._end = 0
        listener.setblocking(False)
        self.loop.add(listener.fileno(), _IN, self._accept)

    def stop(self) -> None:
        """End, after what is on its way has arrived; also from a signal handler."""
        self._end = self._end or self.loop.now() + _LAST_WORDS
        self.loop.kick()

    def run(self) -> None:
        """Until :meth:`stop`."""
        while not self._end:
            self.loop.dispatch(self.loop.poll(self.loop.next_deadline()))
        self.set_rules(())
        while self.loop.now() < self._end:
            events = self.loop.poll(0)
            if not events:
                if not any(pair.is_busy for pair in self.pairs):
                    return
                events = self.loop.poll(min(self._end, self.loop.next_deadline()))
            self.loop.dispatch(events)

    def set_rules(self, rules: tuple[LinkRule, ...]) -> None:
        """These are in force from now on."""
        self.rules = rules
        for pair in list(self.pairs):
            pair.rules_changed()

    def _accept(self, _mask: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        sock.setblocking(False)
        _Caller(self, sock)


class _Caller:
    """A connection to the relay that has not said yet what it is for, or that sets rules."""

    def __init__(self, relay: Relay, sock: socket.socket) -> None:
        self._relay = relay
        self._sock = sock
        self._data = bytearray()
        self._rules = False
        relay.loop.add(sock.fileno(), _IN, self._read)

    def _read(self, _mask: int) -> None:
        """Not a byte more than the next frame: what follows is for others."""
        try:
            data = self._sock.recv(self._missing())
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close()
            return
        self._data += data
        if len(self._data) < HEADER.size or self._missing():
            return
        message = decode(memoryview(self._data)[HEADER.size :])
        self._data = bytearray()
        if isinstance(message, Rules):
            self._rules = True
            self._relay.set_rules(message.rules)
        else:
            self._lead_on(message)

    def _missing(self) -> int:
        if len(self._data) < HEADER.size:
            return HEADER.size - len(self._data)
        size, _ = HEADER.unpack_from(self._data)
        return int(min(size, FRAME_LIMIT)) + HEADER.size - len(self._data)

    def _lead_on(self, message: Through) -> None:
        self._relay.loop.remove(self._sock.fileno())
        target = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            target.connect(message.path)
        except OSError:
            target.close()
            self._sock.close()
        else:
            self._relay.pairs[Pair(self._relay, self._sock, target, message.between)] = None

    def _close(self) -> None:
        self._relay.loop.remove(self._sock.fileno())
        self._sock.close()
        if self._rules:
            self._relay.set_rules(())


class _Piece(NamedTuple):
    """Bytes on their way, and descriptors that travel with the first of them."""

    leaves: int
    data: bytes | memoryview
    fds: list[int]


class _Way:
    """One direction of a pair."""

    __slots__ = ("ended", "last", "pieces", "size", "stuck", "timer")

    def __init__(self) -> None:
        self.pieces: deque[_Piece] = deque()
        self.size = 0
        self.last = 0
        """When the latest piece leaves."""
        self.ended = False
        """Whether its source has closed."""
        self.stuck = False
        """Whether its target takes nothing at the moment."""
        self.timer: LoopTimer | None = None


class Pair:
    """Two connected sockets whose bytes are handed on: those of the first to the second, and the other way round."""

    def __init__(self, relay: Relay, first: socket.socket, second: socket.socket, between: str) -> None:
        self._relay = relay
        self._loop = relay.loop
        self._between = between
        self._socks = (first, second)
        self._ways = (_Way(), _Way())
        self._rule = combine(relay.rules, between)
        self._open = True
        for index, sock in enumerate(self._socks):
            prepare(sock)
            self._loop.add(sock.fileno(), _IN, lambda mask, index=index: self._ready(index, mask))  # type: ignore[misc]

    @property
    def is_busy(self) -> bool:
        """Whether something is on its way."""
        return any(way.pieces for way in self._ways)

    def rules_changed(self) -> None:
        """What is on its way leaves as it was to, unless there is a cut now or was one before."""
        self._rule = combine(self._relay.rules, self._between)
        for index in (0, 1):
            if self._open:
                self._hand_on(index)

    def _ready(self, index: int, mask: int) -> None:
        if mask & _OUT and self._open:
            self._ways[1 - index].stuck = False
            self._hand_on(1 - index)
        if mask & ~_OUT and self._open:
            self._read(index)

    def _read(self, index: int) -> None:
        way = self._ways[index]
        try:
            data, fds, _, _ = socket.recv_fds(self._socks[index], _PIECE, 4)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if data:
            self._take(way, data, list(fds))
        else:
            self._source_closed(index)
        if self._open:
            self._hand_on(index)

    def _take(self, way: _Way, data: bytes, fds: list[int]) -> None:
        rule = self._rule
        leaves = self._loop.now() + rule.delay + int(rule.jitter * random.random())
        way.last = max(way.last, leaves)
        if rule.bandwidth != 1.0:
            way.last += int(len(data) / (BANDWIDTH * rule.bandwidth) * 1e9)
        way.pieces.append(_Piece(way.last, data, fds))
        way.size += len(data)

    def _source_closed(self, index: int) -> None:
        """What it has sent still arrives; what was for it has nobody to go to."""
        self._ways[index].ended = True
        self._loop.remove(self._socks[index].fileno())  # or it would be reported again and again
        back = self._ways[1 - index]
        back.pieces.clear()
        back.size = 0
        back.stuck = False

    def _hand_on(self, index: int) -> None:
        way, target = self._ways[index], self._socks[1 - index]
        if way.timer is not None:
            way.timer.cancel()
            way.timer = None
        try:
            while way.pieces and not self._rule.cut and way.pieces[0].leaves <= self._loop.now():
                self._send(way, target)
        except BlockingIOError:
            way.stuck = True
        except OSError:
            self._close()
            return
        if way.pieces and not way.stuck and not self._rule.cut:
            delay = max(1, way.pieces[0].leaves - self._loop.now())
            way.timer = self._loop.call_after(delay, lambda: self._hand_on(index))
        if way.ended and not way.pieces:
            self._close()
        else:
            self._watch()

    @staticmethod
    def _send(way: _Way, target: socket.socket) -> None:
        piece = way.pieces[0]
        sent = socket.send_fds(target, [piece.data], piece.fds) if piece.fds else target.send(piece.data)
        for fd in piece.fds:
            os.close(fd)
        way.size -= sent
        if sent < len(piece.data):
            way.pieces[0] = _Piece(piece.leaves, memoryview(piece.data)[sent:], [])
        else:
            way.pieces.popleft()

    def _watch(self) -> None:
        """Read what there is room for, from those that have not closed, and write to those that others wait for."""
        for index, sock in enumerate(self._socks):
            way, back = self._ways[index], self._ways[1 - index]
            if not way.ended:
                events = 0 if way.size > _MOST or back.ended else _IN
                self._loop.modify(sock.fileno(), events | (_OUT if back.stuck else 0))

    def _close(self) -> None:
        self._open = False
        del self._relay.pairs[self]
        for way in self._ways:
            if way.timer is not None:
                way.timer.cancel()
            for piece in way.pieces:
                for fd in piece.fds:
                    os.close(fd)
            way.pieces.clear()
        for sock in self._socks:
            self._loop.remove(sock.fileno())
            sock.close()
