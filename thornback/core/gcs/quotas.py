"""Quotas of jobs: the GCS hands out what a job may hold, so that all nodes together never exceed it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from thornback.core.ids import Address, JobId, NodeId, TaskId
from thornback.core.messages import AskQuota, QuotaGiven
from thornback.core.resources import Resources, add, total

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore


class QuotaTable:
    """What each node, and each placement group, may hold of each job's quota.

    A node asks before it grants a lease to a job with a quota, and says at the same time what the job's leases hold
    there; whatever it was allowed beyond that is free for other nodes from then on. Requests that cannot be met wait
    here in the order of their arrival. A GCS that has taken over gives nothing before it knows what each node holds.
    """

    def __init__(self, gcs: GlobalControlStore) -> None:
        self.gcs = gcs
        self.transport = gcs.ports.transport
        self._given: dict[JobId, dict[Address, Resources]] = {}
        """By node, or by placement group."""
        self._asked: dict[JobId, dict[NodeId, AskQuota]] = {}
        self._silent: dict[NodeId, None] = {}
        """Nodes that an earlier GCS knew and that have not said yet what they hold."""

    def loaded(self) -> None:
        """All rows are here: groups hold what they held."""
        for group in self.gcs.groups.table.values():
            if any(group.nodes):
                self.charge(group.spec.job_id, group.spec.group_id, total(group.spec.bundles))
        self._silent = dict.fromkeys(self.gcs.nodes.alive())

    def told(self, node: NodeId) -> None:
        """A node has said what it holds, or holds nothing any more."""
        if node in self._silent:
            del self._silent[node]
            if not self._silent:
                for job_id in list(self._asked):
                    self._serve(job_id)

    def on_ask_quota(self, sender: Address, message: AskQuota) -> None:
        """A node wants to grant leases of a job, or to give back what it does not need."""
        given = self._given.setdefault(message.job_id, {})
        asked = self._asked.setdefault(message.job_id, {})
        given.pop(sender, None)
        asked.pop(sender, None)
        if any(message.held.values()):
            given[sender] = dict(message.held)
        if message.wanted:
            asked[sender] = message
        self._serve(message.job_id)

    def _serve(self, job_id: JobId) -> None:
        if self._silent:
            return
        given, asked = self._given.get(job_id, {}), self._asked.get(job_id, {})
        for node, message in list(asked.items()):
            more: Resources = {}
            used = total(given.values())
            for demand in message.wanted:
                if exceeds(message.quota, total((used, more, demand))):
                    break
                add(more, demand)
            if more:
                del asked[node]
                given[node] = total((given.get(node, {}), more))
                self.transport.send(node, QuotaGiven(job_id, message.number, given[node]))
        if not given and not asked:
            self._given.pop(job_id, None)
            self._asked.pop(job_id, None)

    def charge(self, job_id: JobId, group_id: TaskId, demand: Resources) -> bool:
        """Count a placement group; False if the job may not hold it now."""
        quota = self.gcs.jobs.terms_of(job_id).quota
        if not quota:
            return True
        given = self._given.setdefault(job_id, {})
        if group_id not in given:
            if self._silent or exceeds(quota, total((*given.values(), demand))):
                return False
            given[group_id] = {name: amount for name, amount in demand.items() if name in quota}
        return True

    def discharge(self, job_id: JobId, holder: Address) -> None:
        """A placement group or node holds nothing any more."""
        given = self._given.get(job_id)
        if given is not None and given.pop(holder, None) is not None:
            self._serve(job_id)

    def node_died(self, node: NodeId) -> None:
        """What the node was given is free."""
        for job_id in list(self._given):
            self._asked.get(job_id, {}).pop(node, None)
            self._given[job_id].pop(node, None)
            self._serve(job_id)
        self.told(node)


def exceeds(quota: Mapping[str, int], amounts: Mapping[str, int]) -> bool:
    """Whether amounts are above a quota in any resource that it names."""
    return any(amounts.get(name, 0) > most for name, most in quota.items())
