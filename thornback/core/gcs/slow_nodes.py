"""Slow nodes: noticed by the run times that workers report, told to all nodes, and forgiven."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from thornback.core.config import SECOND
from thornback.core.ids import NodeId, node_of
from thornback.core.messages import SlowNode, SlowNodes, TaskEvent
from thornback.core.scheduling.slowness import LEAST_NODES, choose_slow, slowness

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore

RUNS = 16
"""Latest runs of a function on a node that count."""
FUNCTIONS = 100
"""Functions that are looked at; the one that was reported longest ago is forgotten first."""
PERIOD = 1 * SECOND
FORGET = 20 * SECOND
"""A node that is avoided is not measured any more: after this time it gets another chance."""


class _Runs:
    """Latest runs of one function on one node."""

    __slots__ = ("latest", "times")

    def __init__(self) -> None:
        self.times: deque[int] = deque(maxlen=RUNS)
        self.latest = 0


class SlowNodeTable:
    """Watches the speed of nodes.

    Attributes:
        slow: the slow nodes, and how many times longer than usual functions take there.
    """

    def __init__(self, gcs: GlobalControlStore) -> None:
        self.gcs = gcs
        self.clock = gcs.ports.clock
        self.transport = gcs.ports.transport
        self.slow: dict[NodeId, float] = {}
        self._runs: dict[str, dict[NodeId, _Runs]] = {}
        self._timer = False

    def record(self, events: Sequence[TaskEvent]) -> None:
        """Workers have run tasks."""
        if len(self.gcs.nodes.alive()) < LEAST_NODES:
            return
        now = self.clock.now()
        for event in events:
            if event.outcome != "finished":
                continue
            by_node = self._runs.pop(event.name, {})
            self._runs[event.name] = by_node
            runs = by_node.setdefault(node_of(event.worker_id), _Runs())
            runs.times.append(event.end - event.start)
            runs.latest = now
        while len(self._runs) > FUNCTIONS:
            del self._runs[next(iter(self._runs))]
        self._look_later()

    def _look_later(self) -> None:
        if not self._timer and self._runs:
            self._timer = True
            self.clock.call_after(PERIOD, self._look)

    def _look(self) -> None:
        self._timer = False
        oldest = self.clock.now() - FORGET
        for name, by_node in list(self._runs.items()):
            for node in [node for node, runs in by_node.items() if runs.latest < oldest]:
                del by_node[node]
            if not by_node:
                del self._runs[name]
        measured = slowness(
            {name: {node: runs.times for node, runs in by_node.items()} for name, by_node in self._runs.items()}
        )
        self._set(choose_slow(measured, self.slow))
        self._look_later()

    def _set(self, slow: dict[NodeId, float]) -> None:
        news = slow.keys() != self.slow.keys()
        self.slow = slow
        if news:
            self.gcs.nodes.view.set_slow(slow)
            if self.gcs.ports.trace.enabled:
                self.gcs.ports.trace.event("nodes.slow", b"", tuple(sorted(slow)))
            for node in self.gcs.nodes.alive():
                self.transport.send(node, self._message())

    def _message(self) -> SlowNodes:
        return SlowNodes(tuple(SlowNode(node, factor) for node, factor in sorted(self.slow.items())))

    def welcome(self, node: NodeId) -> None:
        """A node has joined, or has come back and may know what was so before."""
        self.transport.send(node, self._message())

    def node_died(self, node: NodeId) -> None:
        """It runs nothing any more."""
        for by_node in self._runs.values():
            by_node.pop(node, None)
        if node in self.slow:
            self._set({other: factor for other, factor in self.slow.items() if other != node})
