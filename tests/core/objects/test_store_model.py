"""The node store against a plain model: pinned bytes stay what was sealed, nothing overlaps, nothing is left over."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.core.objects.toy import NODE, ToyNode, process
from thornback.core.config import MILLISECOND, SECOND, Config
from thornback.core.ids import ObjectId, owner_of, return_id, task_id
from thornback.core.messages import (
    AbortObject,
    AllocateObject,
    ArgumentsFailed,
    ArgumentsPinned,
    CopyChanged,
    DropArguments,
    FreeObjects,
    ObjectAllocated,
    ObjectPinned,
    PinArguments,
    PinFailed,
    PinObject,
    SealObject,
    TrimPins,
    UnpinObject,
    Wanted,
)
from thornback.core.objects.arguments import ArgumentRequests
from thornback.core.objects.pulls import Pulls
from thornback.core.objects.spilling import GARBAGE
from thornback.core.ports import OUTSIDE, NoTrace, Ports
from thornback.simulator.seeds import Streams

CAPACITY = 64 * 40
CONFIG = Config(spill_file_size=64 * 8, allocation_wait=1 * SECOND, outside_after=SECOND // 2, spill_ahead=64 * 4)


class StoreModel(RuleBasedStateMachine):
    """Four processes write, read, free and die; the disk fails, fills up and corrupts."""

    def __init__(self) -> None:
        super().__init__()
        self.node = ToyNode(CAPACITY, CONFIG)
        self.store = self.node.store
        ports = Ports(self.node.clock, Streams(1, b"model"), self.node.transport, NoTrace())
        self.pulls = Pulls(NODE, ports, self.store, CONFIG)
        self.arguments = ArgumentRequests(self.store, self.pulls)
        self.counter = 0
        self.alive = [process(number) for number in range(1, 5)]
        self.sizes: dict[ObjectId, int] = {}
        self.asked: dict[ObjectId, bytes] = {}
        """Writers that wait for their block."""
        self.writing: dict[ObjectId, tuple[bytes, int]] = {}
        self.sealed: dict[ObjectId, bytes] = {}
        self.reading: list[tuple[bytes, ObjectId]] = []
        self.wanting: dict[int, tuple[bytes, list[ObjectId]]] = {}
        """Tasks that wait for their arguments, by request."""
        self.requests = 0
        self.pinned: dict[tuple[bytes, ObjectId], int] = {}
        self.freed: set[ObjectId] = set()
        self.damaged = False

    def collect(self) -> None:
        for to, message in self.node.transport.take():
            if isinstance(message, ObjectAllocated):
                if self.asked.pop(message.object_id, None) is None or to not in self.alive:
                    continue
                if message.offset >= 0:
                    self.writing[message.object_id] = (to, message.offset)
                else:
                    assert message.reason
                    self.freed.add(message.object_id)
            elif isinstance(message, ObjectPinned):
                if to in self.alive:
                    self.reading.remove((to, message.object_id))
                    key = (to, message.object_id)
                    self.pinned[key] = self.pinned.get(key, 0) + 1
            elif isinstance(message, PinFailed):
                if to in self.alive:
                    self.reading.remove((to, message.object_id))
                    lost = message.object_id in self.freed or self.damaged
                    assert message.full or lost, message
            elif isinstance(message, ArgumentsPinned):
                reader, wanted = self.wanting.pop(message.request, (b"", []))
                if reader and to in self.alive:
                    assert sorted(wanted) == sorted(block[0] for block in message.blocks), "all of them, or none"
                    for object_id in wanted:
                        self.pinned[(reader, object_id)] = self.pinned.get((reader, object_id), 0) + 1
            elif isinstance(message, ArgumentsFailed):
                if to in self.alive:
                    self.wanting.pop(message.request)
                    lost = message.object_id in self.freed or self.damaged
                    assert message.full or lost, message
            elif isinstance(message, CopyChanged):
                if not message.present:
                    assert self.damaged
                    self.freed.add(message.object_id)
            else:
                assert isinstance(message, TrimPins), message

    def data_of(self, object_id: ObjectId) -> bytes:
        return (object_id * 200)[: self.sizes[object_id]]

    # --- What processes do

    @rule(data=st.data(), blocks=st.integers(1, 14) | st.just(60))
    def allocate(self, data: st.DataObject, blocks: int) -> None:
        if not self.alive:
            return
        writer = data.draw(st.sampled_from(self.alive))
        self.counter += 1
        object_id = return_id(task_id(writer, self.counter), 0)
        self.sizes[object_id] = blocks * 64
        self.asked[object_id] = writer
        self.store.on_allocate_object(writer, AllocateObject(object_id, blocks * 64))
        self.collect()

    @rule(data=st.data())
    def stop_waiting_for_a_block(self, data: st.DataObject) -> None:
        if self.asked:
            object_id = data.draw(st.sampled_from(sorted(self.asked)))
            self.freed.add(object_id)
            self.store.on_abort_object(self.asked.pop(object_id), AbortObject(object_id))
            self.collect()

    @rule(data=st.data(), give_up=st.booleans())
    def write(self, data: st.DataObject, give_up: bool) -> None:
        if not self.writing:
            return
        object_id = data.draw(st.sampled_from(sorted(self.writing)))
        writer, offset = self.writing.pop(object_id)
        if give_up:
            self.freed.add(object_id)
            self.store.on_abort_object(writer, AbortObject(object_id))
        else:
            self.node.memory.write(offset, [self.data_of(object_id)])
            self.sealed[object_id] = writer
            self.store.on_seal_object(writer, SealObject(object_id, False))
        self.collect()

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        known = sorted(set(self.sealed) - self.freed)
        if known and self.alive:
            reader = data.draw(st.sampled_from(self.alive))
            object_id = data.draw(st.sampled_from(known))
            self.reading.append((reader, object_id))
            self.pulls.on_pin_object(reader, PinObject(object_id, self.sizes[object_id], (NODE,)))
            self.collect()

    @rule(data=st.data(), ahead=st.booleans())
    def want_arguments(self, data: st.DataObject, ahead: bool) -> None:
        known = sorted(set(self.sealed) - self.freed)
        if known and self.alive:
            reader = data.draw(st.sampled_from(self.alive))
            wanted = data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True))
            self.requests += 1
            self.wanting[self.requests] = (reader, wanted)
            objects = tuple(Wanted(object_id, self.sizes[object_id], (NODE,)) for object_id in wanted)
            self.arguments.on_pin_arguments(reader, PinArguments(self.requests, objects, ahead))
            self.collect()

    @rule(data=st.data(), start=st.booleans())
    def decide_on_arguments(self, data: st.DataObject, start: bool) -> None:
        """The task starts before it has its arguments, or goes elsewhere."""
        if self.wanting:
            request = data.draw(st.sampled_from(sorted(self.wanting)))
            reader, _ = self.wanting[request]
            if start:
                self.arguments.on_pin_arguments(reader, PinArguments(request, (), False))
            else:
                del self.wanting[request]
                self.arguments.on_drop_arguments(reader, DropArguments(request))
            self.collect()

    @rule(data=st.data())
    def end_reading(self, data: st.DataObject) -> None:
        if self.pinned:
            reader, object_id = data.draw(st.sampled_from(sorted(self.pinned)))
            self.unpin(reader, object_id)

    def unpin(self, reader: bytes, object_id: ObjectId) -> None:
        self.pinned[(reader, object_id)] -= 1
        if not self.pinned[(reader, object_id)]:
            del self.pinned[(reader, object_id)]
        self.store.on_unpin_object(reader, UnpinObject(object_id, 1))
        self.collect()

    @rule(data=st.data(), twice=st.booleans())
    def free(self, data: st.DataObject, twice: bool) -> None:
        known = sorted(set(self.sealed) - self.freed)
        if known:
            object_id = data.draw(st.sampled_from(known))
            self.freed.add(object_id)
            for _ in range(1 + twice):
                self.store.on_free_objects(owner_of(object_id), FreeObjects((object_id,)))
            self.collect()

    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        if len(self.alive) < 2:
            return
        dead = data.draw(st.sampled_from(self.alive))
        self.alive.remove(dead)
        self.kill(dead)

    def kill(self, dead: bytes) -> None:
        self.freed |= {object_id for object_id in self.sizes if owner_of(object_id) == dead}
        self.asked = {key: writer for key, writer in self.asked.items() if writer != dead}
        self.writing = {key: value for key, value in self.writing.items() if value[0] != dead}
        self.reading = [item for item in self.reading if item[0] != dead]
        self.wanting = {key: value for key, value in self.wanting.items() if value[0] != dead}
        self.pinned = {key: count for key, count in self.pinned.items() if key[0] != dead}
        self.store.process_died(dead)
        self.pulls.process_died(dead)
        self.arguments.process_died(dead)
        self.store.on_allocate_object(dead, AllocateObject(return_id(task_id(dead, 10_000), 0), 64))
        self.collect()

    # --- What the disk and time do

    @rule(milliseconds=st.sampled_from([1, 10, 500, 3000]))
    def wait(self, milliseconds: int) -> None:
        self.node.clock.advance(milliseconds * MILLISECOND)
        self.collect()

    @rule(failing=st.booleans())
    def break_disk(self, failing: bool) -> None:
        self.node.files.failing = ["broken"] if failing else []

    @rule(data=st.data(), tear=st.booleans())
    def damage(self, data: st.DataObject, tear: bool) -> None:
        files = self.node.files
        if tear:
            files.tear = 1
            self.damaged = True
        elif any(files.files.values()):
            name = data.draw(st.sampled_from(sorted(name for name, content in files.files.items() if content)))
            files.corrupt(name, data.draw(st.integers(0, 1000)))
            self.damaged = True

    # --- What must hold

    @invariant()
    def blocks_do_not_overlap(self) -> None:
        entries = [entry for entry in self.store.entries.values() if 0 <= entry.offset < OUTSIDE]
        ranges = sorted((entry.offset, entry.offset + entry.size) for entry in entries)
        assert all(end <= start for (_, end), (start, _) in pairwise(ranges))
        assert sum(entry.size for entry in entries) == self.store.allocator.used <= CAPACITY

    @invariant()
    def disk_holds_no_more_than_a_multiple_of_what_is_needed(self) -> None:
        spilling = self.store.spilling
        needed = sum(entry.piece.stored for entry in self.store.entries.values() if entry.piece is not None)
        assert spilling.bytes_needed == needed
        at_rest = not spilling.compacting and all(file.movable for file in spilling.files.values())
        if at_rest and not any(file.readers for file in spilling.files.values()):
            assert spilling.bytes_on_disk <= GARBAGE * needed + CONFIG.spill_file_size

    @invariant()
    def large_objects_lie_in_files_of_their_own(self) -> None:
        outside = {entry.offset: entry.size for entry in self.store.entries.values() if entry.offset >= OUTSIDE}
        assert self.node.files.outside.items() >= outside.items()
        assert sum(outside.values()) <= self.store.outside.bytes

    @invariant()
    def pinned_bytes_are_those_that_were_sealed(self) -> None:
        for _, object_id in self.pinned:
            entry = self.store.entries[object_id]
            assert bytes(self.node.memory.read(entry.offset, entry.size, lambda: None)) == self.data_of(object_id)

    @invariant()
    def what_is_referred_to_exists(self) -> None:
        if not self.damaged:
            assert set(self.sealed) - self.freed <= set(self.store.entries)

    def teardown(self) -> None:
        self.node.files.failing.clear()
        for request, (reader, _) in list(self.wanting.items()):
            del self.wanting[request]
            self.arguments.on_drop_arguments(reader, DropArguments(request))
        self.collect()
        for reader, object_id in list(self.pinned):
            while (reader, object_id) in self.pinned:
                self.unpin(reader, object_id)
        self.node.clock.advance(60 * SECOND)
        self.collect()
        unwritten = {entry.object_id for entry in self.store.entries.values() if not entry.sealed}
        assert unwritten == set(self.writing), "blocks that are neither written nor given up"
        for dead in list(self.alive):
            self.kill(dead)
        self.node.clock.advance(60 * SECOND)
        self.collect()
        assert not self.reading and not self.asked and not self.wanting and not self.arguments.requests
        assert not self.store.entries and not len(self.store.room) and not self.pulls.active
        assert (
            self.store.allocator.used == 0 == self.store.spilling.bytes_on_disk == self.store.spilling.bytes_under_way
        )
        assert not self.node.files.files and not self.store.spilling.files
        assert not self.node.files.outside and not self.store.outside.bytes
        assert not len(self.store.evictable) and not self.store.evictable.ready


StoreModel.TestCase.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestStoreModel = StoreModel.TestCase
