"""Arguments of one task come together or not at all."""

from __future__ import annotations

from typing import Any

from tests.core.objects.toy import NODE, ToyNode, process
from thornback.core.config import SECOND, Config
from thornback.core.ids import ObjectId, WorkerId, return_id, task_id
from thornback.core.messages import (
    AllocateObject,
    ArgumentsFailed,
    ArgumentsInUse,
    ArgumentsPinned,
    DropArguments,
    FreeObjects,
    ObjectAllocated,
    PinArguments,
    SealObject,
    UnpinObject,
    Wanted,
)
from thornback.core.objects.arguments import ArgumentRequests
from thornback.core.objects.pulls import Pulls
from thornback.core.ports import OUTSIDE, NoTrace, Ports
from thornback.simulator.seeds import Streams

BLOCK = 64
DRIVER, ONE, OTHER = process(1), process(2), process(3)


class Node(ToyNode):
    """A store of ten blocks, with its requests."""

    def __init__(self, disk: bool = True, file_blocks: int = 2, ahead: int = 0) -> None:
        config = Config(spill_file_size=file_blocks * BLOCK, allocation_wait=SECOND, spill_ahead=ahead * BLOCK)
        super().__init__(10 * BLOCK, config, disk)
        ports = Ports(self.clock, Streams(1, b"test"), self.transport, NoTrace())
        self.pulls = Pulls(NODE, ports, self.store, config)
        self.arguments = ArgumentRequests(self.store, self.pulls)
        self.count = 0

    def put(self, blocks: int) -> ObjectId:
        """An object of that many blocks."""
        self.count += 1
        object_id = return_id(task_id(DRIVER, self.count), 0)
        self.store.on_allocate_object(DRIVER, AllocateObject(object_id, blocks * BLOCK))
        self.clock.advance(SECOND // 10)
        allocated = [message for _, message in self.transport.take() if isinstance(message, ObjectAllocated)]
        self.memory.write(allocated[-1].offset, [bytes([self.count]) * (blocks * BLOCK)])
        self.store.on_seal_object(DRIVER, SealObject(object_id, False))
        return object_id

    def want(self, worker: WorkerId, request: int, *object_ids: ObjectId, ahead: bool = False) -> None:
        wanted = tuple(Wanted(each, self.store.entries[each].size, (NODE,)) for each in object_ids)
        self.arguments.on_pin_arguments(worker, PinArguments(request, wanted, ahead))

    def answers(self, seconds: float = 0.5) -> list[tuple[WorkerId, Any]]:
        """What workers are told within some time."""
        self.clock.advance(int(seconds * SECOND))
        kinds = (ArgumentsPinned, ArgumentsFailed)
        return [(to, message) for to, message in self.transport.take() if isinstance(message, kinds)]

    def release(self, worker: WorkerId, *object_ids: ObjectId) -> None:
        for object_id in object_ids:
            self.store.on_unpin_object(worker, UnpinObject(object_id, 1))


def test_those_that_wait_hold_nothing_and_those_that_are_answered_hold_all() -> None:
    node = Node()
    first, second, third, fourth = (node.put(4) for _ in range(4))
    node.want(ONE, 1, first, second)
    ((to, message),) = node.answers()
    assert to == ONE and {block[0] for block in message.blocks} == {first, second}
    node.want(OTHER, 1, third, fourth)
    assert node.answers(0.3) == []
    assert all(not node.store.entries[each].pins for each in (third, fourth)), "who waits should hold nothing"
    more = node.put(2)
    assert node.store.entries[first].pins == {ONE: 1} and node.store.entries[first].offset >= 0
    node.release(ONE, first, second)
    ((to, message),) = node.answers()
    assert to == OTHER and {block[0] for block in message.blocks} == {third, fourth}
    for object_id, offset, size in message.blocks:
        entry = node.store.entries[object_id]
        assert entry.pins == {OTHER: 1} and (entry.offset, entry.size) == (offset, size)
    assert more in node.store.entries


def test_no_task_overtakes_an_older_one_but_a_write_does() -> None:
    node = Node(disk=False)
    held = node.put(6)
    node.want(ONE, 1, held)
    assert len(node.answers()) == 1
    absent = node.put(1)
    large = Wanted(return_id(task_id(process(9), 1), 0), 8 * BLOCK, (b"\0" * 7 + b"\7",))
    node.arguments.on_pin_arguments(OTHER, PinArguments(1, (large,), False))
    node.want(OTHER, 2, absent)
    assert node.answers(0.3) == [], "the younger task should wait behind the older one, though it would fit"
    assert node.put(2), "the write of a task that runs should go ahead"


def test_arguments_that_exceed_the_store_are_read_from_memory_and_files() -> None:
    node = Node()
    first, second = node.put(5), node.put(6)
    node.want(ONE, 1, first, second)
    ((_, message),) = node.answers(3)
    assert isinstance(message, ArgumentsPinned)
    assert sorted(offset >= OUTSIDE for _, offset, _ in message.blocks) == [False, True]
    node.release(ONE, first)
    node.release(ONE, second)
    assert not node.arguments.requests and not node.store.outside.bytes


def test_arguments_that_exceed_the_store_are_not_fetched_before_their_task_is_next() -> None:
    node = Node()
    first, second = node.put(5), node.put(6)
    node.want(ONE, 1, first, second, ahead=True)
    assert node.answers(5) == [] and not node.store.outside.bytes
    node.arguments.on_pin_arguments(ONE, PinArguments(1, (), False))
    ((_, message),) = node.answers(3)
    assert isinstance(message, ArgumentsPinned) and len(message.blocks) == 2


def test_arguments_that_exceed_the_store_fail_at_once_where_there_is_no_disk() -> None:
    node = Node(disk=False)
    elsewhere = [return_id(task_id(DRIVER, number), 0) for number in (1, 2)]
    wanted = tuple(
        Wanted(each, blocks * BLOCK, (process(9)[:8],)) for each, blocks in zip(elsewhere, (5, 6), strict=True)
    )
    node.arguments.on_pin_arguments(ONE, PinArguments(1, wanted, False))
    ((_, failed),) = node.answers(0)
    assert isinstance(failed, ArgumentsFailed) and failed.full and "704" in failed.reason and "640" in failed.reason
    assert not node.arguments.requests


def test_a_request_that_is_dropped_while_it_waits_lets_the_next_one_go() -> None:
    node = Node()
    first, second, third = node.put(5), node.put(6), node.put(2)
    node.want(DRIVER, 1, first)
    assert len(node.answers()) == 1
    node.want(ONE, 1, second)
    node.want(OTHER, 1, third)
    assert node.answers(0.2) == []
    node.arguments.on_drop_arguments(ONE, DropArguments(1))
    ((to, message),) = node.answers(0.2)
    assert to == OTHER and isinstance(message, ArgumentsPinned)
    assert not node.arguments.requests and not len(node.store.room) and not node.store.entries[second].pins


def test_a_request_that_is_dropped_while_one_object_is_read_from_disk_leaves_no_pin() -> None:
    node = Node()
    first, second, third = node.put(4), node.put(4), node.put(4)
    assert node.store.entries[first].offset < 0, "the oldest should be on disk"
    node.want(ONE, 1, third, first)
    node.clock.advance(1)
    for _ in range(200):
        if node.store.entries[first].moving:
            break
        node.clock.advance(50_000)
    assert node.store.entries[third].pins == {ONE: 1}, "what is in memory should stay while the other is read"
    node.arguments.on_drop_arguments(ONE, DropArguments(1))
    node.clock.advance(SECOND)
    assert not node.store.entries[third].pins and not node.store.entries[first].pins and second


def test_arguments_are_waited_for_as_long_as_tasks_run_with_theirs() -> None:
    node = Node()
    first, second = node.put(6), node.put(6)
    node.want(ONE, 1, first)
    assert len(node.answers()) == 1
    node.want(OTHER, 1, second)
    for _ in range(20):
        node.store.on_arguments_in_use(ONE, ArgumentsInUse())
        assert node.answers(0.5) == []
    ((_, message),) = node.answers(6)
    assert isinstance(message, ArgumentsPinned), "nobody makes progress any more, so that they get a file"
    assert message.blocks[0][1] >= OUTSIDE


def test_arguments_of_tasks_that_come_later_take_only_what_is_left_over() -> None:
    node = Node()
    first, second = node.put(6), node.put(6)
    node.want(ONE, 1, second)
    assert len(node.answers()) == 1
    node.want(OTHER, 1, first, ahead=True)
    assert node.answers(5) == [] and node.arguments.requests, "it should wait without failing"
    node.arguments.on_pin_arguments(OTHER, PinArguments(1, (), False))
    node.release(ONE, second)
    ((to, message),) = node.answers()
    assert to == OTHER and isinstance(message, ArgumentsPinned)


def test_two_arguments_that_lie_side_by_side_on_disk_are_read_once_each() -> None:
    node = Node(file_blocks=8, ahead=8)
    objects = [node.put(2) for _ in range(9)]
    wanted = [each for each in objects if node.store.entries[each].offset < 0][:2]
    node.store.on_free_objects(DRIVER, FreeObjects(tuple(each for each in objects if each not in wanted)))
    node.clock.advance(SECOND)
    node.want(ONE, 1, *wanted)
    ((_, message),) = node.answers()
    assert isinstance(message, ArgumentsPinned)
    assert node.store.allocator.used == 4 * BLOCK, "no block is taken that no object has"
