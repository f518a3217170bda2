"""Nodes: who is there, what they have, and who has died."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from thornback.core.config import MILLISECOND
from thornback.core.ids import Address, NodeId, short
from thornback.core.messages import (
    Death,
    Deaths,
    GetView,
    Heartbeat,
    NodeFenced,
    NodeRegistered,
    NodeView,
    RegisterNode,
    ReportResources,
    ViewDelta,
)
from thornback.core.resources import Resources, from_units, total
from thornback.core.scheduling.view import ClusterView

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore

MESSAGE_TIME = 20 * MILLISECOND
"""A report that arrives so long after something was sent to its node has been made with knowledge of it."""
DEAD_KEPT = 1000
"""Dead nodes that are remembered by name; a node that is forgotten is unknown, and fenced all the same."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(NodeView).decode


class NodeTable:
    """The cluster's membership and resources."""

    name = "nodes"

    def __init__(self, gcs: GlobalControlStore) -> None:
        self.gcs = gcs
        self.clock = gcs.ports.clock
        self.transport = gcs.ports.transport
        self.config = gcs.config
        self.view = ClusterView(self.clock.now, MESSAGE_TIME, 3 * self.config.view_period)
        self._total: Resources | None = None
        self.version = 0
        self._changed: dict[NodeId, int] = {}
        """Version of the table at each node's last change, oldest first."""
        self._heard: dict[NodeId, int] = {}
        self._checked = 0
        """When heartbeats were looked at last."""
        self._dead: dict[NodeId, None] = {}
        self._head: NodeId = b""

    def load(self, key: bytes, value: bytes) -> None:
        """Take over a committed row: a node that was alive has as long as after a heartbeat to come back."""
        view = _decode(value)
        self.view.apply(view)
        if view.alive:
            self._heard[key] = self.clock.now()
        else:
            self._dead[key] = None

    def expect(self, node: NodeId) -> None:
        """Something durable refers to the node; if its own row was lost, it has to come back like the others."""
        if node not in self._dead:
            self._heard.setdefault(node, self.clock.now())

    def start(self) -> None:
        """Begin to watch heartbeats; nodes that an earlier GCS knew are told of this one."""
        self.version = self.gcs.incarnations.epoch
        for node in self.view.nodes:
            self._note_changed(node)
        for node in self._heard:
            self.gcs.incarnations.announce(node)
        self._checked = self.clock.now()
        self.clock.call_after(self.config.heartbeat_period, self._check)

    def alive(self) -> list[NodeId]:
        """Ids of the nodes alive, in the order of their registration."""
        return list(self._heard)

    @property
    def total(self) -> Resources:
        """What all nodes alive have together."""
        if self._total is None:
            self._total = total(node.total for node in self.view.alive())
        return self._total

    # --- Membership

    def on_register_node(self, sender: Address, message: RegisterNode) -> None:
        """A node joins, or rejoins after the GCS was away."""
        self._total = None
        self._heard[sender] = self.clock.now()
        if message.is_head:
            self._head = sender
        self._update(message.view)
        self._save(sender)
        self.transport.send(sender, NodeRegistered(len(self._heard)))
        if self._dead:
            dead = tuple(Death(node, f"node {self._name(node)} died") for node in self._dead)
            self.transport.send(sender, Deaths(dead))
        self.gcs.keys.welcome(sender)
        self.gcs.slow_nodes.welcome(sender)
        self.gcs.view_changed()

    def on_report_resources(self, sender: Address, message: ReportResources) -> None:
        """A node's resources have changed."""
        if sender in self._heard:
            self._heard[sender] = self.clock.now()
            self._update(message.view)
            self.gcs.shares.report(sender, message.jobs)
            self.gcs.view_changed()
        else:
            self.transport.send(sender, NodeFenced())

    def on_heartbeat(self, sender: Address, message: Heartbeat) -> None:
        """A node is alive."""
        if sender in self._heard:
            self._heard[sender] = self.clock.now()

    def is_head(self, node: NodeId) -> bool:
        """Whether the GCS runs there."""
        return node == self._head

    def is_dead(self, node: NodeId) -> bool:
        """Whether the node was given up."""
        return node in self._dead

    def begin_draining(self, node: NodeId) -> None:
        """The node gets no more work from now on."""
        known = self.view.nodes.get(node)
        if known is not None:
            self._update(known)

    def _update(self, view: NodeView) -> None:
        if view.node_id in self.gcs.drains.leaving and not view.draining:
            view = msgspec.structs.replace(view, draining=True)
        if self.view.apply(view):
            self._note_changed(view.node_id)

    def _note_changed(self, node: NodeId) -> None:
        self.version += 1
        self._changed.pop(node, None)
        self._changed[node] = self.version

    def _save(self, node: NodeId) -> None:
        self.gcs.journal.write(self.name, node, _encode(self.view.nodes[node]))

    def _name(self, node: NodeId) -> str:
        known = self.view.nodes.get(node)
        return short(node) if known is None else known.name

    def _check(self) -> None:
        self._excuse()
        deadline = self._checked - self.config.heartbeat_period * self.config.heartbeat_misses
        for node in [node for node, heard in self._heard.items() if heard < deadline]:
            self.declare_dead(node, f"it missed {self.config.heartbeat_misses} heartbeats")
        self.clock.call_after(self.config.heartbeat_period, self._check)

    def _excuse(self) -> None:
        """The time by which this look is late is nobody's silence: this process was stopped, and heartbeats wait to be
        read, or its clock has jumped."""
        now = self.clock.now()
        late = now - self._checked - self.config.heartbeat_period
        if late > 0:
            for node, heard in self._heard.items():
                self._heard[node] = min(heard + late, now)
        self._checked = now

    def declare_dead(self, node: NodeId, reason: str) -> None:
        """The node is dead for good, even if it should speak again."""
        if node not in self._heard:
            return
        del self._heard[node]
        self._dead[node] = None
        if node not in self.view.nodes:
            self.view.apply(NodeView(node, 0, short(node), {}, {}, {}))
        self._total = None
        self.gcs.shares.node_died(node)
        self.gcs.quotas.node_died(node)
        self.view.died(node)
        self._save(node)
        self._note_changed(node)
        if self.gcs.ports.trace.enabled:
            self.gcs.ports.trace.event("node.dead", node, reason)
        name = self._name(node)
        news = Deaths((Death(node, f"node {name} died: {reason}"),))
        for other in self._heard:
            self.transport.send(other, news)
        self.gcs.slow_nodes.node_died(node)
        self.gcs.drains.node_died(node)
        self.gcs.process_died(node, f"node {name} died: {reason}")
        while len(self._dead) > DEAD_KEPT:
            oldest = next(iter(self._dead))
            del self._dead[oldest]
            self.view.nodes.pop(oldest, None)
            self._changed.pop(oldest, None)
            self.gcs.journal.write(self.name, oldest, None)

    def on_deaths(self, sender: Address, message: Deaths) -> None:
        """A raylet reports processes of its node that have ended."""
        for death in message.deaths:
            self.gcs.process_died(death.address, death.reason)

    # --- The view

    def on_get_view(self, sender: Address, message: GetView) -> None:
        """Somebody asks what has changed."""
        news: list[NodeView] = []
        for node_id, version in reversed(self._changed.items()):
            if version <= message.since:
                break
            news.append(self.view.nodes[node_id])
        news.reverse()
        self.transport.send(sender, ViewDelta(self.version, tuple(news), self.gcs.shares.for_node(sender), self.total))

    def rows(self) -> list[dict[str, Any]]:
        """For people."""
        return [
            {
                "node_id": node.node_id.hex(),
                "name": node.name,
                "state": "ALIVE" if node.alive else "DEAD",
                "resources": from_units(node.total),
                "available": from_units(node.available),
                "labels": node.labels,
                "endpoint": node.endpoint,
                "slowness": self.gcs.slow_nodes.slow.get(node.node_id, 1.0),
            }
            for node in self.view.nodes.values()
        ]
