"""Durable keys and values, for libraries and the engine's own small facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.ids import Address
from thornback.core.messages import GetKey, KeyValue, PolicyRegistered, PutKey

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore

POLICY = "policy:"
"""Prefix of the keys of placement policies that users have registered."""


class KeyTable:
    """A string-keyed table."""

    name = "keys"

    def __init__(self, gcs: GlobalControlStore) -> None:
        self.gcs = gcs
        self.transport = gcs.ports.transport
        self.table: dict[str, bytes] = {}

    def load(self, key: bytes, value: bytes) -> None:
        """Take over a committed row."""
        self.table[key.decode()] = value

    def on_put_key(self, sender: Address, message: PutKey) -> None:
        """Set or delete a key."""
        key, value = message.key, message.value
        if value is not None and (message.overwrite or key not in self.table):
            self.table[key] = value
        elif value is None:
            self.table.pop(key, None)
        now = self.table.get(key)
        if key.startswith(POLICY) and now is not None:
            for node in self.gcs.nodes.alive():
                self.transport.send(node, PolicyRegistered(key.removeprefix(POLICY), now))
        self.gcs.journal.write(self.name, key.encode(), now)
        self.transport.send(sender, KeyValue(message.request, now))

    def welcome(self, node: Address) -> None:
        """Tell a node that has joined of the users' placement policies."""
        for key, blob in self.table.items():
            if key.startswith(POLICY):
                self.transport.send(node, PolicyRegistered(key.removeprefix(POLICY), blob))

    def on_get_key(self, sender: Address, message: GetKey) -> None:
        """Read a key."""
        self.transport.send(sender, KeyValue(message.request, self.table.get(message.key)))
