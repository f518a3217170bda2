"""Objects: one value for ever, the same bytes for every reader, and there as long as somebody refers to them."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable
from zlib import crc32

from thornback.core.ids import Address, NodeId, ObjectId, TaskId, node_of, owner_of, short
from thornback.core.messages import Content, ObjectContent, Value
from thornback.core.resources import OBJECT_STORE_MEMORY
from thornback.faults.invariants.base import Checker, Detail, describe_error

Peek = Callable[[NodeId, int, int], bytes | None]
"""The bytes in a node's memory, by offset and size; None if they cannot be read."""
Holders = Callable[[ObjectId], list[Address]]
"""The processes, other than its owner, whose user code has a reference to the object."""


class ResolvesOnce(Checker):
    """Knows the content of every object that has one."""

    name = "resolves once"
    promise = "a reference resolves at most once, unless all copies are lost in between, and its value never changes"

    def __init__(self) -> None:
        super().__init__()
        self._contents: dict[ObjectId, Content] = {}
        self._ended: set[TaskId] = set()
        """Tasks whose owner has their end, and which have not been sent again since."""

    def _task_ends(self, time: int, subject: bytes, detail: Detail) -> None:
        if subject in self._ended:
            self.fail(subject, "a task ended twice", f"task {short(subject)} ends for its owner, as it has before")
        self._ended.add(subject)

    on_task_finished = on_task_failed = _task_ends

    def _task_begins_again(self, time: int, subject: bytes, detail: Detail) -> None:
        self._ended.discard(subject)

    on_task_rebuilding = on_task_replayed = _task_begins_again

    def on_object_ready(self, time: int, subject: bytes, detail: Detail) -> None:
        """Its owner sets its content."""
        if subject in self._contents:
            self.fail(subject, "resolved twice", f"object {short(subject)} resolves a second time")
        self._contents[subject] = detail

    def on_object_lost(self, time: int, subject: bytes, detail: Detail) -> None:
        """All copies are gone: it may be made again."""
        self._contents.pop(subject, None)

    def on_object_released(self, time: int, subject: bytes, detail: Detail) -> None:
        """Its owner has let it go."""
        self._contents.pop(subject, None)

    def saw_object_content(self, time: int, sender: bytes, to: bytes, message: ObjectContent) -> None:
        """A borrower is told the content."""
        known, told = self._contents.get(message.object_id), message.content
        if isinstance(known, Value) and isinstance(told, Value) and told != known and not told.is_error:
            text = f"object {short(message.object_id)} is told to {short(to)} with another value than it was given"
            self.fail(message.object_id, "a borrower is told another value", text)


class SealedBytes(Checker):
    """Keeps the checksum of what writers have sealed, and compares it with what copies and readers get.

    A task that runs again may give other bytes, if it is not deterministic: all that its runs have sealed are right.
    """

    name = "sealed bytes"
    promise = "every copy and every read of an object has the bytes that its writer has sealed"

    def __init__(self) -> None:
        super().__init__()
        self.peek: Peek = lambda node, offset, size: None
        self._sealed: dict[ObjectId, set[int]] = {}

    def on_object_sealed(self, time: int, subject: bytes, detail: Detail) -> None:
        """An object is complete on a node: written there (a primary), or copied."""
        primary = detail[3]
        if primary:
            data = self.peek(*detail[:3])
            if data is not None:
                self._sealed.setdefault(subject, set()).add(crc32(data))
        else:
            self._compare(subject, detail, "a copy has other bytes")

    def on_object_restored(self, time: int, subject: bytes, detail: Detail) -> None:
        """An object is back from disk."""
        self._compare(subject, detail, "a spilled object has other bytes")

    def on_object_read(self, time: int, subject: bytes, detail: Detail) -> None:
        """User code gets a view."""
        self._compare(subject, detail, "a reader gets other bytes")

    def _compare(self, subject: bytes, detail: Detail, where: str) -> None:
        known = self._sealed.get(subject)
        data = self.peek(*detail[:3]) if known else None
        if known and data is not None and crc32(data) not in known:
            text = f"object {short(subject)} on {short(detail[0])}: {len(data)} bytes that nobody has sealed"
            self.fail(subject, where, text)


class _Memory:
    """Which blocks of a node's memory are taken."""

    __slots__ = ("capacity", "offsets", "sizes")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.offsets: list[int] = []
        self.sizes: dict[int, int] = {}


class Memory(Checker):
    """Keeps the map of every node's shared memory."""

    name = "memory"
    promise = "blocks of shared memory lie within its capacity and never overlap, and what is read stays where it is"

    def __init__(self) -> None:
        super().__init__()
        self._nodes: dict[NodeId, _Memory] = {}
        self._pins: dict[tuple[NodeId, int], dict[Address, int]] = {}
        self._pinned: dict[tuple[NodeId, ObjectId], int] = {}
        self._ended: set[Address] = set()

    def on_node_up(self, time: int, subject: bytes, detail: Detail) -> None:
        """A node process starts."""
        self._nodes[subject] = _Memory(detail.get(OBJECT_STORE_MEMORY, 0))

    def on_process_end(self, time: int, subject: bytes, detail: Detail) -> None:
        """A reader's pins are void, and with a node goes its memory."""
        self._ended.add(subject)
        if self._nodes.pop(subject, None) is not None:
            self._pins = {key: pins for key, pins in self._pins.items() if key[0] != subject}
            self._pinned = {key: offset for key, offset in self._pinned.items() if key[0] != subject}
        else:
            for pins in self._pins.values():
                pins.pop(subject, None)

    def on_memory_taken(self, time: int, subject: bytes, detail: Detail) -> None:
        """A block is taken for an object."""
        offset, size = detail
        memory = self._nodes.get(subject)
        if memory is None:
            return
        place = bisect_right(memory.offsets, offset)
        before = memory.offsets[place - 1] if place else -1
        after = memory.offsets[place] if place < len(memory.offsets) else memory.capacity
        block = f"{size:,} bytes at {offset:,} on {short(subject)}"
        if offset < 0 or offset + size > memory.capacity:
            self.fail(subject, "a block beyond the capacity", f"{block}, which has {memory.capacity:,}")
        elif offset + size > after or (before >= 0 and before + memory.sizes[before] > offset):
            self.fail(subject, "overlapping blocks", f"{block} overlap with another block")
        elif offset not in memory.sizes:
            insort(memory.offsets, offset)
            memory.sizes[offset] = size

    def on_memory_given(self, time: int, subject: bytes, detail: Detail) -> None:
        """A block is free again."""
        offset, size = detail
        memory = self._nodes.get(subject)
        if memory is None or offset not in memory.sizes:
            return
        memory.offsets.remove(offset)
        del memory.sizes[offset]
        readers = [reader for reader, count in self._pins.pop((subject, offset), {}).items() if count > 0]
        if readers:
            text = f"{size:,} bytes at {offset:,} on {short(subject)} are free while {short(readers[0])} reads them"
            self.fail(subject, "memory that is read is freed", text)

    def on_object_pinned(self, time: int, subject: bytes, detail: Detail) -> None:
        """A process is about to read, unless it has ended since it asked."""
        node, reader, offset, _size = detail
        if node_of(reader) == node and len(reader) > len(node) and reader not in self._ended:
            pins = self._pins.setdefault((node, offset), {})
            pins[reader] = pins.get(reader, 0) + 1
            self._pinned[node, subject] = offset

    def on_object_unpinned(self, time: int, subject: bytes, detail: Detail) -> None:
        """A reader is done."""
        node, reader, count = detail
        pins = self._pins.get((node, self._pinned.get((node, subject), -1)))
        if pins is not None and reader in pins:
            pins[reader] -= count


class Freed(Checker):
    """Looks, when an owner lets a value go, whether any process still has a reference to it."""

    name = "freed while referenced"
    promise = "no object is let go, or its primary copy deleted, while a live process refers to it"

    def __init__(self) -> None:
        super().__init__()
        self.holders: Holders = lambda object_id: []
        self._unreadable: dict[ObjectId, None] = {}
        self._released: dict[ObjectId, None] = {}
        self._given_up: dict[NodeId, None] = {}

    def on_node_dead(self, time: int, subject: bytes, detail: Detail) -> None:
        """The GCS has given up a node: what its processes refer to counts no more, even while they live on."""
        self._given_up[subject] = None

    def on_object_unreadable(self, time: int, subject: bytes, detail: Detail) -> None:
        """A spill file is damaged: what follows is not the store's choice."""
        self._unreadable[subject] = None

    def on_object_released(self, time: int, subject: bytes, detail: Detail) -> None:
        """Its owner lets it go."""
        self._released[subject] = None
        holders = self.holders(subject)
        if holders:
            text = f"object {short(subject)} is let go by its owner while {short(holders[0])} has a reference"
            self.fail(subject, "let go while referenced", text)

    def saw_object_content(self, time: int, sender: bytes, to: bytes, message: ObjectContent) -> None:
        """A process that asked for an object is told what it is."""
        if node_of(to) in self._given_up:
            return
        content = message.content
        if isinstance(content, Value) and content.is_error and message.object_id in self._released:
            name, identifier = describe_error(content)
            if name == "ObjectLostError" and identifier == message.object_id:
                text = f"{short(to)} asks for {short(message.object_id)}, which its owner has let go"
                self.fail(message.object_id, "a reader finds it let go", text)

    def on_object_deleted(self, time: int, subject: bytes, detail: Detail) -> None:
        """A node deletes a copy."""
        node, sealed, primary, doomed = detail
        if sealed and primary and not doomed and subject not in self._unreadable:
            text = f"{short(node)} deletes its primary copy of {short(subject)} of {short(owner_of(subject))} unasked"
            self.fail(subject, "a primary copy deleted unasked", text)
