"""The objects in one node's shared memory: who writes, reads and owns them, and when their bytes are free again.

When memory is short, room is made in this order: copies whose primary is on another node go; primaries that are on disk
already leave memory; the least recently used of the others are written to disk. What somebody reads stays. If that is
not enough, the demand waits (:mod:`.room`).
"""

from __future__ import annotations

from collections.abc import Callable

from thornback.core.config import MILLISECOND, Config
from thornback.core.ids import NODE_ID_SIZE, Address, ObjectId, owner_of, short
from thornback.core.messages import (
    AbortObject,
    AllocateObject,
    CopyChanged,
    FreeObjects,
    KeepCopy,
    ObjectAllocated,
    ObjectPinned,
    PinFailed,
    SealObject,
    TrimPins,
    UnpinObject,
)
from thornback.core.objects.allocator import Allocator
from thornback.core.objects.entry import IN, Entry
from thornback.core.objects.room import RoomQueue
from thornback.core.objects.spilling import Spilling
from thornback.core.ports import Disk, ObjectMemory, Ports

EXISTS = -2
NO_ROOM = -1
DEAD_LIMIT = 100_000
TRIM_PERIOD = 50 * MILLISECOND
LAST_WORDS = 200 * MILLISECOND
"""After the news that a writer has ended, its messages may still come: what it has written and replied is not lost."""


class NodeStore:
    """What lies where in the node's shared memory, and on its disk.

    Attributes:
        entries: all objects of the node.
    """

    def __init__(
        self, node_id: Address, ports: Ports, memory: ObjectMemory, config: Config, disk: Disk | None = None
    ) -> None:
        self.node_id = node_id
        self.clock = ports.clock
        self.transport = ports.transport
        self.trace = ports.trace
        self.memory = memory
        self.disk = disk
        self.config = config
        self.allocator = Allocator(memory.capacity)
        self.spilling = Spilling(node_id, ports, disk, config, self._spilled)
        self.room = RoomQueue(ports.clock, config.allocation_wait, lambda: self.spilling.bytes_under_way > 0)
        self.entries: dict[ObjectId, Entry] = {}
        self._copies: dict[ObjectId, Entry] = {}
        """In memory and not used, least recently used first: copies; primaries that are on disk as well; the others."""
        self._clean: dict[ObjectId, Entry] = {}
        self._dirty: dict[ObjectId, Entry] = {}
        self.dead: dict[Address, None] = {}
        self._trim_timer = False
        self._retry_timer = False

    # --- Writing

    def on_allocate_object(self, sender: Address, message: AllocateObject) -> None:
        """A process wants to write an object."""
        object_id = message.object_id
        if self.is_dead(sender):
            return
        entry = self.entries.get(object_id)
        if entry is not None:
            if entry.sealed:
                self.transport.send(sender, ObjectAllocated(object_id, EXISTS))
            else:
                entry.on_seal.append(lambda _sealed: self.on_allocate_object(sender, message))
            return

        def then(new: Entry | None, reason: str) -> None:
            if new is not None:
                new.origin = message.origin
                new.keep = message.pinned
                self.transport.send(sender, ObjectAllocated(object_id, new.offset))
            elif reason:
                self.transport.send(sender, ObjectAllocated(object_id, NO_ROOM, reason))
            else:
                self.on_allocate_object(sender, message)

        self.reserve(object_id, message.size, sender, False, then)

    def reserve(
        self,
        object_id: ObjectId,
        size: int,
        writer: Address,
        reading: bool,
        then: Callable[[Entry | None, str], None],
    ) -> None:
        """Find room for an object that is not here: ``then(entry, "")``; or ``then(None, reason)``; or, if the object
        has come in another way meanwhile, ``then(None, "")``."""
        if size > self.allocator.capacity:
            then(
                None,
                f"an object of {size:,} bytes does not fit into this node's object store of "
                f"{self.allocator.capacity:,} bytes; raise object_store_memory",
            )
            return

        def attempt() -> bool:
            if object_id in self.entries:
                then(None, "")
                return True
            offset = self._take(size)
            if offset is None:
                return False
            entry = self.entries[object_id] = Entry(object_id, offset, size, writer, self.clock.now())
            then(entry, "")
            return True

        self._settle((writer, object_id), size, reading, attempt, lambda: then(None, self._full(size)))

    def _settle(
        self,
        key: tuple[Address, ObjectId],
        size: int,
        reading: bool,
        attempt: Callable[[], bool],
        fail: Callable[[], None],
    ) -> None:
        if (len(self.room) and not reading) or not attempt():
            self.room.add(key, size, reading, attempt, fail)
            self._make_room()

    def on_abort_object(self, sender: Address, message: AbortObject) -> None:
        """A process will not write what it asked for."""
        if self.room.withdraw((sender, message.object_id)):
            self.room.serve(freed=False)
        entry = self.entries.get(message.object_id)
        if entry is not None and not entry.sealed and entry.writer == sender:
            self.abort(entry)

    def on_seal_object(self, sender: Address, message: SealObject) -> None:
        """A process has written its object."""
        entry = self.entries.get(message.object_id)
        if entry is not None and not entry.sealed and entry.writer == sender:
            entry.primary = True
            if message.pin and not self.is_dead(sender):
                entry.pins[sender] = 1
            self.seal(entry)
            if self.is_dead(sender) and not entry.doomed:
                self.transport.send(owner_of(entry.object_id), CopyChanged(entry.object_id, True))

    def seal(self, entry: Entry) -> None:
        """The bytes are complete; readers may come."""
        entry.sealed = True
        if self.trace.enabled:
            detail = (self.node_id, entry.offset, entry.size, entry.primary)
            self.trace.event("object.sealed", entry.object_id, detail)
        calls, entry.on_seal = entry.on_seal, []
        for call in calls:
            call(entry)
        if self.is_dead(owner_of(entry.object_id)):
            entry.doomed = True
        self._settled(entry)

    def abort(self, entry: Entry) -> None:
        """Its writer has given up or is gone; whoever waits is told."""
        self._delete(entry)
        calls, entry.on_seal = entry.on_seal, []
        for call in calls:
            call(None)

    def _abort_unsealed(self, entry: Entry) -> None:
        if not entry.sealed and self.entries.get(entry.object_id) is entry:
            self.abort(entry)

    # --- Reading

    def bring(self, entry: Entry, then: Callable[[str | None], None]) -> None:
        """Call ``then(None)`` when a sealed object is in memory, at once if it is; with the reason if there is no room
        for it; with "" if it turned out to be lost."""
        if entry.in_memory:
            then(None)
            return
        entry.on_present.append(then)
        if entry.moving == IN:
            return
        entry.moving = IN

        def attempt() -> bool:
            offset = self._take(entry.size)
            if offset is not None:
                self._restore(entry, offset)
            return offset is not None

        def fail() -> None:
            entry.moving = ""
            self._present(entry, self._full(entry.size))

        self._settle((self.node_id, entry.object_id), entry.size, True, attempt, fail)

    def _restore(self, entry: Entry, offset: int) -> None:
        assert self.disk is not None and entry.piece is not None
        entry.offset = offset

        def then(reason: str) -> None:
            entry.moving = ""
            if reason:
                self._lost_on_disk(entry, reason)
                return
            if self.trace.enabled:
                self.trace.event("object.restored", entry.object_id, (self.node_id, entry.offset, entry.size))
            if self.spilling.over_limit:
                self.spilling.drop(entry)
            self._present(entry, None)

        self.disk.read(entry.piece, offset, then)
        self._read_ahead(entry)

    def _read_ahead(self, entry: Entry) -> None:
        following = self.spilling.following(entry)
        if following is None or following.size > self.config.spill_ahead or len(self.room):
            return
        offset = self.allocator.allocate(following.size)
        if offset is not None:
            if self.trace.enabled:
                self.trace.event("memory.taken", self.node_id, (offset, following.size))
            following.moving = IN
            self._restore(following, offset)

    def _present(self, entry: Entry, reason: str | None) -> None:
        calls, entry.on_present = entry.on_present, []
        for call in calls:
            call(reason)
        self._settled(entry)

    def _lost_on_disk(self, entry: Entry, reason: str) -> None:
        if self.trace.enabled:
            self.trace.event("object.unreadable", entry.object_id, reason)
        calls, entry.on_present = entry.on_present, []
        self._delete(entry)
        self.transport.send(owner_of(entry.object_id), CopyChanged(entry.object_id, False, reason))
        for call in calls:
            call("")

    def pin_for(self, entry: Entry, reader: Address) -> None:
        """A process wants to read a sealed object: it is told where it is, once it is in memory, and it stays there."""

        def then(reason: str | None) -> None:
            if self.is_dead(reader):
                return
            if reason is None:
                self.pin(entry, reader)
            elif reason:
                self.transport.send(reader, PinFailed(entry.object_id, (), reason, True))
            else:
                self.transport.send(reader, PinFailed(entry.object_id, (self.node_id,), "its spill file is damaged"))

        self.bring(entry, then)

    def pin(self, entry: Entry, reader: Address) -> None:
        """The object stays until the reader is done."""
        entry.pins[reader] = entry.pins.get(reader, 0) + 1
        self._unpark(entry)
        if self.trace.enabled:
            self.trace.event("object.pinned", entry.object_id, (self.node_id, reader, entry.offset, entry.size))
        self.transport.send(reader, ObjectPinned(entry.object_id, entry.offset, entry.size))

    def on_unpin_object(self, sender: Address, message: UnpinObject) -> None:
        """A reader is done."""
        entry = self.entries.get(message.object_id)
        if entry is None or sender not in entry.pins:
            return
        entry.pins[sender] -= message.count
        if self.trace.enabled:
            self.trace.event("object.unpinned", entry.object_id, (self.node_id, sender, message.count))
        if entry.pins[sender] <= 0:
            del entry.pins[sender]
        self._settled(entry)

    # --- Room

    def _take(self, size: int) -> int | None:
        offset = self.allocator.allocate(size)
        while offset is None and self.evict_one():
            offset = self.allocator.allocate(size)
        if offset is not None and self.trace.enabled:
            self.trace.event("memory.taken", self.node_id, (offset, size))
        return offset

    def evict_one(self) -> bool:
        """Free the memory of the least recently used object of which there is another copy; False: there is none."""
        for entry in self._copies.values():
            self._delete(entry)
            self.transport.send(owner_of(entry.object_id), CopyChanged(entry.object_id, False))
            return True
        for entry in self._clean.values():
            del self._clean[entry.object_id]
            self._release_memory(entry)
            return True
        return False

    def _make_room(self) -> None:
        """Demands wait: write objects to disk, and ask readers for what they hold without need."""
        if not len(self.room):
            return
        for entry in self.spilling.start(list(self._dirty.values()), self.room.wanted, self.room.readers > 0):
            del self._dirty[entry.object_id]
        if self.spilling.pause and not self._retry_timer:
            self._retry_timer = True
            self.clock.call_after(self.spilling.pause, self._retry)
        if not self._trim_timer:
            self._trim_timer = True
            self.clock.call_after(TRIM_PERIOD, self._trim_over)
            readers = {reader for entry in self.entries.values() for reader in entry.pins}
            for reader in sorted(readers):
                self.transport.send(reader, TrimPins())

    def _retry(self) -> None:
        self._retry_timer = False
        self._make_room()

    def _trim_over(self) -> None:
        self._trim_timer = False
        self._make_room()

    def _spilled(self, entry: Entry) -> None:
        self._settled(entry)

    def _settled(self, entry: Entry) -> None:
        """After a change: delete what nobody needs, park what nobody reads, and serve who waits for room."""
        if entry.used or entry.moving or not entry.sealed or entry.object_id not in self.entries:
            return
        if entry.doomed:
            self._delete(entry)
            return
        if entry.offset >= 0:
            self._unpark(entry)
            if not entry.primary:
                self._copies[entry.object_id] = entry
            elif entry.piece is not None:
                self._clean[entry.object_id] = entry
            elif not entry.keep:
                self._dirty[entry.object_id] = entry
        if len(self.room):
            self.room.serve()
            self._make_room()

    def _unpark(self, entry: Entry) -> None:
        for parked in (self._copies, self._clean, self._dirty):
            parked.pop(entry.object_id, None)

    def _full(self, size: int) -> str:
        in_memory = [entry for entry in self.entries.values() if entry.offset >= 0]
        largest = sorted(in_memory, key=lambda entry: (-entry.size, entry.object_id))[:5]
        pinned = sum(entry.size for entry in in_memory if entry.pins)
        holders = "; ".join(
            f"{short(entry.object_id)} of {short(owner_of(entry.object_id))}: {entry.size:,} bytes"
            f"{f' from {entry.origin}' if entry.origin else ''}{', being read' if entry.pins else ''}"
            for entry in largest
        )
        disk = ""
        if self.spilling.trouble:
            disk = f" (spilling fails: {self.spilling.trouble})"
        elif 0 <= self.config.spill_limit <= self.spilling.bytes_on_disk + self.spilling.bytes_under_way + size:
            disk = f" (spill_limit is {self.config.spill_limit:,} bytes)"
        return (
            f"no room for an object of {size:,} bytes: {self.allocator.used:,} of {self.allocator.capacity:,} bytes of "
            f"the object store are in use, {pinned:,} of them by readers, and "
            f"{self.spilling.bytes_on_disk:,} bytes are on disk{disk}; the largest holders are {holders}"
        )

    # --- Freeing

    def on_free_objects(self, sender: Address, message: FreeObjects) -> None:
        """The owner says that nobody refers to them."""
        for object_id in message.object_ids:
            entry = self.entries.get(object_id)
            if entry is not None:
                entry.doomed = True
                self._settled(entry)

    def on_keep_copy(self, sender: Address, message: KeepCopy) -> None:
        """The node with the primary copy is gone: ours must not be evicted."""
        entry = self.entries.get(message.object_id)
        if entry is None:
            self.transport.send(sender, CopyChanged(message.object_id, False))
        else:
            entry.primary = True
            self._settled(entry)

    def _release_memory(self, entry: Entry) -> None:
        if self.trace.enabled:
            self.trace.event("memory.given", self.node_id, (entry.offset, entry.size))
        self.allocator.release(entry.offset)
        self.memory.discard(entry.offset, entry.size)
        entry.offset = -1

    def _delete(self, entry: Entry) -> None:
        del self.entries[entry.object_id]
        self._unpark(entry)
        if entry.offset >= 0:
            self._release_memory(entry)
        self.spilling.drop(entry)
        if self.trace.enabled:
            detail = (self.node_id, entry.sealed, entry.primary, entry.doomed)
            self.trace.event("object.deleted", entry.object_id, detail)
        if len(self.room):
            self.room.serve()

    # --- Deaths

    def is_dead(self, address: Address) -> bool:
        """Whether that process, or its node, has ended."""
        return address in self.dead or address[:NODE_ID_SIZE] in self.dead

    def process_died(self, address: Address) -> None:
        """A process or node has ended: its pins and unfinished writes go, and all that it owned. The owners of other
        things that it has written learn that they exist, in case it could not tell them."""
        self.dead[address] = None
        if len(self.dead) > DEAD_LIMIT:
            del self.dead[next(iter(self.dead))]
        self.room.process_died(address)
        for entry in list(self.entries.values()):
            owner = owner_of(entry.object_id)
            for reader in [reader for reader in entry.pins if reader.startswith(address)]:
                del entry.pins[reader]
            if not entry.sealed and entry.writer.startswith(address):
                self.clock.call_after(LAST_WORDS, lambda entry=entry: self._abort_unsealed(entry))  # type: ignore[misc]
                continue
            if owner.startswith(address):
                entry.doomed = True
            elif entry.primary and entry.writer == address:
                self.transport.send(owner, CopyChanged(entry.object_id, True))
            self._settled(entry)
