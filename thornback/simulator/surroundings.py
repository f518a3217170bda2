"""What user code of one simulated process senses of the machine: time, random numbers, its pid and host."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from thornback.simulator import seeds
from thornback.simulator.clock import EPOCH

if TYPE_CHECKING:
    from thornback.simulator.nodes import Node
    from thornback.simulator.world import World

BOOT = 1_000 * 1_000_000_000
"""What ``time.monotonic`` shows at virtual time 0, in nanoseconds."""
FREE_READS = 1000
"""Clock readings in a row that take no time; a program that reads more often is waiting for time to pass."""


class Surroundings:
    """The machine as one process sees it.

    Attributes:
        name: seeds its random numbers; equal in each run of the same program.
        reads: clock readings since its code last waited.
    """

    __slots__ = ("_entropy", "_numbers", "_world", "name", "node", "pid", "reads")

    def __init__(self, world: World, node: Node, name: bytes, pid: int) -> None:
        self._world = world
        self.node = node
        self.name = name
        self.pid = pid
        self.reads = 0
        self._numbers: random.Random | None = None
        self._entropy: random.Random | None = None

    def wall(self) -> int:
        """Nanoseconds since 1970, virtual."""
        return EPOCH + self.node.clock.now()

    def monotonic(self) -> int:
        """Nanoseconds since the machine booted, virtual."""
        return BOOT + self.node.clock.monotonic()

    @property
    def numbers(self) -> random.Random:
        """What the functions of the module ``random`` use."""
        if self._numbers is None:
            self._numbers = seeds.stream(self._world.seed, self.name, "random")
        return self._numbers

    @property
    def entropy(self) -> random.Random:
        """What stands for the machine's source of true randomness."""
        if self._entropy is None:
            self._entropy = seeds.stream(self._world.seed, self.name, "entropy")
        return self._entropy

    def random_bytes(self, count: int) -> bytes:
        """What ``os.urandom`` returns."""
        return self.entropy.randbytes(count)
