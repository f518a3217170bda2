"""Where actors go: a node is chosen, and asked for a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core import errors
from thornback.core.gcs.actor import Actor
from thornback.core.ids import GCS, WORKER_ID_SIZE, ActorId, Address, LeaseId, NodeId, node_of, owner_of, task_id
from thornback.core.messages import LeaseInfeasible, LeaseSpilled, RequestLease
from thornback.core.resources import describe, fits
from thornback.core.scheduling.feasibility import allowed, is_feasible, why_infeasible
from thornback.core.scheduling.policies import place
from thornback.core.scheduling.request import PlacementRequest
from thornback.core.serialization import error_value

if TYPE_CHECKING:
    from thornback.core.gcs.actors import ActorTable
    from thornback.core.gcs.store import GlobalControlStore

_HOLDER = GCS.ljust(WORKER_ID_SIZE, b"\0")
"""Stands for the GCS in the ids of its leases."""


class ActorPlacement:
    """Leases for actors that have no worker."""

    def __init__(self, gcs: GlobalControlStore, actors: ActorTable) -> None:
        self.gcs = gcs
        self.actors = actors
        self.transport = gcs.ports.transport
        self.config = gcs.config
        self.random = gcs.ports.random.stream("actor-placement")
        self.by_lease: dict[LeaseId, Actor] = {}
        self.unplaced: dict[ActorId, Actor] = {}
        self._leases = 0

    def place(self, actor: Actor) -> None:
        """Ask a node for a worker, or wait until there is one that could have it."""
        spec = actor.spec
        nodes = self.gcs.nodes.view.alive()
        demand = spec.placement_resources
        self.unplaced.pop(spec.actor_id, None)
        if spec.strategy.group:
            self._place_in_group(actor)
            return
        if not is_feasible(demand, nodes, spec.strategy):
            self.unplaced[spec.actor_id] = actor
            name = f"actor {spec.definition.name}"
            self._report_infeasible(actor, why_infeasible(name, demand, nodes, spec.strategy))
            return
        local = node_of(owner_of(spec.actor_id))
        chosen = place(PlacementRequest(demand, local, spec.strategy, self.config, self.random), nodes)
        if chosen is None:
            able = [node.node_id for node in nodes if allowed(node, spec.strategy) and fits(demand, node.total)]
            chosen = able[self.random.randrange(len(able))]
        self.gcs.nodes.view.debit(chosen, demand)
        self._ask(actor, chosen)

    def _place_in_group(self, actor: Actor) -> None:
        group = self.gcs.groups.table.get(actor.spec.strategy.group)
        index = actor.spec.strategy.bundle
        demand = actor.spec.resources
        if group is None or group.state == "REMOVED":
            self.group_removed(actor, "it has ended" if group is None else group.reason)
            return
        places = [node for place, node in enumerate(group.nodes) if index in (-1, place) and node]
        bundles = [bundle for place, bundle in enumerate(group.spec.bundles) if index in (-1, place)]
        if not any(fits(demand, bundle) for bundle in bundles):
            which = f"bundle {index}" if index >= 0 else "every bundle"
            text = f"actor {actor.spec.definition.name} needs {describe(demand)}, more than {which} of its group has"
            error = errors.ActorUnschedulableError(text, actor.actor_id.hex())
            self.actors.died(actor, text, error_value(error))
        elif not places or group.state != "CREATED":
            self.unplaced[actor.actor_id] = actor
            actor.reason = f"its placement group is {group.state}: {group.reason}"
        else:
            self._ask(actor, places[self._leases % len(places)])

    def group_removed(self, actor: Actor, reason: str) -> None:
        """Its placement group has ended."""
        text = f"actor {actor.spec.definition.name} has ended with its placement group: {reason}"
        error = errors.ActorPlacementGroupRemoved(text, actor.actor_id.hex())
        self.actors.died(actor, text, error_value(error))

    def _report_infeasible(self, actor: Actor, reason: str) -> None:
        if actor.spec.fail_infeasible:
            error = errors.ActorUnschedulableError(reason, actor.actor_id.hex())
            self.actors.died(actor, reason, error_value(error))
        elif actor.reason != reason:
            actor.reason = reason
            self.actors.news.tell(actor)

    # --- Leases

    def _ask(self, actor: Actor, node: NodeId, hops: int = 1) -> None:
        """Ask for a lease with an id that no node has heard before: what one repeats of an earlier lease is void."""
        self._leases += 1
        actor.lease_id = task_id(_HOLDER, self.gcs.incarnations.epoch + self._leases)
        self.by_lease[actor.lease_id] = actor
        spec = actor.spec
        actor.lease_node = node
        self.actors.save(actor)
        request = RequestLease(
            actor.lease_id,
            GCS,
            spec.resources,
            spec.strategy,
            spec.job_id,
            spec.runtime_env,
            spec.definition.name,
            hops,
            spec.actor_id,
            namespace=spec.namespace,
            priority=spec.priority,
            terms=self.gcs.jobs.terms_of(spec.job_id),
        )
        self.transport.send(node, request)

    def on_lease_spilled(self, sender: Address, message: LeaseSpilled) -> None:
        """Another node is better, if it has not died since."""
        actor = self.by_lease.get(message.lease_id)
        if actor is None or actor.lease_node != sender or actor.worker_id:
            return
        if self.actors.is_dead(message.node_id):
            self.actors.lease_gone(actor, "")
        else:
            self.actors.drop_lease(actor)
            self._ask(actor, message.node_id, message.hops)

    def on_lease_infeasible(self, sender: Address, message: LeaseInfeasible) -> None:
        """The node knows of none that could."""
        actor = self.by_lease.get(message.lease_id)
        if actor is not None and not actor.worker_id:
            self._report_infeasible(actor, message.reason)

    def view_changed(self) -> None:
        """Nodes have come: actors that fitted nowhere may fit now."""
        for actor in list(self.unplaced.values()):
            self.place(actor)

    def forget(self, actor: Actor) -> None:
        """It needs no place any more."""
        self.unplaced.pop(actor.actor_id, None)
