"""Runs in several processes of their own: what crashes or hangs one of them is that run's outcome, and no more."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import msgspec

from thornback.faults.explore import Job, unfinished
from thornback.faults.interrupts import interrupts_wait
from thornback.faults.program import recorded_program
from thornback.faults.run import Outcome, run_once
from thornback.transports.parent_death import die_with

RUNS_PER_PROCESS = 500
"""After so many a process is replaced, so that what user code leaves behind does not pile up."""
LOOK_EVERY = 0.5

_encode = msgspec.msgpack.Encoder().encode


def run_jobs(jobs: Iterator[Job], processes: int, run_limit: float | None) -> Iterator[Outcome]:
    """The outcomes of all jobs, as they come. Closing the iterator ends all processes.

    Args:
        run_limit: wall seconds after which a run is given up; None for no limit.
    """
    pool = _Pool(processes, run_limit)
    try:
        yield from pool.run(jobs)
    finally:
        pool.close()


def run_elsewhere(job: Job, run_limit: float | None = None) -> Outcome:
    """The outcome of one run in a process of its own; see :func:`run_jobs`."""
    [outcome] = run_jobs(iter([job]), 1, run_limit)
    return outcome


class _Worker:
    """One process and the run that it makes."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, far = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(far, os.getpid()), daemon=True)
        resource_tracker.ensure_running()  # which lets Ctrl-C through when it starts
        with interrupts_wait():
            self.process.start()
        far.close()
        self.job: Job | None = None
        self.since = 0.0
        self.runs = 0

    def give(self, job: Job) -> None:
        """Start a run."""
        self.job, self.since = job, time.monotonic()
        self.runs += 1
        self.connection.send_bytes(_encode(job))

    def end(self) -> None:
        """End the process now."""
        self.process.kill()
        self.process.join()
        self.connection.close()


class _Pool:
    def __init__(self, processes: int, run_limit: float | None) -> None:
        self._limit = run_limit
        self._workers = [_Worker() for _ in range(processes)]

    def run(self, jobs: Iterator[Job]) -> Iterator[Outcome]:
        for worker in self._workers:
            self._next(worker, jobs)
        while any(worker.job is not None for worker in self._workers):
            busy = {worker.connection: worker for worker in self._workers if worker.job is not None}
            for ready in wait(list(busy), LOOK_EVERY):
                assert isinstance(ready, Connection)
                worker = busy[ready]
                outcome = self._outcome(worker)
                if worker.runs >= RUNS_PER_PROCESS or not worker.process.is_alive():
                    worker = self._replace(worker)
                self._next(worker, jobs)
                yield outcome
            yield from self._overdue(jobs)

    def _next(self, worker: _Worker, jobs: Iterator[Job]) -> None:
        job = next(jobs, None)
        worker.job = None
        if job is not None:
            worker.give(job)

    def _outcome(self, worker: _Worker) -> Outcome:
        assert worker.job is not None
        try:
            return msgspec.msgpack.decode(worker.connection.recv_bytes(), type=Outcome)
        except (EOFError, OSError):
            worker.process.join()
            text = f"the process of the run has ended with exit code {worker.process.exitcode}"
            return unfinished(worker.job, "its process has ended", text, time.monotonic() - worker.since)

    def _overdue(self, jobs: Iterator[Job]) -> Iterator[Outcome]:
        for worker in list(self._workers):
            elapsed = time.monotonic() - worker.since
            if worker.job is not None and self._limit is not None and elapsed > self._limit:
                text = f"the run was given up after {elapsed:.1f} s; the program may compute for ever without waiting"
                outcome = unfinished(worker.job, "it takes too long", text, elapsed)
                self._next(self._replace(worker), jobs)
                yield outcome

    def _replace(self, worker: _Worker) -> _Worker:
        worker.end()
        fresh = self._workers[self._workers.index(worker)] = _Worker()
        return fresh

    def close(self) -> None:
        for worker in self._workers:
            worker.end()


def _serve(connection: Connection, parent: int) -> None:
    """Make runs until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if sys.platform == "linux":
        die_with(parent, signal.SIGKILL)
    while True:
        try:
            job = msgspec.msgpack.decode(connection.recv_bytes(), type=Job)
        except (EOFError, OSError):
            return
        program = recorded_program(job.program, job.text, job.arguments)
        connection.send_bytes(_encode(run_once(program, job.seed, job.plan, job.setup, coverage=job.coverage)))
