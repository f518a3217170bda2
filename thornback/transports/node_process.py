"""The node process: GCS and raylet on one loop, in one thread."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from thornback.core.config import SECOND, Config
from thornback.core.ids import GCS, NODE_ID_SIZE, WORKER_ID_SIZE, Address, JobId, NodeId, WorkerId
from thornback.core.messages import DelayCommits, EndGcs, LogLines, Message, NodeEnds
from thornback.core.node import NodeCore
from thornback.core.ports import NoTrace, Ports
from thornback.transports import disk, session
from thornback.transports.connection import Connection
from thornback.transports.gcs_host import GcsHost
from thornback.transports.gcs_tables import TablesUnusable
from thornback.transports.links import Links, LinkTransport
from thornback.transports.loop import EventLoop
from thornback.transports.memory_monitor import MemoryMonitor
from thornback.transports.node_options import NodeOptions
from thornback.transports.output_collector import OutputCollector
from thornback.transports.small_ports import SystemRandom
from thornback.transports.template import Template, WorkerEnvironment
from thornback.transports.turns import report_bug, settle
from thornback.transports.wire import HEADER, Join, Welcome, encode
from thornback.transports.worker_processes import WorkerProcesses

_STOP_LIMIT = 5 * SECOND
_FLUSH_LIMIT = SECOND // 2
_READABLE = 1


class NodeProcess:
    """Hosts a :class:`thornback.core.node.NodeCore` until :meth:`stop`, the end of its driver, or the end of its part
    in the cluster: it has been drained, or declared dead."""

    def __init__(self, options: NodeOptions, environment: WorkerEnvironment, template: Template) -> None:
        self._directory = Path(options.directory)
        self._config = Config.of(options.config)
        self._program = (options.cwd, options.sys_path)
        self._drivers: dict[WorkerId, Join] = {}
        self._ending = False
        self._exit_code = 0
        self._life_fd = options.life_fd
        self._memory = environment.memory
        self._loop = EventLoop()
        self._disk = disk.open_disk(self._config, self._directory, self._loop, self._memory)
        logs = self._directory / session.LOGS
        self._output = OutputCollector(self._loop, logs, self._forward_lines)
        self._processes = WorkerProcesses(
            self._loop,
            environment,
            template,
            options.sys_path,
            self._output,
            self._program_of,
            self._worker_exited,
        )
        node_id: NodeId = os.urandom(NODE_ID_SIZE)
        self._node_id = node_id
        addresses = (node_id, GCS)
        self._links = Links(self._loop, self._directory, node_id, addresses, self._deliver, self._peer_down)
        self._links.on_join = self._join
        random = SystemRandom()
        gcs_transport = LinkTransport(self._links, GCS)
        self._gcs = GcsHost(self._directory, self._loop, random, gcs_transport, self._config, self._tables_failed)
        self._core = self._make_core(options, random)
        self._for_faults: dict[type[Message], Callable[[Any], None]] = {
            EndGcs: self._end_gcs,
            DelayCommits: lambda message: self._gcs.delay_commits(message.delay / SECOND),
        }
        raylet = self._core.raylet
        self._monitor = MemoryMonitor(
            self._loop,
            self._config.memory_check,
            self._config.memory_threshold,
            lambda: [worker.pid for worker in raylet.pool.workers.values() if worker.pid],
            raylet.memory_guard.look,
            raylet.memory_guard.check,
        )
        listener = socket.socket(fileno=options.listener_fd)
        listener.setblocking(False)
        self._links.open(listener)
        if self._life_fd >= 0:
            self._loop.add(self._life_fd, _READABLE, lambda _mask: self.stop())

    def _make_core(self, options: NodeOptions, random: SystemRandom) -> NodeCore:
        ports = Ports(self._loop, random, LinkTransport(self._links, self._node_id), NoTrace())
        return NodeCore(
            self._node_id,
            options.name,
            ports,
            self._processes,
            self._memory,
            self._config,
            options.resources,
            options.labels,
            is_head=True,
            disk=self._disk,
            gcs=self._gcs.make(),
        )

    # --- Running ------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Until the end; leaves nothing behind. Returns the exit code of the process."""
        self._core.start()
        self._settle()
        while not self._ending:
            self._round(self._loop.next_deadline())
        self._shut_down()
        return self._exit_code

    def stop(self) -> None:
        """End after the present turn; also from a signal handler."""
        self._ending = True
        self._loop.kick()

    def _leave(self, reason: str, exit_code: int = 0) -> None:
        """End, and say why: in the log, and to those whose programs cannot go on."""
        if self._ending:
            return
        print(f"thornback: this node ends: {reason}", file=sys.stderr, flush=True)
        for driver in self._drivers:
            self._links.send(self._node_id, driver, NodeEnds(reason))
        self._exit_code = exit_code
        self.stop()

    def _round(self, deadline: int) -> None:
        events = self._loop.poll(0 if self._loop.soon else deadline)
        try:
            self._loop.dispatch(events)
        except Exception:
            report_bug()
        self._settle()

    def _settle(self) -> None:
        try:
            settle(self._loop, self._links, self._core.end_turn)
        except Exception:
            report_bug()
        raylet = self._core.raylet
        if raylet.fenced:
            self._leave("the cluster has declared it dead")
        elif raylet.draining.left:
            self._leave("it has been drained, and has left the cluster")

    def _shut_down(self) -> None:
        if self._life_fd >= 0:
            self._loop.remove(self._life_fd)
        self._processes.stop()
        self._round_until(lambda: not self._processes.template_alive, _STOP_LIMIT)
        if self._processes.template_alive:
            self._processes.kill_template()
            self._round_until(lambda: not self._processes.template_alive, _STOP_LIMIT)
        self._output.drain()
        if self._disk is not None:
            self._disk.close()
        self._links.flush()
        self._round_until(lambda: not self._links.unsent, _FLUSH_LIMIT)
        self._gcs.end()
        session.remove(self._directory)

    def _round_until(self, done: Callable[[], bool], limit: int) -> None:
        deadline = self._loop.now() + limit
        while not done() and self._loop.now() < deadline:
            self._round(min(deadline, self._loop.next_deadline()))

    # --- Events -------------------------------------------------------------------------------------------------------

    def _deliver(self, to: Address, sender: Address, message: Message) -> None:
        try:
            for_faults = self._for_faults.get(type(message))
            if for_faults is None:
                self._core.receive(to, sender, message)
            else:
                for_faults(message)
        except Exception:
            report_bug()

    def _peer_down(self, address: Address, reason: str) -> None:
        try:
            self._core.peer_down(address, reason)
        except Exception:
            report_bug()
        self._drivers.pop(address, None)

    def _worker_exited(self, worker_id: WorkerId, detail: str) -> None:
        try:
            self._core.worker_exited(worker_id, detail)
        except Exception:
            report_bug()

    def _join(self, connection: Connection, join: Join) -> None:
        worker_id = self._core.new_worker_id()
        assert len(worker_id) == WORKER_ID_SIZE
        self._drivers[worker_id] = join
        config = msgspec.to_builtins(self._config)
        body = encode(Welcome(worker_id, self._node_id, self._memory.capacity, config))
        try:
            socket.send_fds(connection.sock, [HEADER.pack(len(body), 0) + body], [self._memory.fd])
        except OSError:
            connection.close("left while joining")
            return
        self._links.named(connection, worker_id)

    # --- The GCS

    def _end_gcs(self, message: EndGcs) -> None:
        if self._core.gcs is not None:
            self._core.gcs = None
            self._gcs.end(message.keep_unsynced)
            self._loop.call_after(message.restart_after, self._start_gcs)

    def _start_gcs(self) -> None:
        if self._ending:
            return
        try:
            self._core.gcs = self._gcs.make()
        except TablesUnusable as error:
            self._tables_failed(str(error))
        else:
            self._core.gcs.start()

    def _tables_failed(self, reason: str) -> None:
        self._leave(reason, exit_code=1)

    # --- Workers and their drivers ------------------------------------------------------------------------------------

    def _program_of(self, job_id: JobId) -> tuple[str, list[str]]:
        driver = self._core.raylet.driver_of_job(job_id)
        join = None if driver is None else self._drivers.get(driver)
        return self._program if join is None else (join.cwd, join.sys_path)

    def _forward_lines(self, worker_id: WorkerId, pid: int, name: str, stream: str, lines: tuple[str, ...]) -> None:
        raylet = self._core.raylet
        driver = raylet.driver_of_job(raylet.job_of_worker(worker_id))
        if driver is not None:
            self._links.send(self._node_id, driver, LogLines(worker_id, pid, name, stream, lines))
