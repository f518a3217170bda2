"""Copies of objects from other nodes: one transfer per object however many ask, in chunks, within a byte budget."""

from __future__ import annotations

from collections import deque
from zlib import crc32

from thornback.core.config import Config
from thornback.core.ids import Address, NodeId, ObjectId, owner_of
from thornback.core.messages import CopyChanged, FetchObject, ObjectChunk, PinFailed, PinObject
from thornback.core.objects.entry import Entry
from thornback.core.objects.store import NodeStore
from thornback.core.ports import Ports

DAMAGE_LIMIT = 3
"""Damaged chunks after which a transfer goes on from another node, if there is one."""
DAMAGE_END = 30
"""Damaged chunks after which the only copy counts as unreadable."""


class Pull:
    """One object on its way to this node."""

    __slots__ = (
        "asked",
        "damaged",
        "entry",
        "nodes",
        "object_id",
        "readers",
        "received",
        "reserving",
        "seen",
        "size",
        "tried",
    )

    def __init__(self, object_id: ObjectId, size: int, nodes: tuple[NodeId, ...]) -> None:
        self.object_id = object_id
        self.size = size
        self.nodes = list(nodes)
        """Not tried yet; the first is asked now."""
        self.tried: list[NodeId] = []
        self.readers: dict[Address, int] = {}
        self.entry: Entry | None = None
        self.reserving = False
        """Room for it is waited for."""
        self.seen = -1
        """Bytes received at the last look for progress."""
        self.asked = 0
        self.received: dict[int, int] = {}
        """Offset to size of the chunks that have arrived."""
        self.damaged = 0
        """Chunks whose bytes had changed on the way."""


class Pulls:
    """All transfers to and from one node."""

    def __init__(self, node_id: NodeId, ports: Ports, store: NodeStore, config: Config) -> None:
        self.node_id = node_id
        self.transport = ports.transport
        self.trace = ports.trace
        self.store = store
        self.config = config
        self.active: dict[ObjectId, Pull] = {}
        self.queue: deque[Pull] = deque()
        self.in_flight = 0

    # --- Asking

    def on_pin_object(self, sender: Address, message: PinObject) -> None:
        """A process of this node wants to read an object."""
        object_id = message.object_id
        if self.store.is_dead(sender):
            return
        entry = self.store.entries.get(object_id)
        pull = self.active.get(object_id)
        if pull is not None:
            pull.readers[sender] = pull.readers.get(sender, 0) + 1
            known = {*pull.nodes, *pull.tried}
            pull.nodes.extend(node for node in message.nodes if node not in known and node != self.node_id)
        elif entry is None:
            self._start(sender, message)
        elif entry.sealed:
            self.store.pin_for(entry, sender)
        else:
            entry.on_seal.append(lambda _sealed: self.on_pin_object(sender, message))

    def _start(self, sender: Address, message: PinObject) -> None:
        nodes = tuple(node for node in message.nodes if node != self.node_id and not self.store.is_dead(node))
        pull = Pull(message.object_id, message.size, nodes)
        pull.readers[sender] = 1
        pull.tried = [node for node in message.nodes if node not in nodes]
        self.active[message.object_id] = pull
        self.queue.append(pull)
        self._watch(pull)
        self._continue()

    def _watch(self, pull: Pull) -> None:
        """A transfer that makes no progress starts again, with another node where there is one."""

        def look() -> None:
            if self.active.get(pull.object_id) is not pull:
                return
            received = sum(pull.received.values())
            if received == pull.seen and pull.asked and pull.nodes:
                self._rewind(pull)
                pull.nodes.append(pull.nodes.pop(0))
                if pull not in self.queue:
                    self.queue.append(pull)
                self._continue()
            pull.seen = received
            self._watch(pull)

        self.store.clock.call_after(self.config.pull_stall, look)

    def end_turn(self) -> None:
        """Ask for more, as far as there is room."""
        if self.queue:
            self._continue()

    def _continue(self) -> None:
        while self.queue:
            pull = self.queue[0]
            if not pull.nodes:
                self.queue.popleft()
                self._failed(pull, "no node has it")
                continue
            if pull.entry is None:
                if not pull.reserving:
                    self._reserve(pull)
                if pull.entry is None:
                    return
            if self.in_flight >= self.config.transfer_in_flight:
                return
            size = min(self.config.transfer_chunk, pull.size - pull.asked)
            self.in_flight += size
            self.transport.send(pull.nodes[0], FetchObject(pull.object_id, pull.asked, size))
            pull.asked += size
            if pull.asked >= pull.size:
                self.queue.popleft()

    def _reserve(self, pull: Pull) -> None:
        pull.reserving = True

        def then(entry: Entry | None, reason: str) -> None:
            pull.reserving = False
            if self.active.get(pull.object_id) is not pull:
                if entry is not None:
                    self.store.abort(entry)
                return
            pull.entry = entry
            if entry is None:
                if pull in self.queue:
                    self.queue.remove(pull)
                self._no_entry(pull, reason)
            if waited:
                self._continue()

        waited = False
        self.store.reserve(pull.object_id, pull.size, self.node_id, True, then)
        waited = True

    def _no_entry(self, pull: Pull, reason: str) -> None:
        """There is no room for a copy; or, without a reason, the object has been made here meanwhile."""
        if reason:
            self._failed(pull, reason, full=True)
            return
        del self.active[pull.object_id]
        for reader, count in pull.readers.items():
            for _ in range(count):
                self.on_pin_object(reader, PinObject(pull.object_id, pull.size, tuple(pull.nodes)))

    # --- Answers

    def on_object_chunk(self, sender: Address, message: ObjectChunk) -> None:
        """A part of an object, or the news that it is not there."""
        pull = self.active.get(message.object_id)
        if pull is None or not pull.nodes or pull.nodes[0] != sender or message.offset in pull.received:
            return
        if message.total < 0:
            self._next_node(pull)
            return
        if crc32(message.data) != message.checksum:
            self._damaged(pull, message)
            return
        assert pull.entry is not None
        self.in_flight -= len(message.data)
        pull.received[message.offset] = len(message.data)
        self.store.memory.write(pull.entry.offset + message.offset, [message.data])
        if sum(pull.received.values()) >= pull.size:
            self._complete(pull)
        self._continue()

    def _damaged(self, pull: Pull, chunk: ObjectChunk) -> None:
        """Bytes have changed on the way: ask for them again, and after some failures another node. The only copy is
        given up late: that loses the object."""
        pull.damaged += 1
        if self.trace.enabled:
            self.trace.event("object.chunk_damaged", pull.object_id, chunk.offset)
        if pull.damaged % (DAMAGE_LIMIT if len(pull.nodes) > 1 else DAMAGE_END) == 0:
            self._next_node(pull)
        else:
            self.transport.send(pull.nodes[0], FetchObject(pull.object_id, chunk.offset, len(chunk.data)))

    def _complete(self, pull: Pull) -> None:
        entry = pull.entry
        assert entry is not None
        del self.active[pull.object_id]
        for reader, count in pull.readers.items():
            for _ in range(count):
                self.store.pin(entry, reader)
        self.transport.send(owner_of(pull.object_id), CopyChanged(pull.object_id, True))
        self.store.seal(entry)

    def _next_node(self, pull: Pull) -> None:
        self._rewind(pull)
        pull.tried.append(pull.nodes.pop(0))
        if pull not in self.queue:
            self.queue.append(pull)
        self._continue()

    def _rewind(self, pull: Pull) -> None:
        self.in_flight -= pull.asked - sum(pull.received.values())
        pull.asked = 0
        pull.received.clear()

    def _failed(self, pull: Pull, reason: str, full: bool = False) -> None:
        del self.active[pull.object_id]
        if pull.reserving:
            self.store.room.withdraw((self.node_id, pull.object_id))
        if pull.entry is not None:
            self.store.abort(pull.entry)
        nodes = () if full else tuple(pull.tried)
        for reader, count in pull.readers.items():
            for _ in range(count):
                self.transport.send(reader, PinFailed(pull.object_id, nodes, reason, full))

    def process_died(self, address: Address) -> None:
        """A node or process has ended: ask others for what came from there, drop what it wanted."""
        for pull in list(self.active.values()):
            for reader in [reader for reader in pull.readers if reader.startswith(address)]:
                del pull.readers[reader]
            if address in pull.nodes[1:]:
                pull.nodes.remove(address)
                pull.tried.append(address)
            elif pull.nodes and pull.nodes[0] == address:
                self._next_node(pull)

    # --- Serving

    def on_fetch_object(self, sender: Address, message: FetchObject) -> None:
        """Another node wants a part of an object."""
        entry = self.store.entries.get(message.object_id)
        if entry is None or message.object_id in self.active:
            self.transport.send(sender, ObjectChunk(message.object_id, message.offset, -1, b""))
        elif not entry.sealed:
            entry.on_seal.append(lambda _sealed: self.on_fetch_object(sender, message))
        elif not self.store.is_dead(sender):
            self.store.bring(entry, lambda reason: self._serve(sender, message, entry, reason))

    def _serve(self, sender: Address, message: FetchObject, entry: Entry, reason: str | None) -> None:
        if reason is not None:
            self.transport.send(sender, ObjectChunk(message.object_id, message.offset, -1, b""))
            return
        view = self.store.memory.read(entry.offset + message.offset, message.size, _nothing)
        data = bytes(view)
        self.transport.send(sender, ObjectChunk(message.object_id, message.offset, entry.size, data, crc32(data)))


def _nothing() -> None:
    pass
