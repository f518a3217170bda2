"""What a node process is told when it is started."""

from __future__ import annotations

from typing import Any

import msgspec


class NodeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Travels as JSON on the command line."""

    directory: str
    """Of the session; made and locked by the starter."""
    name: str = "head"
    resources: dict[str, int]
    """Integer units, see :mod:`thornback.core.resources`."""
    labels: dict[str, str] = {}
    object_store_memory: int
    """Bytes."""
    config: dict[str, Any] = {}
    sys_path: list[str]
    cwd: str
    listener_fd: int
    """Listens on the node's socket file, so that others can connect before the process is up."""
    relay_fd: int = -1
    """Listens on the relay's socket file; -1: the session has no relay."""
    lock_fd: int
    """Holds the lock of the session directory."""
    life_fd: int = -1
    """One end of a socket pair whose other end is its driver's: the node ends when that closes; -1: it lives on."""


to_json = msgspec.json.Encoder().encode
from_json = msgspec.json.Decoder(NodeOptions).decode
