"""Objects that are made or read in two ways at the same time: neither takes the bytes from the other."""

from __future__ import annotations

from tests.core.objects.test_arguments import BLOCK, DRIVER, NODE, Node
from tests.core.objects.test_spilling import READER, content, filled, free
from tests.core.objects.toy import process
from thornback.core.config import MILLISECOND, SECOND
from thornback.core.messages import (
    AllocateObject,
    FetchObject,
    KeepCopy,
    ObjectAllocated,
    ObjectChunk,
    ObjectPinned,
    PinFailed,
    PinObject,
    UnpinObject,
)
from thornback.core.objects.store import EXISTS

OTHER_NODE = b"\0\0\0\0\0\0\0\2"
WRITER = process(7)


def test_a_freed_object_that_is_made_again_while_it_is_read_does_not_go_with_its_reader() -> None:
    node = Node()
    made = node.put(2)
    node.pulls.on_pin_object(READER, PinObject(made, 2 * BLOCK, (NODE,)))
    free(node, made)
    node.store.on_allocate_object(WRITER, AllocateObject(made, 2 * BLOCK))
    answers = [message for to, message in node.transport.take() if to == WRITER]
    assert answers == [ObjectAllocated(made, EXISTS)]
    node.store.on_unpin_object(READER, UnpinObject(made, 1))
    assert content(node, made) == b"\1" * 2 * BLOCK


def test_a_freed_copy_that_becomes_the_primary_does_not_go_with_its_reader() -> None:
    node = Node()
    made = node.put(2)
    node.pulls.on_pin_object(READER, PinObject(made, 2 * BLOCK, (NODE,)))
    free(node, made)
    node.store.on_keep_copy(DRIVER, KeepCopy(made))
    node.store.on_unpin_object(READER, UnpinObject(made, 1))
    assert made in node.store.entries


def test_a_failed_read_for_another_node_does_not_take_the_block_that_is_being_read_back() -> None:
    node, made = filled()
    spilled = next(each for each in made if node.store.entries[each].offset < 0)
    for each in made:
        if node.store.entries[each].in_memory:
            node.pulls.on_pin_object(WRITER, PinObject(each, BLOCK, (NODE,)))
    node.transport.take()
    piece = node.store.entries[spilled].piece
    assert piece is not None
    node.pulls.on_fetch_object(OTHER_NODE, FetchObject(spilled, 0, BLOCK))
    node.pulls.on_pin_object(READER, PinObject(spilled, BLOCK, (NODE,)))
    pinned = next(each for each in made if node.store.entries[each].pins)
    node.store.on_unpin_object(WRITER, UnpinObject(pinned, 1))
    assert node.store.entries[spilled].moving and node.store.entries[spilled].offset >= 0, "it is being read back"
    node.files.corrupt(piece.file, piece.offset)
    node.clock.advance(MILLISECOND // 8)
    node.files.corrupt(piece.file, piece.offset)
    node.clock.advance(SECOND)
    sent = node.transport.take()
    assert [type(message) for to, message in sent if to == READER and type(message) in (ObjectPinned, PinFailed)] == [
        ObjectPinned
    ]
    chunks = [message for to, message in sent if to == OTHER_NODE]
    assert [(type(chunk), chunk.total, chunk.data) for chunk in chunks] == [(ObjectChunk, BLOCK, b"\1" * BLOCK)]
