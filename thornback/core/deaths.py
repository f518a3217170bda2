"""Which processes have ended: remembered exactly, in little space.

Ids are never used twice, and those of a node's processes come from a counter. Processes that have ended are therefore
kept as runs of neighbouring numbers, one list of runs per node: as many runs as processes in between live on, however
many have ended. The end of a node takes the place of all of its runs.
"""

from __future__ import annotations

from bisect import bisect_right

from thornback.core.ids import NODE_ID_SIZE, Address, NodeId, is_node, node_of

NODES_KEPT = 100_000
"""Ended nodes that are remembered, oldest forgotten first."""
RUNS_KEPT = 10_000
"""Runs that are remembered of one node; lowest numbers, which are the oldest processes, forgotten first."""


class Runs:
    """A set of integers, as runs of neighbours."""

    __slots__ = ("ends", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        """Exclusive."""

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self.starts, number) - 1
        return at >= 0 and number < self.ends[at]

    def add(self, number: int) -> None:
        """Put a number in."""
        if number in self:
            return
        at = bisect_right(self.starts, number)
        joins_left = at > 0 and self.ends[at - 1] == number
        joins_right = at < len(self.starts) and self.starts[at] == number + 1
        if joins_left and joins_right:
            self.ends[at - 1] = self.ends[at]
            del self.starts[at], self.ends[at]
        elif joins_left:
            self.ends[at - 1] = number + 1
        elif joins_right:
            self.starts[at] = number
        else:
            self.starts.insert(at, number)
            self.ends.insert(at, number + 1)
            if len(self.starts) > RUNS_KEPT:
                del self.starts[0], self.ends[0]


class DeadProcesses:
    """All processes and nodes that are known to have ended."""

    def __init__(self) -> None:
        self._nodes: dict[NodeId, None] = {}
        self._processes: dict[NodeId, Runs] = {}

    def __bool__(self) -> bool:
        return bool(self._nodes or self._processes)

    def __contains__(self, address: Address) -> bool:
        node = address[:NODE_ID_SIZE]
        if node in self._nodes:
            return True
        runs = self._processes.get(node)
        return runs is not None and len(address) > NODE_ID_SIZE and _number(address) in runs

    def add(self, address: Address) -> None:
        """A process, or a node with all of its processes, has ended."""
        node = node_of(address)
        if is_node(address):
            self._processes.pop(node, None)
            self._nodes[node] = None
            if len(self._nodes) > NODES_KEPT:
                del self._nodes[next(iter(self._nodes))]
        elif node not in self._nodes:
            self._processes.setdefault(node, Runs()).add(_number(address))

    @property
    def size(self) -> int:
        """Nodes and runs that are kept."""
        return len(self._nodes) + sum(len(runs.starts) for runs in self._processes.values())


def _number(address: Address) -> int:
    return int.from_bytes(address[NODE_ID_SIZE:], "big")
