"""The arena's allocator against a plain model: a list of taken intervals."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from thornback.core.objects.allocator import Allocator

CAPACITY = 64 * 64
BLOCK = 64


def rounded(size: int) -> int:
    return max(BLOCK, -(-size // BLOCK) * BLOCK)


class AllocatorMachine(RuleBasedStateMachine):
    """Takes and gives back blocks in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.allocator = Allocator(CAPACITY + 17)
        self.taken: dict[int, int] = {}

    def gaps(self) -> list[tuple[int, int]]:
        """Free (size, offset), as the model sees them: neighbours are one."""
        found, at = [], 0
        for offset, size in [*sorted(self.taken.items()), (CAPACITY, 0)]:
            if offset > at:
                found.append((offset - at, at))
            at = offset + size
        return found

    @rule(size=st.integers(0, CAPACITY // 3) | st.integers(0, CAPACITY + BLOCK))
    def allocate(self, size: int) -> None:
        gaps = self.gaps()
        offset = self.allocator.allocate(size)
        fitting = sorted(gap for gap in gaps if gap[0] >= rounded(size))
        if not fitting:
            assert offset is None, f"got {offset} for {size} bytes, but the largest gap is {max(gaps, default=0)}"
            return
        assert offset == fitting[0][1], f"best fit for {size} bytes is at {fitting[0]}, not at {offset}"
        self.taken[offset] = rounded(size)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.taken)))
        del self.taken[offset]
        self.allocator.release(offset)

    @invariant()
    def nothing_overlaps_and_nothing_leaks(self) -> None:
        at = 0
        for offset, size in sorted(self.taken.items()):
            assert offset >= at and offset % BLOCK == 0, f"the block at {offset} overlaps the one before, up to {at}"
            at = offset + size
        assert at <= CAPACITY
        assert self.allocator.used == sum(self.taken.values())

    @invariant()
    def free_neighbours_are_one_block(self) -> None:
        assert self.allocator.largest() == max((size for size, _offset in self.gaps()), default=0)


TestAllocator = AllocatorMachine.TestCase
TestAllocator.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def test_after_all_releases_the_whole_arena_is_one_block() -> None:
    allocator = Allocator(CAPACITY)
    offsets = [allocator.allocate(100) for _ in range(CAPACITY // 128)]
    assert None not in offsets and allocator.allocate(1) is None
    for offset in offsets[::2] + offsets[1::2]:
        assert offset is not None
        allocator.release(offset)
    assert allocator.largest() == CAPACITY
    assert allocator.used == 0


def test_an_arena_without_room_has_none() -> None:
    assert Allocator(0).allocate(1) is None
    assert Allocator(63).largest() == 0
