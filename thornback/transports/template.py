"""The template: a small, warm, single-threaded process that forks the workers of a node.

A fork of it has all imports of a worker done. It ends when the node process does, and takes the workers, and what they
have started in their process groups, with it.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import msgspec

from thornback.core.ids import JobId, WorkerId
from thornback.transports.arena import Arena
from thornback.transports.parent_death import die_with
from thornback.transports.started_page import StartedPage

_REQUEST_LIMIT = 1 << 20


class StartRequest(msgspec.Struct, frozen=True, array_like=True, tag="start"):
    """Node to template: fork this worker. The write ends of its stdout and stderr travel beside it."""

    worker_id: WorkerId
    job_id: JobId
    config: dict[str, Any]
    slot: int
    """In the :class:`StartedPage`."""
    cwd: str
    sys_path: list[str]


class KillRequest(msgspec.Struct, frozen=True, array_like=True, tag="kill"):
    """Node to template: end this worker at once."""

    worker_id: WorkerId


class StopRequest(msgspec.Struct, frozen=True, array_like=True, tag="stop"):
    """Node to template: end all workers and yourself."""


class Started(msgspec.Struct, frozen=True, array_like=True, tag="started"):
    """Template to node."""

    worker_id: WorkerId
    pid: int


class Exited(msgspec.Struct, frozen=True, array_like=True, tag="exited"):
    """Template to node. ``status`` is the exit code, or minus the signal that ended it."""

    worker_id: WorkerId
    status: int


encode = msgspec.msgpack.Encoder().encode
_decode_request = msgspec.msgpack.Decoder(StartRequest | KillRequest | StopRequest).decode
decode_report = msgspec.msgpack.Decoder(Started | Exited).decode


class WorkerEnvironment(msgspec.Struct, frozen=True):
    """What every worker inherits from the node process."""

    directory: str
    memory: Arena
    page: StartedPage
    life_fd: int
    """Held open by every process of the node, so that the driver sees when all have ended; -1 for none."""


RunWorker = Callable[[WorkerEnvironment, StartRequest], NoReturn]


class Template(NamedTuple):
    """The template, as its node process sees it."""

    sock: socket.socket
    """The node's end of the socket pair."""
    pid: int

    @classmethod
    def fork(cls, environment: WorkerEnvironment, sys_path: list[str]) -> Template:
        """Fork it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        pid = os.fork()
        if pid:
            theirs.close()
            ours.setblocking(False)
            return cls(ours, pid)
        try:
            close_all_but({0, 1, 2, theirs.fileno(), environment.memory.fd, environment.life_fd})
            _Template(theirs, environment, sys_path, parent).serve()
        finally:
            os._exit(1)


def close_all_but(keep: set[int]) -> None:
    """Close all descriptors of this process, which was just forked, but some."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            try:
                os.close(int(name))
            except OSError:
                pass


class _Template:
    def __init__(self, sock: socket.socket, environment: WorkerEnvironment, sys_path: list[str], parent: int) -> None:
        self._sock = sock
        self._environment = environment
        self._workers: dict[int, WorkerId] = {}
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: self._end())
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        die_with(parent, signal.SIGTERM)
        self._run_worker = _warm_up(sys_path)

    def serve(self) -> None:
        """Fork and reap until the node says stop or is gone."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._wake_read:
                    os.read(self._wake_read, 4096)
                    self._reap()
                else:
                    self._take_request()

    def _take_request(self) -> None:
        data, fds, _, _ = socket.recv_fds(self._sock, _REQUEST_LIMIT, 2)
        if not data:
            self._end()
        request = _decode_request(data)
        if isinstance(request, StartRequest):
            self._fork(request, fds)
        elif isinstance(request, KillRequest):
            for pid, worker_id in self._workers.items():
                if worker_id == request.worker_id:
                    _signal_group(pid)
        else:
            self._end()

    def _fork(self, request: StartRequest, fds: list[int]) -> None:
        template = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                self._become_worker(request, fds, template)
            finally:
                os._exit(1)
        for fd in fds:
            os.close(fd)
        _make_group(pid)
        self._workers[pid] = request.worker_id
        self._report(Started(request.worker_id, pid))

    def _become_worker(self, request: StartRequest, fds: list[int], template: int) -> NoReturn:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        die_with(template, signal.SIGKILL)
        _make_group(0)
        os.dup2(fds[0], 1)
        os.dup2(fds[1], 2)
        close_all_but({0, 1, 2, self._environment.memory.fd, self._environment.life_fd})
        self._run_worker(self._environment, request)

    def _reap(self) -> None:
        while self._workers:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return
            _signal_group(ended.si_pid)
            _, status = os.waitpid(ended.si_pid, 0)
            worker_id = self._workers.pop(ended.si_pid, None)
            if worker_id is not None:
                self._report(Exited(worker_id, os.waitstatus_to_exitcode(status)))

    def _report(self, report: Started | Exited) -> None:
        try:
            self._sock.send(encode(report))
        except OSError:
            self._end()

    def _end(self) -> NoReturn:
        for pid in self._workers:
            _signal_group(pid)
        for pid in self._workers:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass
        os._exit(0)


def _make_group(pid: int) -> None:
    try:
        os.setpgid(pid, 0)
    except OSError:
        pass


def _signal_group(pid: int) -> None:
    """Kill the worker and what it has started."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except OSError:
            pass


def _warm_up(sys_path: list[str]) -> RunWorker:
    """Import what every worker needs, and return the function that runs one."""
    import gc
    import sys

    sys.path[:] = sys_path
    import cloudpickle  # noqa: F401

    import thornback
    from thornback.transports.worker_main import run_worker

    for name in thornback.__all__:
        if name != "simulate":
            getattr(thornback, name)
    gc.collect()
    gc.freeze()
    return run_worker
