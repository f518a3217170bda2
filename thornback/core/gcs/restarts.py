"""Actors that start again: after a crash, within ``max_restarts``; and elsewhere, when their node leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.backoff import Backoff
from thornback.core.ids import Address, NodeId
from thornback.core.messages import ALIVE, RESTARTING, ActorMoved, CancelLease, MoveActor, ReturnLease

if TYPE_CHECKING:
    from thornback.core.gcs.actor import Actor
    from thornback.core.gcs.actors import ActorTable


class Restarts:
    """When, and how often, an actor gets another incarnation."""

    def __init__(self, actors: ActorTable) -> None:
        ports, config = actors.gcs.ports, actors.config
        self._actors = actors
        self._clock = ports.clock
        self._transport = actors.transport
        self._lasting = config.retry_backoff_limit
        """An incarnation that lived for so long has not ended soon."""
        self._backoff = Backoff(config.retry_backoff, config.retry_backoff_limit)
        self._jitter = ports.random.stream("actor-restart")

    @staticmethod
    def allowed(actor: Actor) -> int:
        """Restarts that it may have in all; -1: no limit. Those for the sake of its node do not count."""
        limit = actor.spec.max_restarts
        return limit if limit < 0 else limit + actor.moves

    @staticmethod
    def may(actor: Actor) -> bool:
        """Whether its next incarnation may start."""
        return actor.moving or actor.spec.max_restarts < 0 or actor.restarts < actor.spec.max_restarts

    def restart(self, actor: Actor, reason: str, moved: bool = False) -> None:
        """Place it again: at once, but after a moment if its last incarnations ended soon too.

        Args:
            moved: the last incarnation has answered all that it has started.
        """
        lasted = actor.state == ALIVE and self._clock.now() - actor.alive_since > self._lasting
        actor.failures = 0 if lasted or actor.moving else actor.failures + 1
        if actor.moving:
            actor.moves += 1
            actor.moving = False
        else:
            actor.restarts += 1
        actor.state = RESTARTING
        actor.reason = reason
        self._actors.publish(actor, moved)
        if actor.failures <= 1:
            self._actors.placement.place(actor)
            return

        def due() -> None:
            if actor.state == RESTARTING and not actor.lease_id:
                self._actors.placement.place(actor)

        self._clock.call_after(self._backoff.delay(actor.failures - 1, self._jitter), due)

    # --- Nodes that leave

    def node_leaves(self, node: NodeId) -> None:
        """What is on the node starts again elsewhere, if it may be restarted at all; nothing new comes to it."""
        there = [actor for actor in self._actors.table.values() if actor.lease_id and actor.lease_node == node]
        for actor in there:
            if actor.state == ALIVE:
                self.move(actor)
            elif not actor.worker_id:
                self._transport.send(node, CancelLease(actor.lease_id))
                self._actors.drop_lease(actor)
                self._actors.placement.place(actor)

    def move(self, actor: Actor) -> None:
        """Have a live actor on a node that leaves end its work there."""
        if actor.spec.max_restarts and not actor.ending:
            actor.moving = True
            self._actors.save(actor)
            reason = f"its node leaves: {self._actors.gcs.drains.leaving[actor.lease_node]}"
            self._transport.send(actor.worker_id, MoveActor(actor.spec.actor_id, actor.incarnation, reason))

    def on_actor_moved(self, sender: Address, message: ActorMoved) -> None:
        """The incarnation on a node that leaves has answered all its calls."""
        actor = self._actors.table.get(message.actor_id)
        if actor is None or actor.incarnation != message.incarnation or not actor.moving or actor.state != ALIVE:
            return
        reason = "its node leaves the cluster"
        self._transport.send(actor.lease_node, ReturnLease(actor.lease_id, True, reason))
        self._actors.drop_lease(actor)
        self.restart(actor, reason, moved=True)
