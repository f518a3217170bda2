"""All connections of one process with the other processes of its node.

Every process listens on one socket file. Two processes connect directly when one first sends to the other. Each of them
then sends through one and the same connection for as long as both live, which keeps each direction in order even when
both have connected at the same time.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec

from thornback.core.ids import GCS, NODE_ID_SIZE, WORKER_ID_SIZE, Address, NodeId, node_of
from thornback.core.messages import Message, decode
from thornback.transports import relay
from thornback.transports.connection import Connection, prepare
from thornback.transports.loop import EventLoop
from thornback.transports.wire import FROM_GCS, TO_GCS, Hello, Join, decode_opening, frame_of, opening_frame

Deliver = Callable[[Address, Address, Message], None]
"""Called with target, sender and message."""

_BACKLOG = 4096
_RETRY = 1_000_000
_LAST_WORDS = 5_000_000
"""Nanoseconds between a refused connection and the report that the peer is down, to read what it sent before."""
_ENDED_LIMIT = 10_000
_frame = bytearray()


def socket_path(directory: Path, address: Address) -> str:
    """The socket file of a process; short, since the kernel allows 107 bytes."""
    if address == GCS or len(address) == NODE_ID_SIZE:
        return str(directory / "node")
    return str(directory / f"w{int.from_bytes(address[NODE_ID_SIZE:], 'big'):x}")


def listen(path: str) -> socket.socket:
    """A listening socket file at ``path``, for this user only."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        sock.bind(path)
    finally:
        os.umask(mask)
    sock.listen(_BACKLOG)
    sock.setblocking(False)
    return sock


class _Peer:
    """A process that this one exchanges messages with."""

    __slots__ = ("address", "connection", "connections", "flags", "messages", "refused", "sealed")

    def __init__(self, address: Address) -> None:
        self.address = address
        self.connection: Connection | None = None
        """The one that we send through."""
        self.connections: list[Connection] = []
        self.messages: list[Message] = []
        """Not yet encoded; all with the same :attr:`flags`."""
        self.flags = 0
        self.sealed: list[bytes] = []
        """Frames that go before :attr:`messages`."""
        self.refused = False

    def add(self, message: Message, flags: int) -> bool:
        """Queue a message; True if it is the first since the last flush."""
        first = not self.messages
        if first:
            self.flags = flags
        elif flags != self.flags:
            self.seal()
            self.flags = flags
        self.messages.append(message)
        return first and not self.sealed

    def seal(self) -> None:
        """Encode what is queued."""
        frame_of(self.messages, self.flags, _frame)
        self.sealed.append(bytes(_frame))
        self.messages.clear()


class Links:
    """Sends, receives and notices ends.

    Args:
        directory: of the session; holds the socket files.
        node_id: of this node.
        addresses: of this process; the first is the one it introduces itself with.
        deliver: called for every message that arrives, in a turn.
        peer_down: called once for each peer that has ended, in a turn, with a reason.
    """

    def __init__(
        self,
        loop: EventLoop,
        directory: Path,
        node_id: NodeId,
        addresses: tuple[Address, ...],
        deliver: Deliver,
        peer_down: Callable[[Address, str], None],
    ) -> None:
        self._loop = loop
        self._directory = directory
        self._node_id = node_id
        self._addresses = addresses
        self._deliver = deliver
        self._peer_down = peer_down
        self._peers: dict[Address, _Peer] = {}
        self._ended: dict[Address, None] = {}
        self._dirty: list[_Peer] = []
        self._listener: socket.socket | None = None
        self._unnamed: list[Connection] = []
        self.on_join: Callable[[Connection, Join], None] | None = None
        """Set in the node process: a driver wants to join."""

    # --- Sending ------------------------------------------------------------------------------------------------------

    def send(self, sender: Address, to: Address, message: Message) -> None:
        """Queue a message until :meth:`flush`."""
        flags = FROM_GCS if sender == GCS else 0
        if to == GCS:
            flags |= TO_GCS
            to = self._node_id
        peer = self._peers.get(to)
        if peer is None:
            if to in self._addresses or (flags & TO_GCS and GCS in self._addresses):
                target = GCS if flags & TO_GCS else to
                self._loop.soon.append(lambda: self._deliver(target, sender, message))
                return
            peer = self._new_peer(to)
            if peer is None:
                return
        if peer.add(message, flags):
            self._dirty.append(peer)

    def _new_peer(self, address: Address) -> _Peer | None:
        """None: the message vanishes, as the process has ended or nothing leads to its node."""
        if address in self._ended or node_of(address) != self._node_id:
            return None
        if len(address) not in (NODE_ID_SIZE, WORKER_ID_SIZE):
            raise ValueError(f"not an address: {address!r}")
        peer = self._peers[address] = _Peer(address)
        return peer

    def flush(self) -> None:
        """Hand all queued messages to the kernel, one frame per peer."""
        if not self._dirty:
            return
        dirty, self._dirty = self._dirty, []
        for peer in dirty:
            self._flush_peer(peer)

    def _flush_peer(self, peer: _Peer) -> None:
        connection = peer.connection or self._connect(peer)
        if connection is not None:
            for frame in peer.sealed:
                connection.write(frame)
            if peer.messages:
                frame_of(peer.messages, peer.flags, _frame)
                connection.write(_frame)
        peer.sealed.clear()
        peer.messages.clear()

    @property
    def unsent(self) -> bool:
        """Whether bytes wait for room in the kernel's buffers."""
        return any(connection.unsent for peer in self._peers.values() for connection in peer.connections)

    # --- Connections --------------------------------------------------------------------------------------------------

    def open(self, sock: socket.socket) -> None:
        """Accept connections from ``sock``, which listens."""
        self._listener = sock
        self._loop.add(sock.fileno(), 1, self._accept)

    def adopt(self, sock: socket.socket, address: Address) -> None:
        """Use a connection that was made and introduced elsewhere."""
        prepare(sock)
        self._name(Connection(self._loop, sock, self._on_frame, self._on_closed), address)

    def named(self, connection: Connection, address: Address) -> None:
        """The unnamed ``connection`` leads to ``address``."""
        self._unnamed.remove(connection)
        self._name(connection, address)

    def _name(self, connection: Connection, address: Address) -> None:
        connection.peer = address
        peer = self._peers.get(address)
        if peer is None:
            peer = self._peers[address] = _Peer(address)
        peer.connections.append(connection)
        if peer.connection is None:
            peer.connection = connection

    def _connect(self, peer: _Peer) -> Connection | None:
        if peer.refused:
            return None
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._dial(sock, peer.address)
        except OSError:
            sock.close()
            peer.refused = True
            self._loop.call_after(_LAST_WORDS, lambda: self._end_if_gone(peer, "cannot be reached"))
            return None
        prepare(sock)
        connection = Connection(self._loop, sock, self._on_frame, self._on_closed)
        self._name(connection, peer.address)
        connection.write(opening_frame(Hello(self._addresses[0])))
        return connection

    def _dial(self, sock: socket.socket, address: Address) -> None:
        """A Unix socket connects at once unless the other side's backlog is full."""
        with_node = NODE_ID_SIZE in (len(address), len(self._addresses[0]))
        between = relay.WORKER_NODE if with_node else relay.OWNER_WORKER
        relay.dial(sock, self._directory, socket_path(self._directory, address), between)

    def _accept(self, _mask: int) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        _pid, uid, _gid = struct.unpack("iII", credentials)
        if uid != os.geteuid():
            sock.close()
            return
        prepare(sock)
        self._unnamed.append(Connection(self._loop, sock, self._on_frame, self._on_closed))

    def _on_frame(self, connection: Connection, flags: int, body: memoryview) -> None:
        sender = connection.peer
        try:
            if not sender:
                self._on_opening(connection, decode_opening(body))
                return
            messages = decode(body)
        except (msgspec.DecodeError, msgspec.ValidationError):
            connection.close("sent something that is no message")
            return
        if flags & FROM_GCS:
            sender = GCS
        target = GCS if flags & TO_GCS else self._addresses[0]
        if target not in self._addresses:
            return
        deliver = self._deliver
        for message in messages:
            deliver(target, sender, message)

    def _on_opening(self, connection: Connection, opening: Hello | Join) -> None:
        if isinstance(opening, Hello):
            if opening.sender in self._ended:
                connection.close("has ended before")
            else:
                self.named(connection, opening.sender)
        elif self.on_join is not None:
            self.on_join(connection, opening)
        else:
            connection.close("cannot be joined")

    # --- Ends ---------------------------------------------------------------------------------------------------------

    def _on_closed(self, connection: Connection, reason: str) -> None:
        peer = self._peers.get(connection.peer)
        if peer is None or connection not in peer.connections:
            if connection in self._unnamed:
                self._unnamed.remove(connection)
            return
        peer.connections.remove(connection)
        if peer.connection is connection:
            peer.connection = None
            peer.refused = bool(peer.connections)
        self._end_if_gone(peer, reason)

    def _end_if_gone(self, peer: _Peer, reason: str) -> None:
        if peer.connections or self._peers.get(peer.address) is not peer:
            return
        del self._peers[peer.address]
        self._ended[peer.address] = None
        if len(self._ended) > _ENDED_LIMIT:
            del self._ended[next(iter(self._ended))]
        self._peer_down(peer.address, reason)

    def close(self) -> None:
        """Close all sockets without telling anyone in this process."""
        if self._listener is not None:
            self._loop.remove(self._listener.fileno())
            self._listener.close()
            self._listener = None
        self._peer_down = lambda address, reason: None
        for peer in list(self._peers.values()):
            for connection in list(peer.connections):
                connection.close("closed here")
        for connection in list(self._unnamed):
            connection.close("closed here")


class LinkTransport:
    """The :class:`thornback.core.ports.Transport` of one component: links with the sender's address filled in."""

    __slots__ = ("_links", "_sender")

    def __init__(self, links: Links, sender: Address) -> None:
        self._links = links
        self._sender = sender

    def send(self, to: Address, message: Message) -> None:
        """Send; a message to a process that has ended vanishes."""
        self._links.send(self._sender, to, message)
