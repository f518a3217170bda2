"""Simulated machines: what starts, runs and ends on each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from struct import pack
from typing import TYPE_CHECKING

from thornback.core.config import Config
from thornback.core.ids import GCS, NodeId, WorkerId
from thornback.core.node import GcsCore, NodeCore
from thornback.core.ports import StartWorker
from thornback.core.resources import OBJECT_STORE_MEMORY, to_units
from thornback.simulator import seeds
from thornback.simulator.clock import NodeClock, Timer
from thornback.simulator.disk import DurableTables, SimulatedStore
from thornback.simulator.memory import NodeMemory
from thornback.simulator.process import GcsProcess, NodeProcess, Process, UserProcess
from thornback.simulator.runtime import SimulatedRuntime
from thornback.simulator.spill_disk import SimulatedDisk, SpillFiles
from thornback.simulator.user_code import SimulatedUserCode

if TYPE_CHECKING:
    from thornback.simulator.world import World

DEFAULT_MEMORY = 8 << 30
DEFAULT_OBJECT_STORE = 2 << 30


@dataclass(frozen=True)
class NodeSpec:
    """What a machine has, in the units that users write (CPUs, bytes)."""

    resources: Mapping[str, float]
    labels: Mapping[str, str] = field(default_factory=dict)
    object_store_memory: int = DEFAULT_OBJECT_STORE


class Node:
    """One machine.

    Attributes:
        index: 0 is the head.
        node_id: of its present (or last) node process.
        incarnation: grows with each start of its node process.
        process: the node process, dead or alive; None before the first start.
        gcs: the GCS, on the head; dead or alive.
        store: where that writes.
        workers: worker processes that the node process does not know to have ended; None for those that are starting.
        is_down: the machine itself is lost, with all programs on it, until its node process starts again.
        pauses: how many of its pauses have not ended.
        slowness: factor on computing time and on starts of processes.
        start_delay: nanoseconds that starting a worker takes longer.
        start_failures: how many of the next worker starts fail.
        workers_started: since the machine exists.
        egress_free: when its outgoing connection has sent what is queued.
    """

    def __init__(self, world: World, index: int, spec: NodeSpec) -> None:
        self.world = world
        self.index = index
        self.name = f"node-{index}"
        self.spec = spec
        self.clock = NodeClock(world.engine)
        self.memory = NodeMemory(spec.object_store_memory)
        self.disk = DurableTables()
        self.spill = SpillFiles()
        self.workers: dict[WorkerId, UserProcess | None] = {}
        self.drivers: dict[WorkerId, UserProcess] = {}
        self.process: NodeProcess | None = None
        self.gcs: GcsProcess | None = None
        self.store: SimulatedStore | None = None
        self.incarnation = 0
        self.node_id: NodeId = pack(">II", index + 1, 0)
        self.is_down = False
        self.pauses = 0
        self.slowness = 1.0
        self.start_delay = 0
        self.start_failures = 0
        self.workers_started = 0
        self.egress_free = 0
        self._hooks: list[Callable[[NodeProcess], None]] = []
        self._chance = seeds.stream(world.seed, self.name, "starts").random

    @property
    def alive(self) -> bool:
        """Whether its node process runs."""
        return self.process is not None and not self.process.ended

    def vary(self, duration: int) -> int:
        """A random time within a quarter of ``duration``, on a machine of this speed."""
        return int(duration * (0.75 + 0.5 * self._chance()) * self.slowness)

    def processes(self) -> list[Process]:
        """All that run here, the node process first."""
        everyone = (self.process, self.gcs, *self.drivers.values(), *self.workers.values())
        return [process for process in everyone if process is not None and not process.ended]

    def running_workers(self) -> list[UserProcess]:
        """Its worker processes that are up, in the order of their start."""
        return [process for process in self.workers.values() if process is not None and not process.ended]

    # --- The node process

    def when_up(self, hook: Callable[[NodeProcess], None]) -> None:
        """Call ``hook`` with the node process: now, or if it does not run, before its next first turn."""
        if self.alive:
            assert self.process is not None
            hook(self.process)
        else:
            self._hooks.append(hook)

    def boot(self, delay: int) -> None:
        """Start the node process after ``delay`` nanoseconds, unless it runs by then."""
        self.world.engine.call_after(delay, self._start)

    def _start(self) -> None:
        if self.alive:
            return
        world = self.world
        self.is_down = False
        self.incarnation += 1
        self.node_id = pack(">II", self.index + 1, self.incarnation)
        self.pauses = 0
        process = self.process = NodeProcess(world, self, self.node_id, world.new_pid())
        process.core = self._make_core(process)
        world.network.attach(process, self.node_id)
        world.trace.event("process.start", self.node_id, "node")
        hooks, self._hooks = self._hooks, []
        for hook in hooks:
            hook(process)
        if self.index == 0:
            self.start_gcs()
        process.core.start()
        process.settle()

    def _make_core(self, process: NodeProcess) -> NodeCore:
        world = self.world
        ports = process.ports()
        self.spill.files.clear()
        self.spill.outside.clear()
        return NodeCore(
            self.node_id,
            self.name,
            ports,
            SimulatedProcesses(self, process),
            self.memory,
            world.config,
            to_units({**self.spec.resources, OBJECT_STORE_MEMORY: self.spec.object_store_memory}),
            dict(self.spec.labels),
            endpoint=self.name,
            is_head=self.index == 0,
            disk=SimulatedDisk(ports.clock, self.memory, self.spill),
        )

    # --- The GCS

    def start_gcs(self) -> None:
        """Start the GCS on this machine, with what earlier ones have left on its disk, unless it runs."""
        if self.gcs is not None and not self.gcs.ended:
            return
        world = self.world
        process = self.gcs = GcsProcess(world, self, GCS, world.new_pid())
        self.store = SimulatedStore(process, self.disk, world.model.commit)
        process.core = GcsCore(process.ports(), self.store, world.config)
        world.network.attach(process, GCS)
        world.trace.event("process.start", GCS, "gcs")
        process.core.start()
        process.settle()

    def crash_gcs(self, restart_after: int, keep_unsynced: bool = False) -> None:
        """The GCS ends; another one starts after ``restart_after`` nanoseconds.

        Args:
            keep_unsynced: what was on its way to the disk has reached it, though the GCS had not heard so.
        """
        if self.gcs is None or self.gcs.ended:
            return
        if keep_unsynced and self.store is not None:
            self.store.sync()
        self.world.end_process(self.gcs, "killed (SIGKILL)")
        self.world.engine.call_after(restart_after, self.start_gcs)

    def fenced(self) -> None:
        """The cluster has given up this node process: it ends, with all its workers, and starts again as a new one."""
        self._end_session("the cluster had declared the node dead")
        self.boot(self.vary(self.world.model.node_start))

    def crash(self, detail: str = "the node crashed") -> None:
        """Everything here ends at once, and memory is lost."""
        self.is_down = True
        self._end_all(detail)

    def _end_session(self, detail: str) -> None:
        """The node process and its workers are gone. Programs here live on without, and learn why where they wait."""
        for driver in self.drivers.values():
            self.world.outlive(driver)
        self._end_all(detail)

    def _end_all(self, detail: str) -> None:
        for process in self.processes():
            self.world.end_process(process, detail)
        self.workers.clear()
        self.drivers.clear()
        self.memory.clear()
        self.egress_free = 0

    def crash_raylet(self, orphans_live: int, restart_after: int | None) -> None:
        """The node process ends; its workers live on for a moment, then notice, and end too. So do programs here; if
        another node process is to take its place, they only lose their connection.

        Args:
            orphans_live: nanoseconds.
            restart_after: nanoseconds until a new node process starts, at least ``orphans_live``; None: never.
        """
        if self.process is None or self.process.ended:
            return
        raylet = self.process
        self.world.end_process(raylet, "killed (SIGKILL)")

        def orphans_end() -> None:
            if self.process is raylet:
                end = self.crash if restart_after is None else self._end_session
                end("its raylet has ended")

        self.world.engine.call_after(orphans_live, orphans_end)
        if restart_after is not None:
            self.boot(max(restart_after, orphans_live + 1))

    def notice_preemption(self, notice: int) -> None:
        """The cloud says that the machine goes in ``notice`` nanoseconds."""
        self.world.trace.event("node.preempted", self.node_id, notice)
        if self.process is not None and not self.process.ended:
            self.process.core.raylet.draining.notice("its machine will be taken away", notice)
            self.process.settle()

    def pause(self) -> None:
        """All its processes stop taking part (SIGSTOP), but are not gone, until each pause has ended."""
        self.pauses += 1
        for process in self.processes():
            process.pause()

    def resume(self) -> None:
        """A :meth:`pause` has ended."""
        self.pauses -= 1
        for process in self.processes():
            process.resume()

    # --- Drivers

    def start_driver(self, config: Config) -> UserProcess:
        """A new driver process on this node, which has announced itself."""
        assert self.process is not None
        world = self.world
        worker_id = self.process.core.new_worker_id()
        process = UserProcess(world, self, worker_id, world.new_pid())
        process.host(config, None)
        process.runtime = SimulatedRuntime(process)
        self.drivers[worker_id] = process
        world.network.attach(process, worker_id)
        world.trace.event("process.start", worker_id, "driver")
        process.core.start(process.pid)
        process.settle()
        return process


class SimulatedProcesses:
    """The ``Processes`` port of one node process."""

    def __init__(self, node: Node, owner: NodeProcess) -> None:
        self._node = node
        self._owner = owner
        self._world = node.world
        self._starting: dict[WorkerId, Timer] = {}

    def start(self, worker: StartWorker) -> None:
        """Start a worker process; it is up after a while."""
        node = self._node
        node.workers[worker.worker_id] = None
        delay = node.vary(self._world.model.worker_start) + node.start_delay
        self._starting[worker.worker_id] = self._owner.clock.call_after(delay, lambda: self._up(worker))

    def _up(self, worker: StartWorker) -> None:
        node, world = self._node, self._world
        worker_id = worker.worker_id
        del self._starting[worker_id]
        if node.start_failures > 0:
            node.start_failures -= 1
            world.fault("start failed", worker_id)
            self._never_up(worker_id, "exit code 1 during start-up")
            return
        process = UserProcess(world, node, worker_id, world.new_pid(), node.workers_started)
        node.workers_started += 1
        process.host(worker.config, SimulatedUserCode(world, process), worker.job_id)
        process.runtime = SimulatedRuntime(process)
        executor = process.core.executor
        assert executor is not None
        executor.runtime = process.runtime
        node.workers[worker_id] = process
        world.network.attach(process, worker_id)
        world.trace.event("process.start", worker_id, "worker")
        for hook in world.on_worker_start:
            hook(process)
        process.core.start(process.pid)
        process.settle()

    def kill(self, worker_id: WorkerId) -> None:
        """End it at once."""
        timer = self._starting.pop(worker_id, None)
        if timer is not None:
            timer.cancel()
            self._never_up(worker_id, "killed while it started")
            return
        process = self._node.workers.get(worker_id)
        if process is not None:
            self._world.end_process(process, "killed (SIGKILL)")

    def _never_up(self, worker_id: WorkerId, detail: str) -> None:
        def report() -> None:
            self._node.workers.pop(worker_id, None)
            self._owner.core.worker_exited(worker_id, detail)

        self._owner.clock.call_after(self._world.model.local_latency, report)

    def started_through(self, worker_id: WorkerId) -> int | None:
        """The highest task sequence number that it started."""
        process = self._node.workers.get(worker_id)
        return self._world.started_through.get(worker_id) if process is None else process.started_through

    def forget(self, worker_id: WorkerId) -> None:
        """Nobody asks for it any more."""
        self._world.started_through.pop(worker_id, None)
