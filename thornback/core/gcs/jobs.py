"""Jobs: one per driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thornback.core.ids import Address, JobId, WorkerId
from thornback.core.messages import EndJob, JobEnded, JobStarted, JobTerms, StartJob
from thornback.core.ports import Write

if TYPE_CHECKING:
    from thornback.core.gcs.store import GlobalControlStore

KEPT = 1000
"""Ended jobs that are remembered."""


class Job:
    """One driver's program."""

    __slots__ = ("driver", "ended", "entrypoint", "job_id", "metadata", "namespace", "started", "terms")

    def __init__(self, job_id: JobId, driver: WorkerId, message: StartJob, namespace: str, started: int) -> None:
        self.job_id = job_id
        self.driver = driver
        self.namespace = namespace
        self.entrypoint = message.entrypoint
        self.metadata = message.metadata
        self.terms = message.terms
        self.started = started
        self.ended: int | None = None


class JobTable:
    """Numbers drivers' programs and ends what they leave behind."""

    name = "jobs"

    def __init__(self, gcs: GlobalControlStore) -> None:
        self.gcs = gcs
        self.clock = gcs.ports.clock
        self.transport = gcs.ports.transport
        self.table: dict[JobId, Job] = {}
        self.last = 0

    def load(self, key: bytes, value: bytes) -> None:
        """Take over a committed row: numbers are not used twice."""
        self.last = max(self.last, int(key))

    def on_start_job(self, sender: Address, message: StartJob) -> None:
        """A driver has connected."""
        for job in self.table.values():
            if job.driver == sender:
                self.transport.send(sender, JobStarted(job.job_id, job.namespace, job.terms))
                return
        self.last += 1
        job_id = self.last
        namespace = message.namespace or f"job-{job_id}"
        self.table[job_id] = Job(job_id, sender, message, namespace, self.clock.now())
        write = Write(self.name, str(job_id).encode(), message.entrypoint.encode())
        self.gcs.store.commit(
            [write], lambda: self.transport.send(sender, JobStarted(job_id, namespace, message.terms))
        )

    def terms_of(self, job_id: JobId) -> JobTerms:
        """What a job may claim."""
        job = self.table.get(job_id)
        return JobTerms() if job is None else job.terms

    def on_end_job(self, sender: Address, message: EndJob) -> None:
        """A driver has ended, by its own word or its raylet's."""
        job = self.table.get(message.job_id)
        if job is not None:
            self.end(job, "its job has ended")

    def end(self, job: Job, reason: str) -> None:
        """End what the job has started and that is not detached."""
        if job.ended is not None:
            return
        job.ended = self.clock.now()
        self.gcs.actors.job_ended(job.job_id, reason)
        self.gcs.groups.job_ended(job.job_id)
        for node in self.gcs.nodes.alive():
            self.transport.send(node, JobEnded(job.job_id))
        ended = [known for known in self.table.values() if known.ended is not None]
        for known in ended[:-KEPT]:
            del self.table[known.job_id]

    def node_died(self, address: Address) -> None:
        """Drivers on that node have ended with it."""
        for job in list(self.table.values()):
            if job.driver.startswith(address):
                self.end(job, "the node of its driver has died")

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
