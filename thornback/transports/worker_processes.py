"""The worker processes of a node, as its raylet sees them: requests to the template, and what becomes of them."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

import msgspec

from thornback.core.ids import JobId, WorkerId
from thornback.core.ports import StartWorker
from thornback.transports.loop import EventLoop
from thornback.transports.output_collector import OutputCollector
from thornback.transports.template import (
    Exited,
    KillRequest,
    Started,
    StartRequest,
    StopRequest,
    Template,
    WorkerEnvironment,
    decode_report,
    encode,
)

_REPORT_SIZE = 4096
_READABLE = 1


class WorkerProcesses:
    """The :class:`thornback.core.ports.Processes` of one node.

    Args:
        template: the first one; another is forked if it ends.
        sys_path: of the templates.
        program_of: cwd and sys.path for the workers of a job.
        exited: called in a turn when a worker has ended, with what is known of how.
    """

    def __init__(
        self,
        loop: EventLoop,
        environment: WorkerEnvironment,
        template: Template,
        sys_path: list[str],
        output: OutputCollector,
        program_of: Callable[[JobId], tuple[str, list[str]]],
        exited: Callable[[WorkerId, str], None],
    ) -> None:
        self._loop = loop
        self._environment = environment
        self._sys_path = sys_path
        self._output = output
        self._program_of = program_of
        self._exited = exited
        self._slots: dict[WorkerId, int] = {}
        self._alive: dict[WorkerId, int] = {}
        """Pid of each worker that has not ended; 0 until the template has told."""
        self._ending = False
        self._unsent: list[tuple[bytes, list[int]]] = []
        self._watch(template)

    def _watch(self, template: Template) -> None:
        self._sock, self._template_pid = template
        self._loop.add(self._sock.fileno(), _READABLE, self._on_report)

    @property
    def template_alive(self) -> bool:
        """Whether the template, and so perhaps a worker, still runs."""
        return self._template_pid != 0

    # --- The port -----------------------------------------------------------------------------------------------------

    def start(self, worker: StartWorker) -> None:
        """Start a worker."""
        if self._ending:
            return
        slot = self._slots[worker.worker_id] = self._environment.page.allocate()
        self._alive[worker.worker_id] = 0
        cwd, sys_path = self._program_of(worker.job_id)
        config = msgspec.to_builtins(worker.config)
        request = StartRequest(worker.worker_id, worker.job_id, config, slot, cwd, sys_path)
        self._request(encode(request), self._output.open(worker.worker_id))

    def kill(self, worker_id: WorkerId) -> None:
        """End it at once."""
        if worker_id in self._alive:
            self._request(encode(KillRequest(worker_id)), [])

    def started_through(self, worker_id: WorkerId) -> int | None:
        """The highest task sequence number that the worker marked as started; None if that is not known."""
        slot = self._slots.get(worker_id)
        return None if slot is None else self._environment.page.read(slot)

    def forget(self, worker_id: WorkerId) -> None:
        """The raylet has no more questions about a worker that ended."""
        slot = self._slots.pop(worker_id, None)
        if slot is not None:
            self._environment.page.release(slot)

    # --- The template -------------------------------------------------------------------------------------------------

    def _request(self, request: bytes, fds: list[int]) -> None:
        self._unsent.append((request, fds))
        self._send_requests()

    def _send_requests(self) -> None:
        while self._unsent:
            request, fds = self._unsent[0]
            try:
                socket.send_fds(self._sock, [request], fds)
            except BlockingIOError:
                self._loop.call_after(1_000_000, self._send_requests)
                return
            except OSError:
                pass  # the template is gone; that it is will be noticed by reading
            for fd in fds:
                os.close(fd)
            del self._unsent[0]

    def _on_report(self, _mask: int) -> None:
        try:
            data = self._sock.recv(_REPORT_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._template_ended()
            return
        report = decode_report(data)
        if isinstance(report, Started):
            self._alive[report.worker_id] = report.pid
            self._output.started(report.worker_id, report.pid)
        else:
            self._worker_ended(report.worker_id, describe_exit(report))

    def _worker_ended(self, worker_id: WorkerId, detail: str) -> None:
        if self._alive.pop(worker_id, None) is not None:
            self._output.ended(worker_id)
            self._exited(worker_id, detail)

    def _template_ended(self) -> None:
        """Its workers have ended with it; go on with a new one."""
        self._loop.remove(self._sock.fileno())
        self._sock.close()
        os.waitpid(self._template_pid, 0)
        self._template_pid = 0
        for worker_id, pid in list(self._alive.items()):
            if pid:
                try:
                    os.killpg(pid, signal.SIGKILL)
                except OSError:
                    pass
            self._worker_ended(worker_id, "the template process, which it was forked from, has ended")
        if not self._ending:
            self._watch(Template.fork(self._environment, self._sys_path))

    def stop(self) -> None:
        """End all workers and the template; :attr:`template_alive` tells when that is done."""
        self._ending = True
        self._request(encode(StopRequest()), [])

    def kill_template(self) -> None:
        """The template did not stop in time."""
        if self._template_pid:
            os.kill(self._template_pid, signal.SIGKILL)


def describe_exit(report: Exited) -> str:
    """How a worker ended, for people."""
    if report.status >= 0:
        return f"exit code {report.status}"
    try:
        name = signal.Signals(-report.status).name
    except ValueError:
        name = f"signal {-report.status}"
    return f"killed by {name}"
