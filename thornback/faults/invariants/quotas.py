"""What jobs may hold in all: their quotas."""

from __future__ import annotations

from collections.abc import Mapping

from thornback.core.ids import JobId, LeaseId, NodeId, TaskId, short
from thornback.core.messages import JobStarted, RequestLease, ReserveBundles
from thornback.core.resources import Resources, add, describe
from thornback.faults.invariants.base import Checker, Detail

_Held = tuple[JobId, NodeId, Resources]


class Quotas(Checker):
    """Adds up what the leases and bundles of each job hold on all nodes that the cluster counts on."""

    name = "quotas"
    promise = "the leases and bundles of a job hold no more than its quota, on all nodes together"

    def __init__(self) -> None:
        super().__init__()
        self._quotas: dict[JobId, Mapping[str, int]] = {}
        self._job_of: dict[LeaseId, JobId] = {}
        self._job_of_group: dict[TaskId, JobId] = {}
        self._leases: dict[LeaseId, _Held] = {}
        self._bundles: dict[tuple[NodeId, TaskId, int], _Held] = {}
        self._dead: dict[NodeId, None] = {}

    def saw_job_started(self, time: int, sender: bytes, to: bytes, message: JobStarted) -> None:
        """A driver has its job."""
        if message.terms.quota:
            self._quotas[message.job_id] = message.terms.quota

    def saw_request_lease(self, time: int, sender: bytes, to: bytes, message: RequestLease) -> None:
        """Somebody wants a worker."""
        if message.terms.quota:
            self._job_of[message.lease_id] = message.job_id
            self._quotas.setdefault(message.job_id, message.terms.quota)

    def saw_reserve_bundles(self, time: int, sender: bytes, to: bytes, message: ReserveBundles) -> None:
        """A node is to set bundles aside."""
        if message.job_id in self._quotas:
            self._job_of_group[message.group_id] = message.job_id

    def on_lease_granted(self, time: int, subject: bytes, detail: Detail) -> None:
        """A node sets resources aside for a worker."""
        node, held, _gpus, group, _bundle, _holder = detail
        job = self._job_of.get(subject)
        if job is not None and not group:
            self._leases[subject] = (job, node, dict(held))
            self._add_up(subject, job)

    def on_lease_cpu(self, time: int, subject: bytes, detail: Detail) -> None:
        """A worker that waits gives its CPU back, or takes it again."""
        held = self._leases.get(subject)
        if held is not None:
            add(held[2], {"CPU": detail[1]})
            self._add_up(subject, held[0])

    def on_lease_ended(self, time: int, subject: bytes, detail: Detail) -> None:
        """The resources are free again."""
        self._leases.pop(subject, None)
        self._job_of.pop(subject, None)

    def on_bundle_reserved(self, time: int, subject: bytes, detail: Detail) -> None:
        """A node sets a bundle aside for a placement group."""
        node, index, _attempt, total, _gpus = detail
        job = self._job_of_group.get(subject)
        if job is not None:
            self._bundles[node, subject, index] = (job, node, dict(total))
            self._add_up(subject, job)

    def on_bundle_released(self, time: int, subject: bytes, detail: Detail) -> None:
        """The bundle is gone."""
        self._bundles.pop((detail[0], subject, detail[1]), None)

    def on_node_dead(self, time: int, subject: bytes, detail: Detail) -> None:
        """The cluster does not count on the node any more, nor with what it holds."""
        self._dead[subject] = None

    def on_process_end(self, time: int, subject: bytes, detail: Detail) -> None:
        """With a node process go all its leases and bundles."""
        self._leases = {key: held for key, held in self._leases.items() if held[1] != subject}
        self._bundles = {key: held for key, held in self._bundles.items() if held[1] != subject}

    def _add_up(self, subject: bytes, job: JobId) -> None:
        held: Resources = {}
        for of_job, node, amounts in (*self._leases.values(), *self._bundles.values()):
            if of_job == job and node not in self._dead:
                add(held, amounts)
        quota = self._quotas[job]
        over = {name: held[name] for name, most in quota.items() if held.get(name, 0) > most}
        if over:
            text = f"with {short(subject)}, job {job} holds {describe(over)}, and may hold {describe(quota)}"
            self.fail(subject, "more held than the quota", text)
