"""What this process knows of placement groups that it uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from thornback.core.ids import Address, NodeId, ObjectId, TaskId, owner_of
from thornback.core.messages import CreateGroup, GroupSpec, GroupUpdate, SubscribeGroup

if TYPE_CHECKING:
    from thornback.core.owner.owner import Owner

CREATED = "CREATED"
REMOVED = "REMOVED"
KEPT = 1000
"""Groups that have ended and are remembered."""


class Groups:
    """Where groups' bundles are, as the GCS last said."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.gcs = owner.gcs
        self.known: dict[TaskId, GroupUpdate] = {}
        self._asked: dict[TaskId, None] = {}
        self.coming: dict[TaskId, None] = {}
        """Groups of this process that the GCS has not yet said anything of."""
        self._watchers: dict[TaskId, list[Callable[[GroupUpdate], bool]]] = {}
        self._ended: dict[TaskId, None] = {}
        self.promised: dict[ObjectId, TaskId] = {}
        """Objects that become ready when a group has its place."""

    def create(self, spec: GroupSpec) -> None:
        """Ask the GCS for a new group."""
        self._asked[spec.group_id] = None
        self.coming[spec.group_id] = None
        self.gcs.send(CreateGroup(spec))

    def lookup(self, group_id: TaskId) -> GroupUpdate | None:
        """What is known of a group; None until the GCS has answered, which it is asked to do."""
        update = self.known.get(group_id)
        if update is None and group_id not in self._asked:
            self._asked[group_id] = None
            self._subscribe(group_id)
        return update

    def _subscribe(self, group_id: TaskId) -> None:
        self.owner.references.peers.depend_on(owner_of(group_id))
        self.gcs.send(SubscribeGroup(group_id, self.owner.references.is_dead(owner_of(group_id))))

    def subscribe_again(self) -> None:
        """Another GCS must know what this process wants to know."""
        for group_id in self._asked:
            if group_id not in self._ended:
                self._subscribe(group_id)

    def process_died(self, address: Address) -> None:
        """An owner died, perhaps before the GCS had heard of its groups: it says so in a moment."""
        for group_id in self._asked:
            if owner_of(group_id).startswith(address) and group_id not in self.known:
                self._subscribe(group_id)

    def watch(self, group_id: TaskId, watcher: Callable[[GroupUpdate], bool]) -> None:
        """Call ``watcher`` with what is known now and with each change, until it returns True."""
        update = self.lookup(group_id)
        if update is None or not watcher(update):
            self._watchers.setdefault(group_id, []).append(watcher)

    def unwatch(self, group_id: TaskId, watcher: Callable[[GroupUpdate], bool]) -> None:
        """Forget a watcher that has not returned True."""
        watchers = self._watchers.get(group_id, [])
        if watcher in watchers:
            watchers.remove(watcher)

    def on_group_update(self, sender: Address, message: GroupUpdate) -> None:
        """The GCS says where the group is."""
        known = self.known.get(message.group_id)
        if known is not None and (known.version >= message.version or known.state == REMOVED):
            return
        self.known[message.group_id] = message
        self.coming.pop(message.group_id, None)
        watchers = self._watchers.pop(message.group_id, [])
        left = [watcher for watcher in watchers if not watcher(message)]
        if left:
            self._watchers[message.group_id] = left + self._watchers.get(message.group_id, [])
        self.owner.leases.requests.group_changed(message)
        if message.state == REMOVED:
            self._ended[message.group_id] = None
            if len(self._ended) > KEPT:
                oldest = next(iter(self._ended))
                del self._ended[oldest]
                self.known.pop(oldest, None)
                self._asked.pop(oldest, None)

    def nodes_of(self, update: GroupUpdate, bundle: int) -> list[NodeId]:
        """Live nodes that hold the bundle, or any of them for -1."""
        is_dead = self.owner.references.is_dead
        places = update.nodes if bundle < 0 else update.nodes[bundle : bundle + 1]
        return [node for node in places if node and not is_dead(node)]
