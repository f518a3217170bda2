"""Lease requests of one node: granted, passed on to a better node, or queued until resources are free."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from thornback.core.backoff import Backoff
from thornback.core.config import Config
from thornback.core.deaths import DeadProcesses
from thornback.core.gcs_client import GcsClient
from thornback.core.ids import GCS, Address, JobId, LeaseId, NodeId
from thornback.core.messages import CancelLease, HeldLease, LeaseInfeasible, LeaseSpilled, NodeView, RequestLease
from thornback.core.ports import Ports
from thornback.core.raylet.grants import RayletGrants
from thornback.core.raylet.quotas import RayletQuotas, why_never
from thornback.core.raylet.reclaiming import Reclaiming
from thornback.core.raylet.reservations import Reservations
from thornback.core.resources import Resources, add, fits
from thornback.core.scheduling.fair_queue import FairQueue, Waiting
from thornback.core.scheduling.feasibility import allowed, is_feasible, may_stay, why_infeasible
from thornback.core.scheduling.policies import place
from thornback.core.scheduling.request import PlacementRequest
from thornback.core.scheduling.view import ClusterView

if TYPE_CHECKING:
    from thornback.core.raylet.bundles import RayletBundles


HOPS_RETURN = 3
"""A request that was passed on as often as allowed may go on again after it has waited for so many view periods."""


class RayletLeases:
    """Requests for leases of this node's resources, until they are granted or go elsewhere.

    Attributes:
        grants: those that were granted.
        queue: those that wait here.
        parts: what takes messages.
        dead: processes and nodes known to have ended.
        infeasible: those that no node known could ever grant.
        wants_view: news of other nodes could help.
        view_seen: the GCS has told of the other nodes before: a policy that compares nodes waits for that.
    """

    def __init__(
        self,
        node_id: NodeId,
        ports: Ports,
        gcs: GcsClient,
        grants: RayletGrants,
        view: ClusterView,
        config: Config,
        total: Resources,
        dead: DeadProcesses,
    ) -> None:
        self.node_id = node_id
        self.gcs = gcs
        self.clock = ports.clock
        self.transport = ports.transport
        self.random = ports.random.stream("placement")
        self.grants = grants
        self.view = view
        self.config = config
        self.total = total
        self.dead = dead
        self.bundles: RayletBundles
        self.depend_on: Callable[[Address], None]
        """Called with each holder, whose end this node must learn of."""
        self.queue = FairQueue()
        self.reclaiming = Reclaiming(ports, grants, self.queue, config)
        self.reservations = Reservations(ports, grants, self.queue, self.reclaiming, config)
        self.quotas = RayletQuotas(ports.transport, grants)
        self.parts = (self, self.quotas, self.reclaiming)
        self._rounds = Backoff(config.view_period, config.group_retry)
        self._jitter = ports.random.stream("group-rounds")
        self.infeasible: dict[LeaseId, RequestLease] = {}
        self.wants_view = False
        self.view_seen = False
        self._is_draining = False
        self._untold: dict[LeaseId, None] = {}
        """Infeasible as far as this node knows; their holders are told when the GCS knows no more."""
        self._arrived: dict[LeaseId, None] = {}
        """Queued in this turn: what is not granted at its end may find room elsewhere."""

    @property
    def waiting(self) -> int:
        """Requests that are not granted."""
        return len(self.queue) + len(self.infeasible)

    # --- Requests

    def on_request_lease(self, sender: Address, message: RequestLease) -> None:
        """An owner wants a worker. One that was given up, and lives on behind a cut, gets none: nobody would take the
        worker back from it."""
        if message.holder in self.dead:
            return
        self.depend_on(message.holder)
        if message.lease_id in self.grants.table or message.lease_id in self.infeasible:
            return
        if message.lease_id in self.queue:
            self._enqueue(message)
            return
        never = "" if message.strategy.group else why_never(message)
        if never:
            self.transport.send(sender, LeaseInfeasible(message.lease_id, never))
        local = self.view.nodes[self.node_id]
        if message.strategy.group or (
            (message.hops > 0 or (may_stay(local, message.strategy) and not self._too_slow(message)))
            and allowed(local, message.strategy)
        ):
            self._enqueue(message)
            self._arrived[message.lease_id] = None
        elif self.view_seen:
            self._place(message)
        else:
            self._set_infeasible(message)

    def _enqueue(self, request: RequestLease) -> None:
        if request.patience and not request.hops and request.lease_id not in self.queue:
            self.clock.call_after(request.patience, lambda: self._waited_enough(request.lease_id))
        self.queue.add(request, self.clock.now())
        self.grants.shares.weights[request.job_id] = request.terms.weight
        self.grants.dirty = True
        self.grants.changed = True

    def _place(self, request: RequestLease) -> None:
        """Send a request on, or have it wait here."""
        self.wants_view = True
        if not is_feasible(request.resources, self.view.alive(), request.strategy):
            self._set_infeasible(request)
            return
        node = self._better_node(request, request.hops < self.config.spill_hops)
        if node is not None:
            self._spill(request, node)
        else:
            self._enqueue(request)

    def _better_node(self, request: RequestLease, may_move: bool) -> NodeId | None:
        """Where the request should go instead of waiting here, if anywhere."""
        chosen: NodeId | None = None
        if request.avoid and may_move:
            chosen = self._away(request)
        elif may_move and not self._stays(request):
            asked = PlacementRequest(request.resources, self.node_id, request.strategy, self.config, self.random)
            chosen = place(asked, self.view.alive())
            if chosen == self.node_id:
                self.view.debit(chosen, request.resources)
                return None
        if chosen is None and not self._may_wait_here(request):
            chosen = self._could_ever(request)
        return chosen

    def _may_wait_here(self, request: RequestLease) -> bool:
        """Whether what this node has could ever be for the request. Leases are asked back only where something waits
        for them."""
        strategy = request.strategy
        if strategy.kind == "NODE" and not strategy.soft and strategy.node != self.node_id:
            return False
        return fits(request.resources, self.total)

    def _away(self, request: RequestLease) -> NodeId | None:
        """A node with room that is not the one that the request avoids."""
        nodes = [node for node in self._others(request) if fits(request.resources, node.available)]
        chosen = nodes[self.random.randrange(len(nodes))].node_id if nodes else None
        return None if chosen == self.node_id else chosen

    def _others(self, request: RequestLease) -> list[NodeView]:
        """Nodes that could serve the request when nothing else runs, without the one that it avoids."""
        open_to = (node for node in self.view.alive() if allowed(node, request.strategy))
        return [node for node in open_to if node.node_id != request.avoid and fits(request.resources, node.total)]

    def _stays(self, request: RequestLease) -> bool:
        """Whether the request waits for this node, which has the arguments of its tasks, before it is passed on."""
        if not request.patience or request.hops or not fits(request.resources, self.total) or self._too_slow(request):
            return False
        waiting = self.queue.get(request.lease_id)
        return waiting is None or self.clock.now() - waiting.since < request.patience

    def _too_slow(self, request: RequestLease) -> bool:
        """Whether this node is slow, and that costs more time than to move the arguments of the tasks elsewhere."""
        factor = self.view.slow.get(self.node_id, 1.0)
        extra = int((factor - 1.0) * max(0, request.run_time))
        return factor > 1.0 and extra >= request.patience and request.strategy.kind == "DEFAULT"

    def _looks_elsewhere(self, request: RequestLease) -> bool:
        """Whether the request leaves this slow node if the next news of the others tell of room there."""
        if request.hops or not self.view.slow or not self._too_slow(request):
            return False
        waiting = self.queue.get(request.lease_id)
        return waiting is not None and self.clock.now() - waiting.since < 2 * self.config.view_period

    def _waited_enough(self, lease_id: LeaseId) -> None:
        waiting = self.queue.get(lease_id)
        if waiting is not None:
            self._place(waiting.request)

    def _could_ever(self, request: RequestLease) -> NodeId | None:
        permitted = [node for node in self.view.alive() if allowed(node, request.strategy)]
        nodes = [node for node in permitted if fits(request.resources, node.total)]
        return nodes[self.random.randrange(len(nodes))].node_id if nodes else None

    def _spill(self, request: RequestLease, node: NodeId) -> None:
        self._forget(request.lease_id)
        self.view.debit(node, request.resources)
        self.gcs.tell(request.holder, LeaseSpilled(request.lease_id, node, request.hops + 1))

    def _forget(self, lease_id: LeaseId) -> None:
        self.queue.remove(lease_id)
        self.grants.changed = True

    def held_for_gcs(self) -> tuple[HeldLease, ...]:
        """What the GCS has asked for and this node still has: granted, or waiting."""
        granted = [
            HeldLease(lease_id, grant.request.actor_id, b"" if grant.worker is None else grant.worker.worker_id)
            for lease_id, grant in self.grants.table.items()
            if grant.request.holder == GCS
        ]
        waiting = [waiting.request for waiting in self.queue]
        asked = [request for request in (*waiting, *self.infeasible.values()) if request.holder == GCS]
        return (*granted, *(HeldLease(request.lease_id, request.actor_id, b"") for request in asked))

    def on_cancel_lease(self, sender: Address, message: CancelLease) -> None:
        """The request is not needed any more."""
        if message.lease_id in self.queue:
            self._forget(message.lease_id)
        elif self.infeasible.pop(message.lease_id, None) is not None:
            self.grants.changed = True
        else:
            self.grants.withdraw(message.lease_id)

    def holder_died(self, address: Address) -> None:
        """A process or node has ended: what it asked for is void."""
        self.queue.remove_of(address)
        for lease_id in [key for key, request in self.infeasible.items() if request.holder.startswith(address)]:
            del self.infeasible[lease_id]
        self.grants.holder_died(address)

    # --- What no node could ever grant

    def _set_infeasible(self, request: RequestLease) -> None:
        self._forget(request.lease_id)
        self.infeasible[request.lease_id] = request
        self.wants_view = True
        self._untold[request.lease_id] = None

    def _tell_infeasible(self, request: RequestLease) -> None:
        reason = why_infeasible(request.name, request.resources, self.view.alive(), request.strategy)
        self.gcs.tell(request.holder, LeaseInfeasible(request.lease_id, reason))

    # --- Placement groups

    def _place_in_group(self, request: RequestLease) -> None:
        """A request that found no room in this node's bundles may find it in those of other nodes."""
        elsewhere = self.bundles.elsewhere(request)
        if elsewhere is not None:
            self._forget(request.lease_id)
            self.gcs.tell(request.holder, LeaseSpilled(request.lease_id, elsewhere, request.hops + 1))
        elif request.strategy.bundle == -1:
            delay = self._rounds.delay(self.bundles.rounds(request), self._jitter)
            self.clock.call_after(delay, lambda: self._go_round(request))

    def _go_round(self, request: RequestLease) -> None:
        if request.lease_id in self.queue and self.bundles.go_round(request):
            self._forget(request.lease_id)

    def bundles_changed(self) -> None:
        """A group's bundles have come: tasks may wait for them."""
        self.grants.dirty = True

    # --- Turns

    def view_changed(self) -> None:
        """News of other nodes: some requests may go there, or have become possible."""
        self.view_seen = True
        for request in list(self.infeasible.values()):
            if is_feasible(request.resources, self.view.alive(), request.strategy):
                del self.infeasible[request.lease_id]
                self._place(request)
            elif request.lease_id in self._untold:
                self._tell_infeasible(request)
        self._untold.clear()
        self._send_on()
        self.grants.dirty = True

    def _send_on(self) -> None:
        """Pass requests that wait here on to nodes that have room for them. They may wait for nodes that are gone."""
        sent: dict[JobId, Resources] = {}

        def attempt(waiting: Waiting) -> bool:
            request = waiting.request
            if request.strategy.group:
                return False
            if not is_feasible(request.resources, self.view.alive(), request.strategy):
                self._set_infeasible(request)
                return True
            patience = self.clock.now() - self.config.view_period * HOPS_RETURN
            node = self._better_node(request, request.hops < self.config.spill_hops or waiting.since < patience)
            if node is not None:
                add(sent.setdefault(request.job_id, {}), request.resources)
                self._spill(request, node)
            return node is not None

        shares = self.grants.shares
        self.queue.serve(lambda job: shares.of(job, sent.get(job)), self.grants.is_blocked, attempt)

    def end_turn(self) -> None:
        """Use what has become free."""
        grants = self.grants
        if not grants.dirty:
            return
        grants.dirty = False
        grants.resume_blocked(self.quotas.admit)
        self.reservations.update()
        self.bundles.reserve_waiting()
        self.queue.serve(grants.shares.of, grants.is_blocked, self._grant)
        arrived, self._arrived = self._arrived, {}
        for lease_id in arrived:
            waiting = self.queue.get(lease_id)
            if waiting is None:
                continue
            if waiting.request.strategy.group:
                self._place_in_group(waiting.request)
            else:
                self._place(waiting.request)
        self._leave_if_stuck()
        self.quotas.settle()
        grants.assign_workers()
        grants.dirty = False
        self.reclaiming.end_turn()

    def begin_draining(self) -> None:
        """This node leaves: nothing is granted any more, and what waits goes elsewhere as soon as there is room."""
        self._is_draining = True
        for request in self.grants.give_up_unstarted():
            self._place(request)
        self.view_changed()

    def _grant(self, waiting: Waiting) -> bool:
        request = waiting.request
        if self._is_draining:
            return False
        if request.strategy.group:
            pool = self.bundles.pool_for(request)
        else:
            pool = self.grants.free if self._may_start(request) else None
        if pool is None:
            return False
        grant = self.grants.grant(request, pool)
        if pool is self.grants.free:
            self.reservations.started(grant)
        return True

    def _may_start(self, request: RequestLease) -> bool:
        return (
            allowed(self.view.nodes[self.node_id], request.strategy)
            and not (request.avoid == self.node_id and self._others(request))
            and not self._looks_elsewhere(request)
            and self.grants.free.fits(request.resources)
            and self.grants.promises.admit(request.job_id, request.resources, self.grants.free.available)
            and self.reservations.admits(request.lease_id, (request.resources,), request.run_time)
            and self.quotas.admit(request, request.resources, self.queue.count_like(request.lease_id))
        )

    def _leave_if_stuck(self) -> None:
        """What has waited long and can never start before actors or bundles of this node end tries another node."""
        stuck = self.reservations.stuck
        if stuck is not None and stuck.request.lease_id in self.queue:
            node = self._could_ever(stuck.request)
            if node not in (None, self.node_id):
                self._spill(stuck.request, node)
