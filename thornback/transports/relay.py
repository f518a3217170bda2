"""Sessions whose connections lead through a relay, a process that holds back what passes: for faults.

It is part of sessions with the setting ``relayed_links``, and runs in :mod:`thornback.transports.relay_process`.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec

from thornback.transports.wire import HEADER

FILE = "relay"
"""Its socket file in the session directory."""
DRIVER_NODE, WORKER_NODE, OWNER_WORKER = "driver_node", "worker_node", "owner_worker"


class Through(msgspec.Struct, frozen=True, array_like=True, tag="through"):
    """Any process to the relay, first: lead this connection to that socket file; what follows is not for you."""

    path: str
    between: str
    """:data:`DRIVER_NODE`, :data:`WORKER_NODE` or :data:`OWNER_WORKER`."""


class LinkRule(msgspec.Struct, frozen=True, array_like=True):
    """What happens to some connections. Times are nanoseconds."""

    between: str
    """As in :class:`Through`; ``all``: to every one."""
    cut: bool = False
    delay: int = 0
    jitter: int = 0
    bandwidth: float = 1.0
    """Part of the bandwidth that is left."""


class Rules(msgspec.Struct, frozen=True, array_like=True, tag="rules"):
    """Injector to the relay: these are in force from now on, and no others, until this connection closes."""

    rules: tuple[LinkRule, ...]


_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Through | Rules).decode


def frame_for_relay(message: Through | Rules) -> bytes:
    """The bytes of a message to the relay."""
    body = _encode(message)
    return HEADER.pack(len(body), 0) + body


def is_relayed(directory: Path) -> bool:
    """Whether the connections of a session lead through a relay."""
    return (directory / FILE).exists()


def dial(sock: socket.socket, directory: Path, path: str, between: str) -> None:
    """Connect ``sock`` with the socket file ``path`` of a session: through its relay, if it has one."""
    if is_relayed(directory):
        sock.connect(str(directory / FILE))
        sock.sendall(frame_for_relay(Through(path, between)))
    else:
        sock.connect(path)


def combine(rules: Sequence[LinkRule], between: str) -> LinkRule:
    """One rule with the effect of all that concern such connections."""
    chosen = [rule for rule in rules if rule.between in ("all", between)]
    bandwidth = 1.0
    for rule in chosen:
        bandwidth *= rule.bandwidth
    return LinkRule(
        between,
        any(rule.cut for rule in chosen),
        sum(rule.delay for rule in chosen),
        sum(rule.jitter for rule in chosen),
        bandwidth,
    )
