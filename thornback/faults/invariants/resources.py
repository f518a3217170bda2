"""What nodes hand out: never more than they have, and never to the dead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from thornback.core.ids import GCS, LeaseId, NodeId, TaskId, node_of, short
from thornback.core.messages import Deaths
from thornback.core.resources import describe
from thornback.core.scheduling.pools import whole_gpus
from thornback.faults.invariants.base import Checker, Detail, Unsettled

if TYPE_CHECKING:
    from thornback.simulator.world import World

BundleKey = tuple[NodeId, TaskId, int]


class _Account:
    """What is there, and what of it is used; GPUs also by id."""

    __slots__ = ("gpus", "total", "used", "used_gpus")

    def __init__(self, total: Mapping[str, int], gpus: Mapping[int, int]) -> None:
        self.total = total
        self.gpus = gpus
        self.used: dict[str, int] = {}
        self.used_gpus: dict[int, int] = {}

    def add(self, amounts: Mapping[str, int], gpus: Mapping[int, int], sign: int = 1) -> str:
        """Take (or with sign -1 give back); the result says what there is too much of, "" for nothing."""
        excess = ""
        for name, amount in amounts.items():
            used = self.used[name] = self.used.get(name, 0) + sign * amount
            if used > self.total.get(name, 0):
                excess = f"{describe({name: used})} used of {describe({name: self.total.get(name, 0)})}"
            elif used < 0:
                excess = f"more {name} given back than was taken"
        for gpu, amount in gpus.items():
            used = self.used_gpus[gpu] = self.used_gpus.get(gpu, 0) + sign * amount
            if used > self.gpus.get(gpu, 0):
                excess = f"GPU {gpu} is used {used / 10_000:g} times, and there is {self.gpus.get(gpu, 0) / 10_000:g}"
        return excess


class _Lease:
    __slots__ = ("account", "bundle", "gpus", "held", "node")

    def __init__(
        self, node: NodeId, held: dict[str, int], gpus: Mapping[int, int], account: _Account, bundle: BundleKey | None
    ) -> None:
        self.node = node
        self.held = held
        self.gpus = gpus
        self.account = account
        self.bundle = bundle


class Capacity(Checker):
    """Keeps the books of every node and every bundle, as leases come and go."""

    name = "capacity"
    promise = "what is leased or set aside never exceeds what the node or bundle has, per resource and per GPU"

    def __init__(self) -> None:
        super().__init__()
        self._nodes: dict[NodeId, _Account] = {}
        self._bundles: dict[BundleKey, _Account] = {}
        self._leases: dict[LeaseId, _Lease] = {}

    def on_node_up(self, time: int, subject: bytes, detail: Detail) -> None:
        """A node process starts with these resources."""
        self._nodes[subject] = _Account(detail, whole_gpus(detail))

    def on_process_end(self, time: int, subject: bytes, detail: Detail) -> None:
        """With a node process go all its leases and bundles."""
        if subject in self._nodes:
            del self._nodes[subject]
            self._leases = {key: lease for key, lease in self._leases.items() if lease.node != subject}
            self._bundles = {key: account for key, account in self._bundles.items() if key[0] != subject}

    def on_lease_granted(self, time: int, subject: bytes, detail: Detail) -> None:
        """A node sets resources aside for a worker."""
        node, held, gpus, group, bundle, _holder = detail
        account = self._nodes.get(node)
        key = (node, group, bundle) if group else None
        if key is not None:
            account = self._bundles.get(key)
            if account is None:
                text = f"lease {short(subject)} uses bundle {bundle} of group {short(group)}, which {short(node)} lacks"
                self.fail(subject, "a lease in a bundle that is not there", text)
                return
        if account is None:
            self.fail(
                subject, "a lease on a node that is not up", f"lease {short(subject)} is granted by {short(node)}"
            )
            return
        if subject in self._leases:
            self.fail(subject, "a lease granted twice", f"lease {short(subject)} is granted twice")
            return
        self._leases[subject] = _Lease(node, dict(held), gpus, account, key)
        self._take(subject, account, held, gpus)

    def _take(
        self, subject: bytes, account: _Account, amounts: Mapping[str, int], gpus: Mapping[int, int], sign: int = 1
    ) -> None:
        excess = account.add(amounts, gpus, sign)
        if excess:
            self.fail(subject, "more handed out than there is", f"{short(subject)}: {excess}")

    def on_lease_cpu(self, time: int, subject: bytes, detail: Detail) -> None:
        """A worker that waits gives its CPU back, or takes it again."""
        _node, change = detail
        lease = self._leases.get(subject)
        if lease is not None:
            lease.held["CPU"] = lease.held.get("CPU", 0) + change
            self._take(subject, lease.account, {"CPU": change}, {})

    def on_lease_ended(self, time: int, subject: bytes, detail: Detail) -> None:
        """The resources are free again."""
        lease = self._leases.pop(subject, None)
        if lease is not None:
            self._take(subject, lease.account, lease.held, lease.gpus, -1)

    def on_bundle_reserved(self, time: int, subject: bytes, detail: Detail) -> None:
        """A node sets a bundle aside for a placement group."""
        node, index, _attempt, total, gpus = detail
        if (node, subject, index) in self._bundles:
            text = f"bundle {index} of group {short(subject)} is set aside twice on {short(node)}"
            self.fail(subject, "a bundle set aside twice", text)
        self._bundles[node, subject, index] = _Account(total, gpus)
        account = self._nodes.get(node)
        if account is not None:
            self._take(subject, account, total, gpus)

    def on_bundle_released(self, time: int, subject: bytes, detail: Detail) -> None:
        """The bundle is gone; what its tasks still hold is held from the node until they end."""
        node, index, _attempt = detail
        key = (node, subject, index)
        bundle, account = self._bundles.pop(key, None), self._nodes.get(node)
        if bundle is None or account is None:
            return
        self._take(subject, account, bundle.total, bundle.gpus, -1)
        for lease_id, lease in self._leases.items():
            if lease.bundle == key:
                lease.bundle, lease.account = None, account
                self._take(lease_id, account, lease.held, lease.gpus)


class DeadHolders(Checker):
    """Knows which deaths each node was told of, and who holds its leases."""

    name = "dead holders"
    promise = "a node grants nothing to a holder that it knows to be dead, and a fenced node starts nothing"

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[NodeId, dict[bytes, int]] = {}
        self._fenced: dict[NodeId, None] = {}

    def saw_deaths(self, time: int, sender: bytes, to: bytes, message: Deaths) -> None:
        """A node or process is told that others have ended."""
        if len(to) == len(node_of(to)):
            told = self._told.setdefault(to, {})
            for death in message.deaths:
                told.setdefault(death.address, time)

    def on_node_fenced(self, time: int, subject: bytes, detail: Detail) -> None:
        """The cluster has given up a node, and the node has learned of it."""
        self._fenced[subject] = None

    def on_lease_granted(self, time: int, subject: bytes, detail: Detail) -> None:
        """A node sets resources aside for a holder."""
        node, holder = detail[0], detail[5]
        told = self._told.get(node)
        if told and holder != GCS and (holder in told or node_of(holder) in told):
            text = f"{short(node)} grants lease {short(subject)} to {short(holder)}, of whose end it has been told"
            self.fail(subject, "a lease for a dead holder", text)
        if node in self._fenced:
            self.fail(subject, "a lease of a fenced node", f"{short(node)} was fenced, and grants {short(subject)}")

    def on_task_started(self, time: int, subject: bytes, detail: Detail) -> None:
        """A worker begins to run something."""
        if self._fenced and node_of(detail[4]) in self._fenced:
            text = f"{short(node_of(detail[4]))} was fenced, and starts task {short(subject)}"
            self.fail(subject, "a start on a fenced node", text)

    def unsettled(self, world: World) -> Iterable[Unsettled]:
        """Leases whose holder or worker is gone."""
        for node in world.nodes:
            if not node.alive or node.process is None:
                continue
            for lease_id, grant in node.process.core.raylet.grants.table.items():
                holder, worker = grant.request.holder, grant.worker
                if holder not in world.network.directory:
                    text = f"lease {short(lease_id)} on {node.name} is held by {short(holder)}, which has ended"
                    yield Unsettled("a lease of a dead holder", text, lease_id)
                elif worker is not None and node.workers.get(worker.worker_id) is None:
                    text = (
                        f"lease {short(lease_id)} on {node.name} has worker {short(worker.worker_id)}, which has ended"
                    )
                    yield Unsettled("a lease of a dead worker", text, lease_id)
