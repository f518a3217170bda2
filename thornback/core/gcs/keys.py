"""Durable keys and values, for libraries and the engine's own small facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from thornback.core.ids import Address, node_of
from thornback.core.messages import GetKey, KeyValue, PolicyRegistered, PutKey

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore

POLICY = "policy:"
"""Prefix of the keys of placement policies that users have registered."""


class Writer(msgspec.Struct, array_like=True):
    """Which writes of one process were made, also as it lies in the durable store."""

    answered: int = 0
    """It has the answers of all its requests up to this one."""
    made: dict[int, bytes | None] = {}
    """Later requests that were made, and what was there instead of the value, where another was there already."""

    def knows(self, request: int) -> bool:
        """Whether the request was made before."""
        return request <= self.answered or request in self.made

    def has_answers(self, answered: int) -> None:
        """It repeats nothing up to this request that it would want an answer to."""
        self.answered = max(self.answered, answered)
        self.made = {request: instead for request, instead in self.made.items() if request > self.answered}


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Writer).decode


class KeyTable:
    """A string-keyed table.

    A process repeats a write when it does not know whether the GCS, or the one before it, has heard it. Others may have
    written the key since, so a write is made once: which ones were made is durable together with them, for each process
    until it has the answers or has ended.
    """

    name = "keys"
    writers = "key_writers"

    def __init__(self, gcs: GlobalControlStore) -> None:
        self.gcs = gcs
        self.transport = gcs.ports.transport
        self.table: dict[str, bytes] = {}
        self._writers: dict[Address, Writer] = {}

    def load(self, key: bytes, value: bytes) -> None:
        """Take over a committed row."""
        self.table[key.decode()] = value

    def load_writer(self, key: bytes, value: bytes) -> None:
        """Take over a committed row."""
        self._writers[key] = _decode(value)

    def loaded(self) -> None:
        """All rows are here: writers on nodes that do not come back are missed."""
        for address in self._writers:
            self.gcs.nodes.expect(node_of(address))

    def on_put_key(self, sender: Address, message: PutKey) -> None:
        """Set or delete a key, once; the answer to a repeated request is that to the first."""
        writer = self._writers.setdefault(sender, Writer())
        if not writer.knows(message.request):
            writer.has_answers(message.answered)
            writer.made[message.request] = self._put(message)
            self.gcs.journal.write(self.writers, sender, _encode(writer))
        if message.request in writer.made:
            instead = writer.made[message.request]
            self.transport.send(sender, KeyValue(message.request, message.value if instead is None else instead))

    def _put(self, message: PutKey) -> bytes | None:
        """Make a write; what is there instead of the value, if that stays."""
        key, value = message.key, message.value
        if value is not None and not message.overwrite and key in self.table:
            return self.table[key]
        if value is None:
            self.table.pop(key, None)
        else:
            self.table[key] = value
            if key.startswith(POLICY):
                for node in self.gcs.nodes.alive():
                    self.transport.send(node, PolicyRegistered(key.removeprefix(POLICY), value))
        self.gcs.journal.write(self.name, key.encode(), value)
        return None

    def process_died(self, address: Address) -> None:
        """A process, or a node with its processes, repeats nothing any more."""
        for writer in [writer for writer in self._writers if writer.startswith(address)]:
            del self._writers[writer]
            self.gcs.journal.write(self.writers, writer, None)

    def welcome(self, node: Address) -> None:
        """Tell a node that has joined of the users' placement policies."""
        for key, blob in self.table.items():
            if key.startswith(POLICY):
                self.transport.send(node, PolicyRegistered(key.removeprefix(POLICY), blob))

    def on_get_key(self, sender: Address, message: GetKey) -> None:
        """Read a key."""
        self.transport.send(sender, KeyValue(message.request, self.table.get(message.key)))
