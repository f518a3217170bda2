"""A node that leaves with notice: its work ends or moves, its objects are copied out, and then it goes.

Tasks that run are let end; those that still run shortly before the time is over are ended and start again elsewhere.
Requests that wait here are sent on. Primary copies go to other nodes, and their owners confirm each by having ours
freed. The GCS has actors and bundles move.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.config import MILLISECOND
from thornback.core.ids import GCS, Address, NodeId, ObjectId, is_node, owner_of
from thornback.core.messages import (
    DrainNode,
    LeaveCluster,
    NodeDrained,
    NodeRemoved,
    ObjectTaken,
    PrimaryMoved,
    TakeObject,
)
from thornback.core.objects.entry import Entry
from thornback.core.resources import OBJECT_STORE_MEMORY

if TYPE_CHECKING:
    from thornback.core.raylet.raylet import Raylet

LOOK_PERIOD = 100 * MILLISECOND
COPIES = 32
"""Most objects that other nodes fetch from this one at the same time."""


class Draining:
    """What a raylet does once its node is to leave.

    Attributes:
        active: the node leaves.
        left: it is out of the cluster; its process must end.
    """

    def __init__(self, raylet: Raylet) -> None:
        self._raylet = raylet
        self._transport = raylet.transport
        self.active = False
        self.left = False
        self._reason = ""
        self._asked: dict[ObjectId, NodeId] = {}
        """Objects that another node fetches now."""
        self._moved: dict[ObjectId, NodeId] = {}
        """Objects that are on another node, which their owners have been told."""
        self._refused: dict[ObjectId, int] = {}
        """How many nodes could not take an object."""
        self._late = False
        """What still ran has been ended."""

    def notice(self, reason: str, timeout: int) -> None:
        """The machine will be taken away in ``timeout`` nanoseconds: tell the cluster."""
        self._raylet.gcs.send(DrainNode(0, self._raylet.node_id, reason, timeout))

    def on_leave_cluster(self, sender: Address, message: LeaveCluster) -> None:
        """The GCS has this node leave."""
        if self.active:
            return
        raylet = self._raylet
        self.active = True
        self._reason = message.reason
        raylet.grants.changed = True
        raylet.grants.dirty = True
        raylet.refresh_view()
        raylet.leases.begin_draining()
        raylet.grants.begin_draining()
        if message.timeout >= 0:
            margin = min(raylet.config.drain_margin, message.timeout // 2)
            raylet.clock.call_after(message.timeout - margin, self._end_what_runs)
            raylet.clock.call_after(message.timeout, self._leave)
        self._look()

    def _end_what_runs(self) -> None:
        self._late = True
        for grant in list(self._raylet.grants.table.values()):
            if grant.worker is not None:
                grant.drained = True
                self._raylet.pool.kill(grant.worker, f"its node leaves the cluster: {self._reason}")

    # --- Objects

    def _primaries(self) -> list[Entry]:
        store = self._raylet.store
        return [
            entry
            for entry in store.entries.values()
            if entry.sealed and entry.primary and not entry.doomed and not store.is_dead(owner_of(entry.object_id))
        ]

    def _copy_out(self, primaries: list[Entry]) -> bool:
        """Have other nodes fetch what is only here; False if there is nobody to fetch it."""
        nodes = [node for node in self._raylet.view.alive() if not node.draining]
        if not nodes:
            return False
        for entry in primaries:
            if len(self._asked) >= COPIES:
                break
            object_id = entry.object_id
            tries = self._refused.get(object_id, 0)
            if object_id in self._asked or object_id in self._moved or tries >= 2 * len(nodes):
                continue
            able = [node for node in nodes if node.total.get(OBJECT_STORE_MEMORY, 0) >= entry.size] or nodes
            target = able[(index_of_bytes(object_id) + tries) % len(able)].node_id
            self._asked[object_id] = target
            self._transport.send(target, TakeObject(object_id, entry.size))
        return True

    def on_object_taken(self, sender: Address, message: ObjectTaken) -> None:
        """Another node has the object, or cannot have it."""
        if self._asked.get(message.object_id) != sender:
            return
        del self._asked[message.object_id]
        if message.here:
            self._moved[message.object_id] = sender
            self._transport.send(owner_of(message.object_id), PrimaryMoved(message.object_id, sender))
        else:
            self._refused[message.object_id] = self._refused.get(message.object_id, 0) + 1

    def process_died(self, address: Address) -> None:
        """A node that was to keep objects may have ended."""
        if self.active and is_node(address):
            for table in (self._asked, self._moved):
                for object_id in [object_id for object_id, node in table.items() if node == address]:
                    del table[object_id]

    # --- The end

    def _look(self) -> None:
        if self.left:
            return
        self._look_once()
        self._raylet.clock.call_after(LOOK_PERIOD, self._look)

    def _look_once(self) -> None:
        raylet = self._raylet
        if self.left or raylet.fenced:
            return
        raylet.leases.wants_view = True
        primaries = self._primaries()
        possible = self._copy_out(primaries)
        busy = any(grant.worker is not None for grant in raylet.grants.table.values())
        needed = raylet.drivers and not self._late
        if not (busy or needed or (primaries and possible)):
            self._leave()

    def _leave(self) -> None:
        if not self.left:
            self._transport.send(GCS, NodeDrained())

    def on_node_removed(self, sender: Address, message: NodeRemoved) -> None:
        """This node is not part of the cluster any more."""
        self.left = True
        if self._raylet.trace.enabled:
            self._raylet.trace.event("node.left", self._raylet.node_id)


def index_of_bytes(identifier: bytes) -> int:
    """A number that spreads ids."""
    return int.from_bytes(identifier[-8:], "big")
