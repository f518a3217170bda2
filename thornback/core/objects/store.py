"""The objects in one node's shared memory: who writes, reads and owns them, and when their bytes are free again.

When memory is short, room is made in this order: copies whose primary is on another node go; primaries that are on disk
already leave memory; the least recently used of the others are written to disk. What somebody reads stays. If that is
not enough, the demand waits (:mod:`.room`). What is larger than the whole memory goes to a file of its own at once
(:mod:`.outside`).
"""

from __future__ import annotations

from collections.abc import Callable

from thornback.core.config import MILLISECOND, Config
from thornback.core.deaths import DeadProcesses
from thornback.core.ids import Address, ObjectId, owner_of, short
from thornback.core.messages import (
    AbortObject,
    AllocateObject,
    ArgumentsInUse,
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
from thornback.core.objects.entry import Entry
from thornback.core.objects.evictable import Evictable
from thornback.core.objects.outside import Outside
from thornback.core.objects.reserving import Reserving
from thornback.core.objects.restoring import Restoring
from thornback.core.objects.room import Key, Rank, RoomQueue
from thornback.core.objects.spilling import Spilling
from thornback.core.ports import OUTSIDE, Disk, ObjectMemory, Ports

EXISTS = -2
NO_ROOM = -1
STUCK_PATIENCE = 200 * MILLISECOND
"""Enough for readers to answer :class:`TrimPins`."""
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
        self.spilling = Spilling(node_id, ports, disk, config, self.settle)
        self.room = RoomQueue(ports.clock, lambda: self.spilling.bytes_under_way > 0)
        self.entries: dict[ObjectId, Entry] = {}
        self.evictable = Evictable()
        self.reserving = Reserving(self)
        self.restoring = Restoring(self)
        self.outside = Outside(disk, config, lambda: self.spilling.bytes_on_disk + self.spilling.bytes_under_way)
        self.dead = DeadProcesses()
        self.depend_on: Callable[[Address], None] = _nothing
        """Called with the owner of each object, whose end this node must learn of."""
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
                entry.writer = sender
                self.keep(entry)
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

        self.reserving.reserve(object_id, message.size, sender, Rank.WRITE, then)

    def add(self, object_id: ObjectId, offset: int, size: int, writer: Address) -> Entry:
        """A new object, in room that was taken for it."""
        self.depend_on(owner_of(object_id))
        entry = self.entries[object_id] = Entry(object_id, offset, size, writer, self.clock.now())
        return entry

    def demand(
        self, key: Key, size: int, rank: Rank, attempt: Callable[[], bool], fail: Callable[[], None], patience: int
    ) -> None:
        """Take room: ``attempt()`` returns whether that is settled, and is called again as room becomes free; or
        ``fail()`` when nothing has become free for ``patience`` nanoseconds."""
        if (not len(self.room) or rank == Rank.READ) and self.room.settles_at_once(attempt):
            return
        self.room.add(key, size, rank, attempt, fail, patience)
        self._serve_room(freed=False)

    @property
    def outside_after(self) -> int:
        """How long a demand waits before it is given a file; not long again when others have just waited in vain."""
        longest = self.config.outside_after
        return min(longest, STUCK_PATIENCE) if self.room.stuck else longest

    def withdraw(self, key: Key) -> None:
        """A demand is void; others need not wait for it."""
        self.outside.cancel(key)
        if self.room.withdraw(key):
            self._serve_room(freed=False)

    def _serve_room(self, freed: bool = True) -> None:
        """Something has changed: serve who waits, and make room for those who still do."""
        self.room.serve(freed)
        self._make_room()
        if len(self.room) and not self.spilling.bytes_under_way:
            self.room.serve(freed=False, overtaking=True)

    def on_abort_object(self, sender: Address, message: AbortObject) -> None:
        """A process will not write what it asked for."""
        self.withdraw((sender, message.object_id))
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
        self.settle(entry)

    def abort(self, entry: Entry) -> None:
        """Its writer has given up or is gone; whoever waits is told."""
        self.delete(entry)
        calls, entry.on_seal = entry.on_seal, []
        for call in calls:
            call(None)

    def _abort_unsealed(self, entry: Entry) -> None:
        if not entry.sealed and self.entries.get(entry.object_id) is entry:
            self.abort(entry)

    # --- Reading

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

        self.restoring.bring(entry, then)

    def pin(self, entry: Entry, reader: Address) -> None:
        """The object stays until the reader is done."""
        self.hold(entry, reader)
        self.transport.send(reader, ObjectPinned(entry.object_id, entry.offset, entry.size))

    def hold(self, entry: Entry, reader: Address) -> None:
        """Keep an object in memory for a reader."""
        if self.trace.enabled:
            self.trace.event("object.pinned", entry.object_id, (self.node_id, reader, entry.offset, entry.size))
        entry.pins[reader] = entry.pins.get(reader, 0) + 1
        self.evictable.unpark(entry)

    def hold_no_more(self, entry: Entry, reader: Address) -> None:
        """Undo :meth:`hold` in the same turn: nothing has become free by it."""
        if self.trace.enabled:
            self.trace.event("object.unpinned", entry.object_id, (self.node_id, reader, 1))
        entry.pins[reader] -= 1
        if not entry.pins[reader]:
            del entry.pins[reader]
        if not entry.used and not entry.moving and 0 <= entry.offset < OUTSIDE:
            self.evictable.park(entry)

    def let_go(self, entry: Entry, reader: Address, count: int = 1) -> None:
        """The reader needs it no more."""
        if reader not in entry.pins:
            return
        if self.trace.enabled:
            self.trace.event("object.unpinned", entry.object_id, (self.node_id, reader, count))
        entry.pins[reader] -= count
        if entry.pins[reader] <= 0:
            del entry.pins[reader]
        self.settle(entry)

    def on_unpin_object(self, sender: Address, message: UnpinObject) -> None:
        """A reader is done."""
        entry = self.entries.get(message.object_id)
        if entry is not None:
            self.let_go(entry, sender, message.count)

    def on_arguments_in_use(self, sender: Address, message: ArgumentsInUse) -> None:
        """A task runs with large arguments: its end will make room."""
        self.room.note_use()

    # --- Room

    def give_back(self, offset: int, size: int) -> None:
        """A block in memory is free again."""
        if self.trace.enabled:
            self.trace.event("memory.given", self.node_id, (offset, size))
        self.allocator.release(offset)

    def take_free(self, size: int) -> int | None:
        """Room that is free now."""
        offset = self.allocator.allocate(size)
        if offset is not None and self.trace.enabled:
            self.trace.event("memory.taken", self.node_id, (offset, size))
        return offset

    def take(self, size: int) -> int | None:
        """Room, for which others may have to go; None if that is not enough, and then nothing goes."""
        if self.allocator.capacity - self.allocator.used + self.evictable.ready < size:
            return None
        offset = self.take_free(size)
        while offset is None and self.evict_one():
            offset = self.take_free(size)
        return offset

    def evict_one(self) -> bool:
        """Free the memory of the least recently used object of which there is another copy; False: there is none."""
        entry = self.evictable.next()
        if entry is None:
            return False
        if self.trace.enabled:
            self.trace.event("object.evicted", entry.object_id, entry.primary)
        if entry.primary:
            self.evictable.unpark(entry)
            self._release_memory(entry)
        else:
            self.delete(entry)
            self.transport.send(owner_of(entry.object_id), CopyChanged(entry.object_id, False))
        return True

    def _make_room(self) -> None:
        """Demands wait: write objects to disk, and ask readers for what they hold without need."""
        if not len(self.room):
            return
        for entry in self.spilling.start(self.evictable.unspilled(), self.room.wanted, self.room.readers > 0):
            self.evictable.unpark(entry)
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

    def settle(self, entry: Entry) -> None:
        """After a change: delete what nobody needs, park what nobody reads, and serve who waits for room."""
        if entry.used or entry.moving or not entry.sealed or entry.object_id not in self.entries:
            return
        if entry.doomed:
            self.delete(entry)
            return
        if 0 <= entry.offset < OUTSIDE:
            self.evictable.park(entry)
        elif entry.offset >= OUTSIDE and entry.piece is not None:
            self._release_memory(entry)
        if len(self.room):
            self._serve_room()

    def full(self, size: int) -> str:
        """Why there is no room: who has it."""
        in_memory = [entry for entry in self.entries.values() if 0 <= entry.offset < OUTSIDE]
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
                self.settle(entry)

    def on_keep_copy(self, sender: Address, message: KeepCopy) -> None:
        """The node with the primary copy is gone: ours must not be evicted."""
        entry = self.entries.get(message.object_id)
        if entry is None:
            self.transport.send(sender, CopyChanged(message.object_id, False))
        else:
            self.keep(entry)

    def keep(self, entry: Entry) -> None:
        """This copy must not be evicted any more, nor go with its last reader if it was freed before."""
        entry.primary = True
        entry.doomed = False
        self.settle(entry)

    def _release_memory(self, entry: Entry) -> None:
        if entry.offset >= OUTSIDE:
            self.outside.release(entry.offset)
        else:
            self.give_back(entry.offset, entry.size)
        self.memory.discard(entry.offset, entry.size)
        entry.offset = -1

    def delete(self, entry: Entry) -> None:
        """The object is gone from this node."""
        del self.entries[entry.object_id]
        self.evictable.unpark(entry)
        if entry.offset >= 0:
            self._release_memory(entry)
        self.spilling.drop(entry)
        if self.trace.enabled:
            detail = (self.node_id, entry.sealed, entry.primary, entry.doomed)
            self.trace.event("object.deleted", entry.object_id, detail)
        if len(self.room):
            self._serve_room()

    # --- Deaths

    def is_dead(self, address: Address) -> bool:
        """Whether that process, or its node, has ended."""
        return address in self.dead

    def process_died(self, address: Address) -> None:
        """A process or node has ended: its pins and unfinished writes go, and all that it owned. The owners of other
        things that it has written learn that they exist, in case it could not tell them."""
        self.dead.add(address)
        self.room.process_died(address)
        self.outside.process_died(address)
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
            self.settle(entry)


def _nothing(_process: Address) -> None:
    pass
