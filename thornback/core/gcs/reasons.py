"""What actors and placement groups wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thornback.core.gcs.actor import Actor
from thornback.core.gcs.group import CREATED, REMOVED, Group
from thornback.core.ids import GCS, Address, owner_of, short
from thornback.core.messages import ALIVE, DEAD, RESTARTING, AskReasons, ReasonsGiven
from thornback.core.messages.waits import (
    ACTOR,
    BUNDLE,
    GROUP,
    LEASE,
    NODE,
    PROCESS,
    TASK,
    ActorComing,
    ActorThere,
    Finished,
    GroupComing,
    Held,
    Infeasible,
    Reason,
    Subject,
    Unknown,
)
from thornback.core.scheduling.packing import why_never, why_not_now

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore

MOST_NODES = 200
"""Nodes up to which all are looked at for what a group waits for."""


class GcsReasons:
    """The part of the graph of waits that the GCS knows. Reads its tables; changes nothing."""

    def __init__(self, gcs: GlobalControlStore) -> None:
        self.gcs = gcs

    def on_ask_reasons(self, sender: Address, message: AskReasons) -> None:
        """Somebody wants to know why something waits."""
        reasons: Any = tuple(self.reason_for(subject) for subject in message.subjects)
        self.gcs.ports.transport.send(sender, ReasonsGiven(message.request, self.gcs.ports.clock.now(), reasons))

    def reason_for(self, subject: Subject) -> Reason:
        """What an actor or a group waits for."""
        if subject.kind == ACTOR:
            return self._actor(subject.identifier)
        group = self.gcs.groups.table.get(subject.identifier)
        if subject.kind == GROUP:
            return self._group(subject.identifier, group)
        if subject.kind == BUNDLE:
            return self._bundle(group)
        return Unknown(why=f"is not known: {subject.kind!r} is nothing that the GCS has")

    def _actor(self, actor_id: bytes) -> Reason:
        actor = self.gcs.actors.table.get(actor_id)
        if actor is None:
            if actor_id in self.gcs.actors.ended:
                return Unknown(why="has ended")
            return ActorComing(
                needs=(Subject(owner_of(actor_id), ACTOR, actor_id),), needed=1, restarting=False, why=""
            )
        name = actor.spec.definition.name
        if actor.state == ALIVE:
            return ActorThere(name=name)
        if actor.state == DEAD:
            return Unknown(name=name, why=f"has ended: {actor.reason}")
        return self._coming(actor, name)

    def _coming(self, actor: Actor, name: str) -> Reason:
        need: Subject | None = None
        if actor.worker_id:
            need = Subject(actor.worker_id, TASK, actor.spec.actor_id)
        elif actor.lease_id:
            need = Subject(actor.lease_node, LEASE, actor.lease_id)
        elif actor.spec.strategy.group:
            need = Subject(GCS, GROUP, actor.spec.strategy.group)
        elif actor.reason:
            return Infeasible(name=name, why=actor.reason)
        needs = () if need is None else (need,)
        restarting = actor.state == RESTARTING
        return ActorComing(name=name, needs=needs, needed=len(needs), restarting=restarting, why=actor.reason)

    def _group(self, group_id: bytes, group: Group | None) -> Reason:
        if group is None:
            return Unknown(why="is not known (any more)")
        spec = group.spec
        name = spec.name or short(group_id)
        if group.state == REMOVED:
            return Unknown(name=name, why=f"has ended: {group.reason}")
        if group.state == CREATED:
            return Finished(name=name, failed=False, nodes=tuple(group.nodes))
        if group.attempt:
            return GroupComing(name=name, state=group.state, why="the nodes that were chosen set its bundles aside")
        nodes = [node for node in self.gcs.nodes.view.alive() if not node.draining]
        never = why_never(spec.bundles, spec.strategy, nodes, spec.selectors)
        if never:
            return Infeasible(name=name, why=never)
        why = why_not_now(spec.bundles, spec.strategy, nodes, spec.selectors, group.nodes)
        needs = tuple(Subject(node.node_id, NODE, node.node_id) for node in nodes) if why else ()
        needs = needs if len(needs) <= MOST_NODES else ()
        return GroupComing(name=name, needs=needs, needed=min(1, len(needs)), state=group.state, why=why)

    def _bundle(self, group: Group | None) -> Reason:
        if group is None or group.spec.detached or group.state == REMOVED:
            return Unknown(why="lasts until somebody removes it")
        spec = group.spec
        makers = [owner_of(spec.group_id)]
        job = self.gcs.jobs.table.get(spec.job_id)
        if job is not None and job.driver not in makers:
            makers.append(job.driver)
        needs = tuple(Subject(process, PROCESS, process) for process in makers)
        return Held(name=spec.name or short(spec.group_id), needs=needs, needed=1)

    def rows(self) -> list[dict[str, Any]]:
        """Actors and groups that have no place, as rows."""
        actors = [
            (actor.spec.definition.name, actor.spec.job_id, ACTOR, actor_id)
            for actor_id, actor in self.gcs.actors.table.items()
            if actor.state not in (ALIVE, DEAD)
        ]
        groups = [
            (group.spec.name or short(group_id), group.spec.job_id, GROUP, group_id)
            for group_id, group in self.gcs.groups.reservations.waiting.items()
        ]
        return [
            {"name": name, "count": 1, "job_id": job_id, "at": GCS.hex(), "kind": kind, "identifier": identifier.hex()}
            for name, job_id, kind, identifier in (*actors, *groups)
        ]
