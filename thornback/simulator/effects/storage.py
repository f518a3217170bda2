"""Faults of shared memory, spill files and transfers of objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from thornback.core.messages import Message, ObjectChunk
from thornback.core.objects.allocator import Allocator
from thornback.faults import plan as p
from thornback.simulator.effects.base import Effect, End, before_send
from thornback.simulator.process import NodeProcess, Outbox

if TYPE_CHECKING:
    from thornback.simulator.world import World

BLOCK = 1 << 20


def _fill_store(world: World, fault: p.FillStore) -> End:
    filled: list[tuple[NodeProcess, list[int]]] = []
    over = False

    def fill(process: NodeProcess) -> None:
        if not over:
            allocator = process.core.raylet.store.allocator
            filled.append((process, _take(allocator, int(fault.fraction * allocator.capacity))))

    def end() -> None:
        nonlocal over
        over = True
        for process, taken in filled:
            if not process.ended:
                for offset in taken:
                    process.core.raylet.store.allocator.release(offset)
                process.core.raylet.store.room.serve()
                process.settle()

    world.nodes[fault.node].when_up(fill)
    return end


def _take(allocator: Allocator, left: int) -> list[int]:
    """Allocate ``left`` bytes, or as much of them as is free; returns the offsets."""
    taken: list[int] = []
    size = BLOCK
    while size >= 64:
        offset = allocator.allocate(size) if left >= size else None
        if offset is None:
            size //= 2
        else:
            taken.append(offset)
            left -= size
    return taken


def _evict_copies(world: World, fault: p.EvictCopies) -> None:
    process = world.nodes[fault.node].process
    if process is not None and not process.gate:
        while process.core.raylet.store.evict_one():
            pass
        process.settle()


def _spill_error(world: World, fault: p.SpillError) -> End:
    spill = world.nodes[fault.node].spill
    reason = "input/output error"
    spill.failing.append(reason)

    def end() -> None:
        spill.failing.remove(reason)

    return end


def _torn_spill(world: World, fault: p.TornSpill) -> None:
    world.nodes[fault.node].spill.tear += fault.count


def _corrupt_spill(world: World, fault: p.CorruptSpill) -> None:
    spill = world.nodes[fault.node].spill
    for number, (file, data) in enumerate(spill.files.items()):
        if data:
            spill.corrupt(file, 7919 * (number + 1))


def _slow_disk(world: World, fault: p.SlowDisk) -> End:
    spill = world.nodes[fault.node].spill
    spill.speed *= fault.factor

    def end() -> None:
        spill.speed /= fault.factor

    return end


def _corrupt_chunk(world: World, fault: p.CorruptChunk) -> None:
    left = fault.count

    def corrupt(outbox: Outbox) -> None:
        nonlocal left
        if not left:
            return
        for messages in outbox.values():
            for place, message in enumerate(messages):
                if left and isinstance(message, ObjectChunk) and message.data:
                    left -= 1
                    messages[place] = _damaged(message)

    world.nodes[fault.node].when_up(lambda process: before_send(process, corrupt))


def _damaged(chunk: ObjectChunk) -> Message:
    data = bytearray(chunk.data)
    data[len(data) // 2] ^= 0xFF
    return msgspec.structs.replace(chunk, data=bytes(data))


EFFECTS: dict[type, Effect] = {
    p.FillStore: _fill_store,
    p.EvictCopies: _evict_copies,
    p.SpillError: _spill_error,
    p.TornSpill: _torn_spill,
    p.CorruptSpill: _corrupt_spill,
    p.SlowDisk: _slow_disk,
    p.CorruptChunk: _corrupt_chunk,
}
