"""Spill files that are half empty are copied together; nothing is deleted under a reader; eviction has an order."""

from __future__ import annotations

from tests.core.objects.test_arguments import BLOCK, DRIVER, NODE, Node
from tests.core.objects.toy import process
from thornback.core.config import SECOND
from thornback.core.ids import ObjectId, return_id, task_id
from thornback.core.messages import CopyChanged, FreeObjects, PinObject, UnpinObject

READER = process(5)


def free(node: Node, *object_ids: ObjectId) -> None:
    node.store.on_free_objects(DRIVER, FreeObjects(object_ids))


def content(node: Node, object_id: ObjectId) -> bytes:
    """What a reader gets."""
    node.pulls.on_pin_object(READER, PinObject(object_id, node.store.entries[object_id].size, (NODE,)))
    node.clock.advance(SECOND // 10)
    entry = node.store.entries[object_id]
    data = bytes(node.memory.read(entry.offset, entry.size, lambda: None))
    node.store.on_unpin_object(READER, UnpinObject(object_id, 1))
    return data


def filled() -> tuple[Node, list[ObjectId]]:
    """Forty objects in a store of ten, the others in files of four."""
    node = Node(file_blocks=4)
    return node, [node.put(1) for _ in range(40)]


def test_files_that_are_mostly_garbage_are_copied_together() -> None:
    node, made = filled()
    spilled = [each for each in made if node.store.entries[each].piece is not None]
    assert len(spilled) >= 28
    before = len(node.files.files)
    free(node, *[each for number, each in enumerate(spilled) if number % 4])
    node.clock.advance(SECOND)
    spilling = node.store.spilling
    assert spilling.bytes_on_disk <= 2 * spilling.bytes_needed + 4 * BLOCK
    assert len(node.files.files) < before and spilling.bytes_on_disk == node.files.used
    for number, object_id in enumerate(made, start=1):
        if object_id in node.store.entries:
            assert content(node, object_id) == bytes([number]) * BLOCK, f"object {number} should be what was put"


def test_an_object_that_is_freed_while_its_file_is_copied_is_gone_from_the_copy_too() -> None:
    node, made = filled()
    spilled = [each for each in made if node.store.entries[each].piece is not None]
    rest = spilled[::4]
    free(node, *[each for each in spilled if each not in rest])
    assert node.store.spilling.compacting, "copying should have begun"
    free(node, *rest)
    node.clock.advance(SECOND)
    assert node.store.spilling.bytes_on_disk == node.store.spilling.bytes_needed == node.files.used == 0


def test_an_object_that_is_read_while_its_file_is_copied_comes_back() -> None:
    node, made = filled()
    spilled = [each for each in made if node.store.entries[each].piece is not None]
    kept = spilled[0]
    assert node.store.entries[kept].offset < 0
    free(node, *[each for number, each in enumerate(spilled) if number % 4])
    assert node.store.spilling.compacting, "copying should have begun"
    node.pulls.on_pin_object(READER, PinObject(kept, BLOCK, (NODE,)))
    piece = node.store.entries[kept].piece
    assert piece is not None and node.store.spilling.files[piece.file].readers == 1
    node.clock.advance(SECOND)
    entry = node.store.entries[kept]
    assert entry.in_memory and entry.piece is not None and entry.piece.file != piece.file
    assert bytes(node.memory.read(entry.offset, BLOCK, lambda: None)) == b"\1" * BLOCK
    assert piece.file not in node.files.files, "the old file should be deleted once it is read no more"


def test_copies_go_before_primaries_and_the_least_recently_used_first() -> None:
    node = Node()
    old, young = node.put(3), node.put(3)
    copy = return_id(task_id(process(9), 1), 0)
    entry = node.store.add(copy, node.store.take(3 * BLOCK) or 0, 3 * BLOCK, NODE)
    node.store.seal(entry)
    node.put(3)
    gone = [message for _, message in node.transport.take() if isinstance(message, CopyChanged)]
    assert copy not in node.store.entries, "the copy should have gone first"
    assert node.store.entries[old].in_memory and node.store.entries[young].in_memory and not gone[1:]
    content(node, old)
    node.put(3)
    assert node.store.entries[young].offset < 0, "what was read longest ago should be the first to go to disk"
    assert node.store.entries[old].in_memory
