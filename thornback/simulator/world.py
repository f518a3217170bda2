"""A simulated cluster and the program that runs on it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from thornback.api import current
from thornback.core.config import Config
from thornback.core.ids import WorkerId, short
from thornback.simulator import seeds, threads
from thornback.simulator.conditions import Rule
from thornback.simulator.engine import Engine
from thornback.simulator.model import Model, nanoseconds
from thornback.simulator.network import Network
from thornback.simulator.nodes import Node, NodeSpec
from thornback.simulator.output import RoutedOutput
from thornback.simulator.patches import Patches
from thornback.simulator.process import Process, UserProcess
from thornback.simulator.programs import OtherProgram
from thornback.simulator.surroundings import Surroundings
from thornback.simulator.threads import DeadlockError, GreenletThread, MainThread, UserThread
from thornback.simulator.trace import RunTrace

if TYPE_CHECKING:
    from thornback.faults.plan import Plan

Costs = Mapping[str, float | Callable[[], float]]
"""Seconds that a function takes, or what returns them at each call, by the function's name."""

FIRST_PID = 1000
DRIVER = b"driver"

_world: World | None = None


def active() -> World | None:
    """The simulation that the calling code runs in."""
    return _world


class World:
    """One simulation; the body of ``with World(...) as world:`` is a program on its head node.

    See :func:`thornback.simulator.simulate` for the arguments.

    Attributes:
        nodes: the machines; 0 is the head, where the program runs.
        programs: those beside it, by the thread that runs them.
        costs: the cost model.
        tasks: executions that have ended.
        faults_injected: how many faults have happened.
        sleepers: user threads that wait for a point of time.
        steps: how often user code went on after it had waited.
        on_worker_start: called with each worker process before its first turn.
    """

    def __init__(
        self,
        nodes: Sequence[NodeSpec],
        seed: int = 0,
        faults: Plan | None = None,
        trace: str | Path | None = None,
        config: Config | None = None,
        model: Model | None = None,
        codec: bool = False,
        lossy: bool = False,
        costs: Costs | None = None,
        time_limit: float | None = None,
        stall_limit: float = 600.0,
    ) -> None:
        self.seed = seed
        self.config = config or Config()
        self.model = model or Model()
        self.engine = Engine(seeds.stream(seed, "engine", "ties"))
        self.trace = RunTrace(self.engine)
        self._trace_path = trace
        lossy = lossy or (faults is not None and faults.is_lossy)
        self.network = Network(self.engine, self.trace, self.model, seed, lossy, codec)
        self.started_through: dict[WorkerId, int | None] = {}
        self.on_worker_start: list[Callable[[UserProcess], None]] = []
        self.threads: list[GreenletThread] = []
        self.programs: dict[UserThread, OtherProgram] = {}
        self.tasks = 0
        self.faults_injected = 0
        self.sleepers = 0
        self.steps = 0
        self.closed = False
        self.hub = getcurrent()
        self._pids = FIRST_PID
        self.costs = dict(costs or {})
        self._failure: BaseException | None = None
        self._time_limit = time_limit
        self._stall_limit = nanoseconds(stall_limit)
        self._plan = faults
        self.nodes = [Node(self, index, spec) for index, spec in enumerate(nodes)]
        self.main = MainThread(self, Surroundings(self, self.nodes[0], DRIVER, self.new_pid()))
        self._patches = Patches(self)
        self._output = RoutedOutput()
        self._outer_runtime: Any = None
        self._collecting = True

    # --- As a context manager

    def __enter__(self) -> World:
        global _world
        if _world is not None:
            raise RuntimeError("a simulation is running already; simulations cannot be nested")
        if self._plan is not None:
            from thornback.simulator.injector import Injector

            Injector(self, self._plan)
        if self._trace_path is not None:
            self.trace.write_to(self._trace_path)
        self.hub = getcurrent()
        _world = self
        self._collecting = gc.isenabled()
        gc.disable()
        self._outer_runtime, current.runtime = current.runtime, None
        self._start_nodes()
        self._watch_progress()
        self._output.install()
        self._patches.install()
        self.main.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _world
        self.main.stop()
        self.closed = True
        try:
            self._end_everything()
        finally:
            self._patches.remove()
            self._output.remove()
            threads.active = None
            current.runtime = self._outer_runtime
            _world = None
            if self._collecting:
                gc.enable()
            self.trace.close()

    def _start_nodes(self) -> None:
        head, *others = self.nodes
        head.boot(0)
        for node in others:
            node.boot(node.vary(self.model.node_start))

    def _end_everything(self) -> None:
        remaining = list(self.threads)
        for node in self.nodes:
            for process in node.processes():
                process.end()
                if isinstance(process, UserProcess):
                    remaining += process.threads
        for thread in remaining:
            thread.kill()

    # --- What is going on

    @property
    def faults_end(self) -> float:
        """When the last fault of its plan is over, in virtual seconds."""
        return 0.0 if self._plan is None else self._plan.end

    @property
    def now(self) -> float:
        """Virtual seconds since the start."""
        return self.engine._now / 1e9

    @property
    def events(self) -> int:
        """Events that have happened."""
        return self.engine.events

    @property
    def trace_hash(self) -> str:
        """A hash of all that has happened; equal for equal (program, seed, plan)."""
        return self.trace.digest

    @property
    def stats(self) -> dict[str, int | float | str]:
        """Counts of the run so far."""
        return {
            "trace_hash": self.trace_hash,
            "events": self.events,
            "virtual_seconds": self.now,
            "tasks": self.tasks,
            "messages": self.network.messages,
            "faults": self.faults_injected,
        }

    @property
    def is_up(self) -> bool:
        """Whether every node has been started, and all that run have registered."""
        return all(
            node.incarnation and (not node.alive or (node.process is not None and node.process.registered))
            for node in self.nodes
        )

    # --- Doing things to the cluster

    def run_for(self, seconds: float) -> None:
        """Let ``seconds`` of virtual time pass."""
        self.main.sleep(nanoseconds(seconds))

    def kill_node(self, node: int, reboot_after: float | None = None) -> None:
        """Crash a machine; with ``reboot_after``, it starts again after so many seconds, as a new node.

        Raises:
            ValueError: it is the head, where the program itself runs.
        """
        if node == 0:
            raise ValueError("node 0 is the head, where the program itself runs; it cannot be killed")
        self.fault("crash_node", self.nodes[node].node_id)
        self.nodes[node].crash()
        if reboot_after is not None:
            self.nodes[node].boot(nanoseconds(reboot_after))

    def kill_worker(self, node: int, worker: int | None = None) -> bool:
        """Kill a worker of a node: the ``worker``-th that was started there (from 0), by default the first one that
        runs a task, or else any. False if it does not exist or has ended."""
        process = self.find_worker(node, worker)
        if process is not None:
            self.fault("crash_worker", process.address)
            self.end_process(process, "killed (SIGKILL)")
        return process is not None

    def find_worker(self, node: int, worker: int | None = None) -> UserProcess | None:
        """A running worker, chosen as for :meth:`kill_worker`."""
        running = self.nodes[node].running_workers()
        if worker is None:
            running.sort(key=lambda process: not process.is_busy)
        else:
            running = [process for process in running if process.number == worker]
        return running[0] if running else None

    def start_program(self, main: Callable[[], object], node: int = 0, name: str = "program") -> OtherProgram:
        """Start another program on a node; with ``init()`` it gets a driver, and a job, of its own.

        Args:
            name: seeds its random numbers.
        """
        return OtherProgram(self, main, node, name)

    def add_node(self, cpus: float) -> Node:
        """One more machine, which starts now and has the next index."""
        template = self.nodes[-1].spec
        resources = {**template.resources, "CPU": cpus}
        node = Node(self, len(self.nodes), NodeSpec(resources, {}, template.object_store_memory))
        self.nodes.append(node)
        node.boot(node.vary(self.model.node_start))
        return node

    def cut(self, first: int | Sequence[int], second: int | Sequence[int], one_way: bool = False) -> int:
        """Let no message pass between two groups of nodes; the result is a number for :meth:`heal`."""
        rule = Rule(_group(first), _group(second), one_way=one_way, cut=True)
        self.fault("cut", str((first, second, one_way)).encode())
        return self.network.conditions.add(rule)

    def heal(self, number: int | None = None) -> None:
        """End one cut, or all faults of the network."""
        if number is None:
            self.network.conditions.clear()
        else:
            self.network.conditions.remove(number)

    def fault(self, kind: str, subject: bytes) -> None:
        """Note in the trace that a fault happens."""
        self.faults_injected += 1
        self.trace.event("fault", subject, kind)

    # --- For the parts of the simulation

    def new_pid(self) -> int:
        """The pid of a new process; unique in the cluster."""
        self._pids += 1
        return self._pids

    def process_with(self, pid: int) -> UserProcess | None:
        """The running user process with that pid."""
        for node in self.nodes:
            for process in node.processes():
                if process.pid == pid and isinstance(process, UserProcess):
                    return process
        return None

    def cost_of(self, name: str) -> int:
        """Nanoseconds that the cost model gives to a call of the function."""
        cost = self.costs.get(name)
        if cost is None:
            cost = self.costs.get(name.rpartition(".")[2], 0.0)
        return nanoseconds(cost() if callable(cost) else cost)

    def outlive(self, driver: UserProcess) -> None:
        """The driver is about to end, and the program that it is part of is to go on without."""
        for thread in list(driver.threads):
            program = self.programs.get(thread)
            if program is not None:
                program.left()
                thread.wake()

    def end_process(self, process: Process, detail: str) -> None:
        """End a process at once: what it has not sent does not leave it any more."""
        if process.ended:
            return
        process.end()
        process.exit_reason = detail
        self.trace.event("process.end", process.address, detail)
        told = self.network.detach(process, detail)
        if isinstance(process, UserProcess):
            node = process.node.process
            if node is not None and not node.ended and node.address not in told:
                self.network.tell_down(node, process, detail)
            self._end_threads(process)

    def _end_threads(self, process: UserProcess) -> None:
        if process.number >= 0:
            self.started_through[process.address] = process.started_through
        process.node.drivers.pop(process.address, None)
        for thread in process.threads:
            if thread.idle:
                thread.kill()
            elif not thread.finished:
                self.threads.append(thread)
        process.threads = []

    def failed(self, error: BaseException) -> None:
        """An event raised: nothing can be trusted any more."""
        if self._failure is None and not isinstance(error, KeyboardInterrupt):
            self._failure = error

    @property
    def failure(self) -> BaseException | None:
        """The error that has broken the simulation; None if it works."""
        return self._failure

    def check_alive(self) -> None:
        """Raise what broke the simulation, if it is broken."""
        if self._failure is not None:
            raise self._failure
        if self.closed:
            raise RuntimeError("the simulation is over")

    # --- Limits

    def _watch_progress(self) -> None:
        if self._time_limit is not None:
            self.engine.call_after(nanoseconds(self._time_limit), self._time_is_up)
        seen = -1

        def look() -> None:
            nonlocal seen
            if self.steps == seen and self.sleepers == 0:
                seconds = self._stall_limit / 1e9
                raise DeadlockError(self.describe_wait(f"no user code has run for {seconds:g} s of virtual time"))
            seen = self.steps
            self.engine.call_after(self._stall_limit, look)

        self.engine.call_after(self._stall_limit, look)

    def _time_is_up(self) -> None:
        raise DeadlockError(self.describe_wait(f"the time limit of {self._time_limit:g} s is reached"))

    def describe_wait(self, reason: str) -> str:
        """For people: when it is, and what waits."""
        lines = [f"the simulated program is stuck at {self.now:.6f} s of virtual time: {reason}"]
        for node in self.nodes:
            for process in node.processes():
                if isinstance(process, UserProcess):
                    lines += [
                        f"  {thread.waits_for or 'user code'} waits in worker {short(process.address)} on {node.name}"
                        for thread in process.threads
                        if not thread.idle and not thread.finished
                    ]
                    lines += [f"  {text}" for text in process.pending()]
        if len(lines) > 20:
            lines[20:] = [f"  and {len(lines) - 20} more"]
        return "\n".join(lines)


def _group(nodes: int | Sequence[int]) -> frozenset[int]:
    return frozenset((nodes,)) if isinstance(nodes, int) else frozenset(nodes)
