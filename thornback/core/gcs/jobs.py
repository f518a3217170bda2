"""Jobs: one per driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from thornback.core.ids import Address, JobId, WorkerId, node_of
from thornback.core.messages import EndJob, JobEnded, JobStarted, JobTerms, StartJob

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore

KEPT = 1000
"""Ended jobs that are remembered."""


class Job(msgspec.Struct):
    """One driver's program, also as it lies in the durable store."""

    job_id: JobId
    driver: WorkerId
    namespace: str
    entrypoint: str
    metadata: dict[str, str]
    terms: JobTerms
    started: int
    """By the clock of the GCS, nanoseconds."""
    ended: int | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Job).decode


class JobTable:
    """Numbers drivers' programs and ends what they leave behind."""

    name = "jobs"

    def __init__(self, gcs: GlobalControlStore) -> None:
        self.gcs = gcs
        self.clock = gcs.ports.clock
        self.transport = gcs.ports.transport
        self.table: dict[JobId, Job] = {}
        self._running: dict[JobId, Job] = {}
        self.last = 0

    def load(self, key: bytes, value: bytes) -> None:
        """Take over a committed row: numbers are not used twice."""
        job = _decode(value)
        self.table[job.job_id] = job
        if job.ended is None:
            self._running[job.job_id] = job
        self.last = max(self.last, job.job_id)

    def loaded(self) -> None:
        """All rows are here: drivers on nodes that do not come back are missed."""
        for job in self._running.values():
            self.gcs.nodes.expect(node_of(job.driver))

    def _save(self, job: Job) -> None:
        self.gcs.journal.write(self.name, str(job.job_id).encode(), _encode(job))

    def on_start_job(self, sender: Address, message: StartJob) -> None:
        """A driver has connected."""
        for job in self.table.values():
            if job.driver == sender:
                self.transport.send(sender, JobStarted(job.job_id, job.namespace, job.terms))
                return
        self.last += 1
        job_id = self.last
        namespace = message.namespace or f"job-{job_id}"
        job = Job(job_id, sender, namespace, message.entrypoint, message.metadata, message.terms, self.clock.now())
        self.table[job_id] = self._running[job_id] = job
        self._save(job)
        self.transport.send(sender, JobStarted(job_id, namespace, job.terms))

    def terms_of(self, job_id: JobId) -> JobTerms:
        """What a job may claim."""
        job = self.table.get(job_id)
        return JobTerms() if job is None else job.terms

    def on_end_job(self, sender: Address, message: EndJob) -> None:
        """A driver leaves."""
        job = self.table.get(message.job_id)
        if job is not None:
            self.end(job, "its job has ended")

    def end(self, job: Job, reason: str) -> None:
        """End what the job has started and that is not detached."""
        if job.ended is not None:
            return
        job.ended = self.clock.now()
        del self._running[job.job_id]
        self._save(job)
        self.gcs.actors.job_ended(job.job_id, reason)
        self.gcs.groups.job_ended(job.job_id)
        for node in self.gcs.nodes.alive():
            self.transport.send(node, JobEnded(job.job_id))
        ended = [known for known in self.table.values() if known.ended is not None]
        for known in ended[:-KEPT]:
            del self.table[known.job_id]
            self.gcs.journal.write(self.name, str(known.job_id).encode(), None)

    def jobs_held(self, node: Address, jobs: tuple[JobId, ...]) -> None:
        """A node has workers of these jobs: it may not have heard of the end of some."""
        for job_id in jobs:
            if self.has_ended(job_id):
                self.transport.send(node, JobEnded(job_id))

    def has_ended(self, job_id: JobId) -> bool:
        """Whether the job is over; one that nobody remembers is."""
        return job_id not in self._running

    def process_died(self, address: Address, reason: str) -> None:
        """A driver, or a node with those that ran there, has ended."""
        for job in list(self._running.values()):
            if job.driver.startswith(address):
                self.end(job, f"its driver has ended: {reason}")

    def rows(self) -> list[dict[str, Any]]:
        """For people."""
        return [
            {
                "job_id": job.job_id,
                "status": "RUNNING" if job.ended is None else "FINISHED",
                "driver": job.driver.hex(),
                "namespace": job.namespace,
                "entrypoint": job.entrypoint,
                "metadata": job.metadata,
            }
            for job in self.table.values()
        ]
