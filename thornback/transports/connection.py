"""One stream socket: frames in, frames out, never blocking."""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Callable

from thornback.core.ids import Address
from thornback.transports.loop import EventLoop
from thornback.transports.wire import FRAME_LIMIT, HEADER

SOCKET_BUFFER = 1 << 20
_READ = select.EPOLLIN
_READ_WRITE = select.EPOLLIN | select.EPOLLOUT
_HEADER_SIZE = HEADER.size
_VECTORS = 64
_scratch = memoryview(bytearray(1 << 18))


def prepare(sock: socket.socket) -> None:
    """Non-blocking, with large kernel buffers."""
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)


class Connection:
    """A connected socket in the loop.

    Args:
        on_frame: called with the connection, the flags and the body (valid only during the call) of each frame.
        on_closed: called once, with the connection and a reason, after the last frame.
    """

    __slots__ = (
        "_broken",
        "_fd",
        "_loop",
        "_on_closed",
        "_on_frame",
        "_outgoing",
        "_partial",
        "_wanted",
        "open",
        "peer",
        "sock",
    )

    def __init__(
        self,
        loop: EventLoop,
        sock: socket.socket,
        on_frame: Callable[[Connection, int, memoryview], None],
        on_closed: Callable[[Connection, str], None],
    ) -> None:
        self._loop = loop
        self.sock = sock
        self._fd = sock.fileno()
        self._on_frame = on_frame
        self._on_closed = on_closed
        self._outgoing: deque[bytes | memoryview] = deque()
        self._partial: bytearray | None = None
        self._wanted = _HEADER_SIZE
        self._broken = False  # cannot be written to any more; what the peer sent before is still to be read
        self.peer: Address = b""
        """Whom it leads to; empty until the first frame has told."""
        self.open = True
        loop.add(self._fd, _READ, self._on_events)

    @property
    def unsent(self) -> bool:
        """Whether bytes wait for room in the kernel's buffer."""
        return bool(self._outgoing)

    def write(self, frame: bytes | bytearray) -> None:
        """Send a frame, after all earlier ones. The caller may reuse ``frame`` afterwards."""
        if self._broken or not self.open:
            return
        if self._outgoing:
            self._outgoing.append(bytes(frame))
            return
        try:
            sent = self.sock.send(frame)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._broken = True
            return
        if sent < len(frame):
            self._outgoing.append(memoryview(bytes(frame))[sent:])
            self._loop.modify(self._fd, _READ_WRITE)

    def _on_events(self, mask: int) -> None:
        if mask & select.EPOLLOUT:
            self._write_more()
        if self.open and mask & ~select.EPOLLOUT:
            self._read()

    def _write_more(self) -> None:
        outgoing = self._outgoing
        try:
            while outgoing:
                parts = [outgoing[i] for i in range(min(len(outgoing), _VECTORS))]
                sent = self.sock.sendmsg(parts)
                for part in parts:
                    if sent < len(part):
                        outgoing[0] = memoryview(part)[sent:]
                        return
                    sent -= len(part)
                    outgoing.popleft()
        except BlockingIOError:
            return
        except OSError:
            self._broken = True
            outgoing.clear()
        if self.open:
            self._loop.modify(self._fd, _READ)

    def _read(self) -> None:
        try:
            count = self.sock.recv_into(_scratch)
        except BlockingIOError:
            return
        except OSError as error:
            self.close(error.strerror or "broken connection")
            return
        if count == 0:
            self.close("connection closed")
            return
        partial = self._partial
        if partial is None:
            self._take(_scratch[:count])
            return
        partial += _scratch[:count]
        if len(partial) >= self._wanted:
            self._partial = None
            self._take(memoryview(partial))

    def _take(self, data: memoryview) -> None:
        """Hand out the whole frames in ``data`` and keep the rest."""
        start, end = 0, len(data)
        wanted = _HEADER_SIZE
        while end - start >= _HEADER_SIZE:
            size, flags = HEADER.unpack_from(data, start)
            if size > FRAME_LIMIT:
                self.close("oversized frame")
                return
            wanted = _HEADER_SIZE + size
            if end - start < wanted:
                break
            self._on_frame(self, flags, data[start + _HEADER_SIZE : start + wanted])
            if not self.open:
                return
            start += wanted
            wanted = _HEADER_SIZE
        if start < end:
            self._partial = bytearray(data[start:])
            self._wanted = wanted

    def close(self, reason: str) -> None:
        """Close the socket and tell; does nothing when repeated."""
        if not self.open:
            return
        self.open = False
        self._outgoing.clear()
        self._loop.remove(self._fd)
        self.sock.close()
        self._on_closed(self, reason)
