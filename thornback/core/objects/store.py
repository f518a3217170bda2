"""The objects in one node's shared memory: who writes, reads and owns them, and when their bytes are free again."""

from __future__ import annotations

from collections.abc import Callable

from thornback.core.config import Config
from thornback.core.ids import Address, ObjectId, owner_of, short
from thornback.core.messages import (
    AllocateObject,
    CopyChanged,
    FreeObjects,
    ObjectAllocated,
    ObjectPinned,
    SealObject,
    UnpinObject,
)
from thornback.core.objects.allocator import Allocator
from thornback.core.ports import ObjectMemory, Ports

EXISTS = -2
NO_ROOM = -1


class Entry:
    """One object in shared memory."""

    __slots__ = ("doomed", "object_id", "offset", "on_seal", "pins", "primary", "sealed", "size", "writer")

    def __init__(self, object_id: ObjectId, offset: int, size: int, writer: Address) -> None:
        self.object_id = object_id
        self.offset = offset
        self.size = size
        self.writer = writer
        self.sealed = False
        self.primary = False
        self.doomed = False
        """Nobody refers to it; it goes when the last pin does."""
        self.pins: dict[Address, int] = {}
        self.on_seal: list[Callable[[Entry | None], None]] = []
        """Called when it is written, or with None when its writer gave up."""


class NodeStore:
    """What lies where in the node's shared memory."""

    def __init__(self, node_id: Address, ports: Ports, memory: ObjectMemory, config: Config) -> None:
        self.node_id = node_id
        self.clock = ports.clock
        self.transport = ports.transport
        self.trace = ports.trace
        self.memory = memory
        self.config = config
        self.allocator = Allocator(memory.capacity)
        self.entries: dict[ObjectId, Entry] = {}
        self._waiting: dict[tuple[Address, ObjectId], Callable[[], bool]] = {}
        """Allocations that wait for room, oldest first; each returns whether it is settled."""
        self.dead: set[Address] = set()

    # --- Writing

    def on_allocate_object(self, sender: Address, message: AllocateObject) -> None:
        """A process wants to write an object."""
        object_id = message.object_id

        def attempt() -> bool:
            entry = self.entries.get(object_id)
            if entry is None:
                offset = self.allocate(object_id, message.size, sender)
                if offset is None:
                    return False
                self.transport.send(sender, ObjectAllocated(object_id, offset))
            elif entry.sealed:
                self.transport.send(sender, ObjectAllocated(object_id, EXISTS))
            else:
                entry.on_seal.append(lambda _sealed: self.on_allocate_object(sender, message))
            return True

        if message.size > self.allocator.capacity:
            reason = (
                f"an object of {message.size:,} bytes does not fit into this node's object store of "
                f"{self.allocator.capacity:,} bytes; raise object_store_memory"
            )
            self.transport.send(sender, ObjectAllocated(object_id, NO_ROOM, reason))
        elif not attempt():
            self._wait_for_room(sender, object_id, message.size, attempt)

    def _wait_for_room(self, sender: Address, object_id: ObjectId, size: int, attempt: Callable[[], bool]) -> None:
        key = (sender, object_id)
        self._waiting[key] = attempt

        def give_up() -> None:
            if self._waiting.pop(key, None) is not None:
                self.transport.send(sender, ObjectAllocated(object_id, NO_ROOM, self._full(size)))

        self.clock.call_after(self.config.allocation_wait, give_up)

    def _full(self, size: int) -> str:
        largest = sorted(self.entries.values(), key=lambda entry: (-entry.size, entry.object_id))[:5]
        holders = ", ".join(
            f"{short(entry.object_id)} of {short(owner_of(entry.object_id))}: {entry.size:,} bytes" for entry in largest
        )
        return (
            f"no room for an object of {size:,} bytes: {self.allocator.used:,} of {self.allocator.capacity:,} bytes of "
            f"the object store are in use; the largest holders are {holders}"
        )

    def allocate(self, object_id: ObjectId, size: int, writer: Address) -> int | None:
        """A block for an object that is not here; copies that nobody reads make room. None: there is none."""
        offset = self.allocator.allocate(size)
        while offset is None and self._evict_one():
            offset = self.allocator.allocate(size)
        if offset is not None:
            self.entries[object_id] = Entry(object_id, offset, size, writer)
        return offset

    def _evict_one(self) -> bool:
        for entry in self.entries.values():
            if entry.sealed and not entry.primary and not entry.pins:
                self._delete(entry)
                self.transport.send(owner_of(entry.object_id), CopyChanged(entry.object_id, False))
                return True
        return False

    def on_seal_object(self, sender: Address, message: SealObject) -> None:
        """A process has written its object."""
        entry = self.entries.get(message.object_id)
        if entry is not None and not entry.sealed and entry.writer == sender:
            entry.primary = True
            if message.pin:
                entry.pins[sender] = 1
            self.seal(entry)

    def seal(self, entry: Entry) -> None:
        """The bytes are complete; readers may come."""
        entry.sealed = True
        if self.trace.enabled:
            self.trace.event("object.sealed", entry.object_id, entry.size)
        calls, entry.on_seal = entry.on_seal, []
        for call in calls:
            call(entry)
        if entry.doomed or self.is_dead(owner_of(entry.object_id)):
            entry.doomed = True
            self._delete_if_unused(entry)

    def abort(self, entry: Entry) -> None:
        """Its writer is gone; whoever waits is told."""
        self._delete(entry)
        for call in entry.on_seal:
            call(None)

    # --- Reading

    def pin(self, entry: Entry, reader: Address) -> None:
        """The object stays until the reader is done."""
        entry.pins[reader] = entry.pins.get(reader, 0) + 1
        if entry.object_id in self.entries and not entry.primary:
            self.entries[entry.object_id] = self.entries.pop(entry.object_id)
        self.transport.send(reader, ObjectPinned(entry.object_id, entry.offset, entry.size))

    def on_unpin_object(self, sender: Address, message: UnpinObject) -> None:
        """A reader is done."""
        entry = self.entries.get(message.object_id)
        if entry is None or sender not in entry.pins:
            return
        entry.pins[sender] -= message.count
        if entry.pins[sender] <= 0:
            del entry.pins[sender]
        self._delete_if_unused(entry)

    # --- Freeing

    def on_free_objects(self, sender: Address, message: FreeObjects) -> None:
        """The owner says that nobody refers to them."""
        for object_id in message.object_ids:
            entry = self.entries.get(object_id)
            if entry is not None:
                entry.doomed = True
                if entry.sealed:
                    self._delete_if_unused(entry)

    def _delete_if_unused(self, entry: Entry) -> None:
        if entry.doomed and not entry.pins and entry.object_id in self.entries:
            self._delete(entry)
        elif self._waiting and not entry.pins:
            self._retry_waiting()

    def _delete(self, entry: Entry) -> None:
        del self.entries[entry.object_id]
        self.allocator.release(entry.offset)
        self.memory.discard(entry.offset, entry.size)
        if self.trace.enabled:
            self.trace.event("object.deleted", entry.object_id)
        self._retry_waiting()

    def _retry_waiting(self) -> None:
        for key, attempt in list(self._waiting.items()):
            if key in self._waiting:
                del self._waiting[key]
                if not attempt():
                    self._waiting = {key: attempt, **self._waiting}
                    return

    def is_dead(self, address: Address) -> bool:
        """Whether that process, or its node, has ended."""
        return address in self.dead or address[:8] in self.dead

    def process_died(self, address: Address) -> None:
        """A process or node has ended: its pins and unfinished writes go, and all that it owned."""
        self.dead.add(address)
        for key in [key for key in self._waiting if key[0].startswith(address)]:
            del self._waiting[key]
        for entry in list(self.entries.values()):
            for reader in [reader for reader in entry.pins if reader.startswith(address)]:
                del entry.pins[reader]
            if entry.object_id not in self.entries:
                continue
            if not entry.sealed and entry.writer.startswith(address):
                self.abort(entry)
            elif owner_of(entry.object_id).startswith(address):
                entry.doomed = True
                if entry.sealed:
                    self._delete_if_unused(entry)
            elif entry.sealed:
                self._delete_if_unused(entry)
