"""Copies of objects from other nodes: one transfer per object however many ask, in chunks, within a byte budget."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple
from zlib import crc32

from thornback.core.backoff import Backoff
from thornback.core.config import Config
from thornback.core.ids import Address, NodeId, ObjectId, owner_of
from thornback.core.messages import (
    CopyChanged,
    FetchObject,
    ObjectChunk,
    ObjectTaken,
    PinFailed,
    PinObject,
    TakeObject,
    Wanted,
)
from thornback.core.objects.entry import Entry
from thornback.core.objects.room import Rank
from thornback.core.objects.store import NodeStore
from thornback.core.ports import Ports

DAMAGE_LIMIT = 3
"""Damaged chunks after which a transfer goes on from another node, if there is one."""
DAMAGE_END = 30
"""Damaged chunks after which the only copy counts as unreadable."""
NOT_HERE = -1


class Missing(NamedTuple):
    """Why an object could not be had."""

    nodes: tuple[NodeId, ...]
    """Those that do not have it."""
    reason: str
    full: bool = False
    """It exists, but there is no room for it here."""


Ended = Callable[["Entry | None", "Missing | None"], None]
"""Called with the object; or with why it is missing; or with neither: it has come in another way, or may still."""


class Pull:
    """One object on its way to this node."""

    __slots__ = (
        "asked",
        "damaged",
        "ended",
        "entry",
        "nodes",
        "object_id",
        "readers",
        "received",
        "reserving",
        "seen",
        "size",
        "stalls",
        "tried",
    )

    def __init__(self, object_id: ObjectId, size: int) -> None:
        self.object_id = object_id
        self.size = size
        self.nodes: list[NodeId] = []
        """Not tried yet; the first is asked now."""
        self.tried: list[NodeId] = []
        """They do not have it."""
        self.readers: dict[Address, int] = {}
        self.ended: list[Ended] = []
        """Called, besides the readers, when it is over."""
        self.entry: Entry | None = None
        self.reserving = False
        """Room for it is waited for."""
        self.stalls = 0
        """Looks in a row that found no progress."""
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
        """Those that have room and are not asked for as a whole."""
        self.without_room: deque[Pull] = deque()
        self.in_flight = 0
        self._backoff = Backoff(config.pull_stall, config.pull_stall_limit)
        self._random = ports.random.stream("pull-stall")

    # --- Asking

    def on_pin_object(self, sender: Address, message: PinObject) -> None:
        """A process of this node wants to read an object."""
        object_id = message.object_id
        if self.store.is_dead(sender):
            return
        entry = self.store.entries.get(object_id)
        pull = self.active.get(object_id)
        if pull is not None or entry is None:
            pull = self._pull(object_id, message.size, message.nodes)
            pull.readers[sender] = pull.readers.get(sender, 0) + 1
            self._continue()
        elif entry.sealed:
            self.store.pin_for(entry, sender)
        else:
            entry.on_seal.append(lambda _sealed: self.on_pin_object(sender, message))

    def pull_to(self, wanted: Wanted, offset: int | None, then: Ended) -> None:
        """Fetch an object that is not here to room that was taken for it; None: find it room."""
        pull = self._pull(wanted.object_id, wanted.size, wanted.nodes)
        pull.ended.append(then)
        if offset is not None:
            if pull.reserving:
                pull.reserving = False
                self.store.room.withdraw((self.node_id, pull.object_id))
            self.without_room.remove(pull)
            pull.entry = self.store.add(pull.object_id, offset, pull.size, self.node_id)
            self.queue.append(pull)
        self._continue()

    def _pull(self, object_id: ObjectId, size: int, nodes: Iterable[NodeId]) -> Pull:
        """The transfer of an object, begun if there is none; these nodes may have it."""
        pull = self.active.get(object_id)
        if pull is None:
            pull = self.active[object_id] = Pull(object_id, size)
            self.without_room.append(pull)
            self._watch(pull)
        for node in nodes:
            if node not in pull.nodes and node not in pull.tried:
                alive = node != self.node_id and not self.store.is_dead(node)
                (pull.nodes if alive else pull.tried).append(node)
        return pull

    def _watch(self, pull: Pull) -> None:
        """A transfer that makes no progress starts again, with another node where there is one."""

        def look() -> None:
            if self.active.get(pull.object_id) is not pull:
                return
            received = sum(pull.received.values())
            if received != pull.seen:
                pull.stalls = 0
            elif pull.asked and pull.nodes:
                pull.stalls += 1
                self._rewind(pull)
                pull.nodes.append(pull.nodes.pop(0))
                self._queue(pull)
                self._continue()
            pull.seen = received
            self._watch(pull)

        patience = self._backoff.first
        if pull.stalls:
            patience = self._backoff.delay(pull.stalls + 1, self._random)
        self.store.clock.call_after(patience, look)

    def _queue(self, pull: Pull) -> None:
        if pull.entry is not None and pull not in self.queue:
            self.queue.append(pull)

    def end_turn(self) -> None:
        """Ask for more, as far as there is room."""
        if self.queue or self.without_room:
            self._continue()

    def _continue(self) -> None:
        """Ask for parts of what has its room; then find room for the next, in order."""
        self._ask()
        while self.without_room and not self.queue and not self.without_room[0].reserving:
            pull = self.without_room[0]
            if pull.nodes:
                self._reserve(pull)
            else:
                self._failed(pull, "no node has it")
            self._ask()

    def _ask(self) -> None:
        while self.queue and (not self.queue[0].nodes or self.in_flight < self.config.transfer_in_flight):
            pull = self.queue[0]
            if not pull.nodes:
                self._failed(pull, "no node has it")
                continue
            size = min(self.config.transfer_chunk, pull.size - pull.asked)
            self.in_flight += size
            self.transport.send(pull.nodes[0], FetchObject(pull.object_id, pull.asked, size))
            pull.asked += size
            if pull.asked >= pull.size:
                self.queue.popleft()

    def _reserve(self, pull: Pull) -> None:
        pull.reserving = True

        def then(entry: Entry | None, reason: str) -> None:
            if self.active.get(pull.object_id) is not pull or not pull.reserving:
                if entry is not None:
                    self.store.abort(entry)
                return
            pull.reserving = False
            self.without_room.remove(pull)
            pull.entry = entry
            if entry is not None:
                self.queue.append(pull)
            elif reason:
                self._failed(pull, reason, full=True)
            else:
                self._made_here(pull)
            if waited:
                self._continue()

        waited = False
        self.store.reserving.reserve(pull.object_id, pull.size, self.node_id, Rank.READ, then)
        waited = True

    def _made_here(self, pull: Pull) -> None:
        """The object has come in another way while room was waited for."""
        del self.active[pull.object_id]
        for reader, count in pull.readers.items():
            for _ in range(count):
                self.on_pin_object(reader, PinObject(pull.object_id, pull.size, tuple(pull.nodes)))
        for call in pull.ended:
            call(None, None)

    # --- Nodes that leave

    def on_take_object(self, sender: Address, message: TakeObject) -> None:
        """A node that leaves wants its object to be kept here."""
        entry = self.store.entries.get(message.object_id)
        if message.object_id not in self.active and entry is not None:
            if entry.sealed:
                self.store.keep(entry)
                self.transport.send(sender, ObjectTaken(message.object_id, True))
            else:
                entry.on_seal.append(lambda _sealed: self.on_take_object(sender, message))
            return

        def ended(copy: Entry | None, missing: Missing | None) -> None:
            if copy is not None:
                copy.primary = True
            self.transport.send(sender, ObjectTaken(message.object_id, copy is not None))

        self._pull(message.object_id, message.size, (sender,)).ended.append(ended)
        self._continue()

    # --- Answers

    def on_object_chunk(self, sender: Address, message: ObjectChunk) -> None:
        """A part of an object, or the news that it is not there."""
        pull = self.active.get(message.object_id)
        if pull is None or not pull.nodes or pull.nodes[0] != sender or message.offset in pull.received:
            return
        if message.total < 0:
            self._next_node(pull)
            return
        if message.offset >= pull.asked:
            return  # of an attempt that was given up
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
        for call in pull.ended:
            call(entry, None)
        self.transport.send(owner_of(pull.object_id), CopyChanged(pull.object_id, True))
        self.store.seal(entry)

    def _next_node(self, pull: Pull) -> None:
        self._rewind(pull)
        pull.tried.append(pull.nodes.pop(0))
        self._queue(pull)
        self._continue()

    def _rewind(self, pull: Pull) -> None:
        self.in_flight -= pull.asked - sum(pull.received.values())
        pull.asked = 0
        pull.received.clear()

    def _failed(self, pull: Pull, reason: str, full: bool = False) -> None:
        del self.active[pull.object_id]
        for pulls in (self.queue, self.without_room):
            if pull in pulls:
                pulls.remove(pull)
        if pull.entry is not None:
            self.store.abort(pull.entry)
        missing = Missing(() if full else tuple(pull.tried), reason, full)
        for reader, count in pull.readers.items():
            for _ in range(count):
                self.transport.send(reader, PinFailed(pull.object_id, *missing))
        for call in pull.ended:
            call(None, missing)

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
        """Another node wants a part of an object. It never waits for room here: two nodes that are full of what waits
        for objects of the other would wait for ever."""
        entry = self.store.entries.get(message.object_id)
        if entry is None or message.object_id in self.active:
            self.transport.send(sender, ObjectChunk(message.object_id, message.offset, NOT_HERE, b""))
        elif not entry.sealed:
            entry.on_seal.append(lambda _sealed: self.on_fetch_object(sender, message))
        elif self.store.is_dead(sender):
            return
        elif entry.offset >= 0 or (not entry.moving and self.store.allocator.largest() >= entry.size):
            self.store.restoring.bring(entry, lambda reason: self._serve(sender, message, entry, reason))
        else:
            self._serve_from_disk(sender, message, entry)

    def _serve_from_disk(self, sender: Address, message: FetchObject, entry: Entry) -> None:
        def then(data: bytes, reason: str) -> None:
            if reason and entry.offset >= 0:
                self.on_fetch_object(sender, message)  # it has been, or is being, read back to memory meanwhile
            elif reason:
                self.store.restoring.lost(entry, reason)
                self.transport.send(sender, ObjectChunk(message.object_id, message.offset, NOT_HERE, b""))
            else:
                self._send(sender, message, entry, data)

        self.store.spilling.fetch(entry, message.offset, message.size, then)

    def _serve(self, sender: Address, message: FetchObject, entry: Entry, reason: str | None) -> None:
        if reason is None:
            view = self.store.memory.read(entry.offset + message.offset, message.size, _nothing)
            self._send(sender, message, entry, bytes(view))
        else:
            self.transport.send(sender, ObjectChunk(message.object_id, message.offset, NOT_HERE, b""))

    def _send(self, to: Address, message: FetchObject, entry: Entry, data: bytes) -> None:
        self.transport.send(to, ObjectChunk(message.object_id, message.offset, entry.size, data, crc32(data)))


def _nothing() -> None:
    pass
