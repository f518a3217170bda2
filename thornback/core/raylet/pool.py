"""The worker processes of a node: started when needed, reused, ended when there are too many."""

from __future__ import annotations

from collections.abc import Callable

from thornback.core.backoff import Backoff
from thornback.core.config import Config
from thornback.core.ids import JobId, NodeId, WorkerId, worker_id
from thornback.core.messages import JobStarted, RequestLease, RetireWorker
from thornback.core.ports import Ports, Processes, StartWorker

STARTING = "STARTING"
IDLE = "IDLE"
LEASED = "LEASED"
RETIRING = "RETIRING"
"""It was asked to end, and ends unless others need what it owns."""


class Worker:
    """One worker process."""

    __slots__ = (
        "idle_since",
        "job_id",
        "lease_id",
        "name",
        "out_of_memory",
        "pid",
        "reason",
        "state",
        "used",
        "worker_id",
    )

    def __init__(self, identifier: WorkerId, job_id: JobId) -> None:
        self.worker_id = identifier
        self.job_id = job_id
        """0: not used by any job yet."""
        self.state = STARTING
        self.pid = 0
        self.lease_id = b""
        self.name = ""
        self.idle_since = 0
        self.used = False
        """It has run something, so others may know of it."""
        self.reason = ""
        """Why the engine ended it, if it did."""
        self.out_of_memory = False
        """It was ended since memory was short."""


class WorkerPool:
    """Starting, choosing and ending workers. A worker serves one job for all its life.

    Args:
        ready: called when a worker has become idle.
    """

    def __init__(
        self, node_id: NodeId, ports: Ports, processes: Processes, config: Config, cpus: int, ready: Callable[[], None]
    ) -> None:
        self.node_id = node_id
        self.clock = ports.clock
        self.transport = ports.transport
        self.trace = ports.trace
        self.processes = processes
        self.config = config
        self.cpus = cpus
        self.workers: dict[WorkerId, Worker] = {}
        self._idle: dict[WorkerId, Worker] = {}
        self._ready = ready
        self._counter = 0
        self._trim_timer = False
        self._backoff = Backoff(config.retry_backoff, config.retry_backoff_limit)
        self._random = ports.random.stream("worker-start")
        self._failures = 0
        """Starts in a row that failed."""
        self._held_back = False
        """A start has failed; the next waits a moment."""

    def new_worker_id(self) -> WorkerId:
        """An id that no process of this node had before."""
        self._counter += 1
        return worker_id(self.node_id, self._counter)

    def start(self, job_id: JobId) -> None:
        """Start one worker, unless starts have failed just now: ``ready`` is called when it is time to try again."""
        if self._held_back:
            return
        worker = Worker(self.new_worker_id(), job_id)
        self.workers[worker.worker_id] = worker
        self.processes.start(StartWorker(worker.worker_id, job_id, self.config))
        self.clock.call_after(self.config.worker_start_timeout, lambda: self._check_started(worker))

    def _check_started(self, worker: Worker) -> None:
        if worker.state == STARTING and worker.worker_id in self.workers:
            self.kill(worker, "it did not start in time")

    def registered(self, identifier: WorkerId, pid: int) -> None:
        """A worker has come up."""
        worker = self.workers.get(identifier)
        if worker is not None and worker.state == STARTING:
            worker.pid = pid
            self._failures = 0
            self._make_idle(worker)

    def _make_idle(self, worker: Worker) -> None:
        worker.state = IDLE
        worker.idle_since = self.clock.now()
        self._idle[worker.worker_id] = worker
        self._ready()
        if len(self._idle) > self.cpus and not self._trim_timer:
            self._trim_timer = True
            self.clock.call_after(self.config.idle_worker_timeout, self._trim)

    def count_starting(self, job_id: JobId) -> int:
        """Workers on their way up that the job may use."""
        return sum(worker.state == STARTING and worker.job_id in (0, job_id) for worker in self.workers.values())

    def prepare(self, job_id: JobId) -> None:
        """A worker of the job waits for others, so that one more is about to be needed: start it if none is idle."""
        if not self._idle and not self.count_starting(job_id):
            self.start(job_id)

    def take(self, request: RequestLease) -> Worker | None:
        """An idle worker for a lease of the job, or None."""
        job_id = request.job_id
        chosen = None
        for worker in reversed(self._idle.values()):
            if worker.job_id == job_id:
                chosen = worker
                break
            if worker.job_id == 0 and chosen is None:
                chosen = worker
        if chosen is None:
            return None
        del self._idle[chosen.worker_id]
        if chosen.job_id != job_id or not chosen.used:
            chosen.job_id = job_id
            self.transport.send(chosen.worker_id, JobStarted(job_id, request.namespace, request.terms))
        chosen.state = LEASED
        chosen.used = True
        chosen.lease_id = request.lease_id
        chosen.name = request.name
        return chosen

    def give_back(self, worker: Worker) -> None:
        """A lease ended; the worker may serve the next."""
        worker.lease_id = b""
        worker.name = ""
        if not worker.reason:  # else it is being ended
            self._make_idle(worker)

    def kill(self, worker: Worker, reason: str) -> None:
        """End a worker now; ``worker_exited`` follows."""
        self._idle.pop(worker.worker_id, None)
        if not worker.reason:
            worker.reason = reason
        self.processes.kill(worker.worker_id)

    def exited(self, identifier: WorkerId) -> Worker | None:
        """A worker process has ended; returns its record once."""
        self._idle.pop(identifier, None)
        worker = self.workers.pop(identifier, None)
        if worker is not None and worker.state == STARTING:
            self._start_failed()
        return worker

    def _start_failed(self) -> None:
        self._failures += 1
        if not self._held_back:
            self._held_back = True
            self.clock.call_after(self._backoff.delay(self._failures, self._random), self._may_start)

    def _may_start(self) -> None:
        self._held_back = False
        self._ready()

    def _trim(self) -> None:
        self._trim_timer = False
        deadline = self.clock.now() - self.config.idle_worker_timeout
        extra = len(self._idle) - self.cpus
        for worker in list(self._idle.values()):
            if extra <= 0:
                break
            if worker.idle_since <= deadline:
                self._retire(worker)
                extra -= 1
        if len(self._idle) > self.cpus:
            self._trim_timer = True
            self.clock.call_after(self.config.idle_worker_timeout, self._trim)

    def _retire(self, worker: Worker) -> None:
        del self._idle[worker.worker_id]
        worker.state = RETIRING
        worker.reason = "it was idle and not needed"
        self.transport.send(worker.worker_id, RetireWorker(worker.reason))

    def needed(self, identifier: WorkerId) -> None:
        """A worker that was asked to end goes on, since others use what it owns."""
        worker = self.workers.get(identifier)
        if worker is not None and worker.state == RETIRING:
            worker.reason = ""
            self._make_idle(worker)

    def jobs(self) -> tuple[JobId, ...]:
        """That workers are bound to."""
        return tuple({worker.job_id: None for worker in self.workers.values() if worker.job_id})

    def of_job(self, job_id: JobId) -> list[Worker]:
        """All workers bound to a job."""
        return [worker for worker in self.workers.values() if worker.job_id == job_id]
