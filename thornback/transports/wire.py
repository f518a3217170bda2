"""What travels over a Unix socket: frames, and the first frame of a connection, which says who calls.

A frame is a header (body size, flags) and a body. The body of the first frame is one of the structs below, later ones
hold a list of :mod:`thornback.core.messages`. Nothing here is ever unpickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any

import msgspec

from thornback.core.ids import NodeId, WorkerId
from thornback.core.messages import Message

HEADER = Struct("<IB")
FRAME_LIMIT = 1 << 30
"""Largest body that is accepted, in bytes."""

TO_GCS = 1
"""Flag: for the GCS rather than the raylet of the node process."""
FROM_GCS = 2
"""Flag: sent by the GCS rather than the raylet of the node process."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """First frame of a process that has an id."""

    sender: WorkerId


class Join(msgspec.Struct, frozen=True, array_like=True, tag="join"):
    """First frame of a driver that wants to become part of the node; answered with :class:`Welcome`."""

    pid: int
    cwd: str
    sys_path: list[str]


class Welcome(msgspec.Struct, frozen=True, array_like=True):
    """The node's answer to :class:`Join`; the descriptor of the shared memory travels beside it."""

    worker_id: WorkerId
    node_id: NodeId
    memory_capacity: int
    config: dict[str, Any]


_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
_decode_opening = msgspec.msgpack.Decoder(Hello | Join).decode
decode_welcome = msgspec.msgpack.Decoder(Welcome).decode


def decode_opening(body: bytes | memoryview) -> Hello | Join:
    """The first frame of a connection.

    Raises:
        msgspec.DecodeError: it is neither of them.
    """
    opening: Hello | Join = _decode_opening(body)
    return opening


def frame_of(messages: Sequence[Message], flags: int, buffer: bytearray) -> None:
    """Replace the content of ``buffer`` by the frame that carries ``messages``."""
    _encoder.encode_into(messages, buffer, HEADER.size)
    HEADER.pack_into(buffer, 0, len(buffer) - HEADER.size, flags)


def opening_frame(opening: Hello | Join) -> bytes:
    """The frame that opens a connection."""
    body = encode(opening)
    return HEADER.pack(len(body), 0) + body
