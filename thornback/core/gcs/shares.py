"""Fair parts for jobs over the whole cluster: what each holds, and who gives when others wait below their share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.gcs.quotas import exceeds
from thornback.core.ids import JobId, NodeId
from thornback.core.messages import JobShare, JobUse, TakeBack
from thornback.core.resources import Resources, add, subtract, total
from thornback.core.scheduling.rebalancing import JobNeed, NodeUse, plan

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore

PATIENCE = 10
"""View periods after which a node that was asked to take leases back is not waited for any more."""


class ShareTable:
    """What jobs hold and want, node by node, as the raylets report it.

    Raylets are fair to the requests that wait with them. Here it is seen that a job waits on one node while others hold
    more than their share elsewhere; then the nodes are asked to take leases back.
    """

    def __init__(self, gcs: GlobalControlStore) -> None:
        self.gcs = gcs
        self.clock = gcs.ports.clock
        self.transport = gcs.ports.transport
        self.config = gcs.config
        self._use: dict[NodeId, tuple[JobUse, ...]] = {}
        self._held: dict[JobId, Resources] = {}
        self._weights: dict[JobId, float] = {}
        self._asked: dict[NodeId, int] = {}
        """Nodes that have not reported since they were asked to take leases back, and when that was."""
        self._timer = False

    def report(self, node: NodeId, jobs: tuple[JobUse, ...]) -> None:
        """A node tells what jobs hold and want there."""
        self._asked.pop(node, None)
        self.node_died(node)
        if jobs:
            self._use[node] = jobs
        for job in jobs:
            add(self._held.setdefault(job.job_id, {}), job.held)
            self._weights[job.job_id] = job.weight
        if len(self._held) > 1 and any(job.each for job in jobs):
            self._watch()

    def node_died(self, node: NodeId) -> None:
        """Nothing is held there any more."""
        for job in self._use.pop(node, ()):
            held = self._held[job.job_id]
            subtract(held, job.held)
            if not any(held.values()) and not self._is_somewhere(job.job_id):
                del self._held[job.job_id]
                del self._weights[job.job_id]

    def _is_somewhere(self, job_id: JobId) -> bool:
        return any(job.job_id == job_id for jobs in self._use.values() for job in jobs)

    def for_node(self, node: NodeId) -> tuple[JobShare, ...]:
        """What jobs hold on other nodes."""
        here = {job.job_id: job.held for job in self._use.get(node, ())}
        shares = []
        for job_id, held in self._held.items():
            elsewhere = dict(held)
            subtract(elsewhere, here.get(job_id, {}))
            shares.append(JobShare(job_id, self._weights[job_id], {name: n for name, n in elsewhere.items() if n}))
        return tuple(shares)

    def _watch(self) -> None:
        if not self._timer:
            self._timer = True
            self.clock.call_after(self.config.share_period, self._rebalance)

    def _rebalance(self) -> None:
        self._timer = False
        waits = any(job.each for jobs in self._use.values() for job in jobs)
        if len(self._held) < 2 or not waits:
            return
        self._watch()
        deadline = self.clock.now() - PATIENCE * self.config.view_period
        if any(asked > deadline for asked in self._asked.values()):
            return
        for move in plan(self._needs(), self._nodes(), self.gcs.nodes.total):
            self._asked[move.node] = self.clock.now()
            self.transport.send(move.node, TakeBack(move.from_job, move.for_job, move.amounts))

    def _needs(self) -> dict[JobId, JobNeed]:
        needs = {job_id: JobNeed(self._weights[job_id], held, {}, {}) for job_id, held in self._held.items()}
        for jobs in self._use.values():
            for job in jobs:
                need = needs[job.job_id]
                if exceeds(self.gcs.jobs.terms_of(job.job_id).quota, total((need.held, job.each))):
                    continue
                add(need.waiting, job.waiting)
                if job.each and not need.each:
                    need.each.update(job.each)
        return needs

    def _nodes(self) -> dict[NodeId, NodeUse]:
        nodes = {}
        for node in self.gcs.nodes.view.alive():
            held = {job.job_id: dict(job.returnable) for job in self._use.get(node.node_id, ())}
            nodes[node.node_id] = NodeUse(dict(node.available), held)
        return nodes
