"""Makes the faults of a plan happen on the real node that this process has started: by signals, by pressure, by what
the node process does to itself when it is told, and by a relay that its connections lead through.

The kinds that a single real node can have are those of :data:`KINDS`; the others need more nodes, or what only a
simulation can do, and are refused.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

from thornback.api import current
from thornback.core import blocking
from thornback.core.config import SECOND
from thornback.core.errors import SessionEndedError
from thornback.core.messages import DelayCommits, EndGcs, MemoryShort, Message
from thornback.faults import plan as p
from thornback.faults.base import LastingFault
from thornback.faults.loader import PlanError
from thornback.faults.plan import AnyFault, Plan
from thornback.transports import relay
from thornback.transports.local_cluster import node_pid

PIECE = 8 << 20
"""Bytes of the objects that fill a store."""
PATIENCE = 0.5
"""Seconds that the node process may take to name its workers; then those that it named last are taken."""
End: TypeAlias = Callable[[], None]


class RealInjector:
    """The faults of ``plan`` happen while the body of ``with RealInjector(plan):`` runs; lasting ones end with it.

    Attributes:
        happened: kinds of the faults that have happened, in order; a worker crash does not while no worker runs.

    Raises:
        PlanError: a fault cannot happen on a real node; names it and those that can.
        RuntimeError: (on entering) this process is not connected to a node, or its connections have no relay though the
            plan has faults of links.
    """

    def __init__(self, plan: Plan) -> None:
        for index, fault in enumerate(plan.faults):
            _check(index, fault)
        self._plan = plan
        self.happened: list[str] = []
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._workers: list[dict[str, Any]] = []
        self._links: _RelayedLinks | None = None
        self._runtime: Any

    def __enter__(self) -> RealInjector:
        self._runtime = current.require()
        self._directory: Path = self._runtime.directory
        if any(isinstance(fault, p.LinkFault) for fault in self._plan.faults):
            self._links = _RelayedLinks(self._directory)
        start = time.monotonic()
        for fault in self._plan.faults:
            thread = threading.Thread(target=self._play, args=(fault, start), name=f"fault {fault.kind}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        if self._links is not None:
            self._links.close()

    @property
    def done(self) -> bool:
        """Whether all that the plan names has happened and ended."""
        return not any(thread.is_alive() for thread in self._threads)

    def _play(self, fault: AnyFault, start: float) -> None:
        """One fault from its beginning to its end, in a thread of its own: others must end while this one begins."""
        begin = start + (fault.at or 0.0)
        if self._stopped.wait(max(0.0, begin - time.monotonic())):
            return
        try:
            end = _EFFECTS[type(fault)](self, fault)
        except (_NothingThere, SessionEndedError):
            return
        self.happened.append(fault.kind)
        if end is not None:
            duration = fault.duration if isinstance(fault, LastingFault) else None
            self._stopped.wait(None if duration is None else max(0.0, begin + duration - time.monotonic()))
            with contextlib.suppress(_NothingThere, SessionEndedError):
                end()

    # --- Faults

    def _crash_worker(self, fault: p.CrashWorker) -> None:
        self._signal_worker(fault.worker, signal.SIGKILL)

    def _pause_worker(self, fault: p.PauseWorker) -> End:
        pid = self._signal_worker(fault.worker, signal.SIGSTOP)
        return lambda: _signal(pid, signal.SIGCONT)

    def _signal_worker(self, number: int | None, what: signal.Signals) -> int:
        """Pid of the worker that was hit: by default the first one that runs something, else any. The next one is taken
        if that has ended since the node named it."""
        [rows] = blocking.query_at(self._runtime, [(self._runtime.core.node_id, "workers")], PATIENCE)
        rows = rows or self._workers
        self._workers = rows
        running = sorted((row for row in rows if row["pid"]), key=lambda row: str(row["worker_id"]))
        if number is not None:
            running = running[number : number + 1]
        running.sort(key=lambda row: row["state"] != "LEASED")
        for row in running:
            pid: int = row["pid"]
            with contextlib.suppress(_NothingThere):
                _signal(pid, what)
                return pid
        raise _NothingThere

    def _pause_raylet(self, _fault: p.PauseRaylet) -> End:
        pid = node_pid(self._directory)
        _signal(pid, signal.SIGSTOP)
        return lambda: _signal(pid, signal.SIGCONT)

    def _link(self, fault: p.LinkFault) -> End:
        assert self._links is not None
        return self._links.begin(_rule(fault))

    def _tell_node(self, message: Message) -> None:
        with self._runtime.turn:
            self._runtime.core.ports.transport.send(self._runtime.core.node_id, message)

    def _out_of_memory(self, _fault: p.OutOfMemory) -> None:
        self._tell_node(MemoryShort())

    def _crash_gcs(self, fault: p.CrashGcs) -> None:
        self._tell_node(EndGcs(int(fault.restart_after * SECOND), fault.unsynced == "kept"))

    def _slow_commits(self, fault: p.SlowCommits) -> End:
        self._tell_node(DelayCommits(int(fault.delay * SECOND)))
        return lambda: self._tell_node(DelayCommits(0))

    def _fill(self, fault: p.FillStore) -> End:
        import numpy

        import thornback

        [store] = blocking.query_at(self._runtime, [(self._runtime.core.node_id, "store")], 10.0)[0] or [{}]
        wanted = int(fault.fraction * store.get("capacity", 0))
        room = min(wanted, store.get("capacity", 0) - store.get("used", 0))
        filling = [thornback.get(thornback.put(numpy.zeros(PIECE, numpy.uint8))) for _ in range(room // PIECE)]
        if not filling:
            raise _NothingThere
        return filling.clear


_EFFECTS: dict[type[AnyFault], Callable[[RealInjector, Any], End | None]] = {
    p.CrashWorker: RealInjector._crash_worker,
    p.PauseWorker: RealInjector._pause_worker,
    p.PauseRaylet: RealInjector._pause_raylet,
    p.OutOfMemory: RealInjector._out_of_memory,
    p.FillStore: RealInjector._fill,
    p.CrashGcs: RealInjector._crash_gcs,
    p.SlowCommits: RealInjector._slow_commits,
    p.Cut: RealInjector._link,
    p.Delay: RealInjector._link,
    p.Bandwidth: RealInjector._link,
}

KINDS: tuple[type[AnyFault], ...] = tuple(_EFFECTS)
"""What can happen to a real node."""


class _NothingThere(Exception):
    """What the fault would hit does not run."""


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        raise _NothingThere from None


class _RelayedLinks:
    """The rules that the relay of a session is given."""

    def __init__(self, directory: Path) -> None:
        if not relay.is_relayed(directory):
            raise RuntimeError(
                "faults of links need a session whose connections lead through a relay: "
                'init(_system_config={"relayed_links": True})'
            )
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.connect(str(directory / relay.FILE))
        self._lock = threading.Lock()
        self._numbers = count()
        self._rules: dict[int, relay.LinkRule] = {}

    def begin(self, rule: relay.LinkRule) -> End:
        """A rule is in force until what is returned is called."""
        with self._lock:
            number = next(self._numbers)
            self._rules[number] = rule
            self._tell()
        return lambda: self._end(number)

    def _end(self, number: int) -> None:
        with self._lock:
            del self._rules[number]
            self._tell()

    def _tell(self) -> None:
        with contextlib.suppress(OSError):  # the relay ends with its session
            self._sock.sendall(relay.frame_for_relay(relay.Rules(tuple(self._rules.values()))))

    def close(self) -> None:
        """End all rules."""
        self._sock.close()


def _rule(fault: p.LinkFault) -> relay.LinkRule:
    assert fault.within is not None
    if isinstance(fault, p.Delay):
        return relay.LinkRule(fault.within, delay=int(fault.seconds * SECOND), jitter=int(fault.jitter * SECOND))
    if isinstance(fault, p.Bandwidth):
        return relay.LinkRule(fault.within, bandwidth=fault.factor)
    return relay.LinkRule(fault.within, cut=True)


def _check(index: int, fault: AnyFault) -> None:
    where = f"faults[{index}]"
    if not isinstance(fault, KINDS):
        known = ", ".join(str(kind.__struct_config__.tag) for kind in KINDS)
        raise PlanError(f"{where}: {fault.kind} cannot happen on a real node; what can is {known}")
    if fault.after is not None or (fault.at is None and not isinstance(fault, LastingFault)):
        raise PlanError(f"{where}: on a real node {fault.kind} needs at (seconds since the start)")
    if isinstance(fault, p.LinkFault) and fault.within is None:
        raise PlanError(
            f"{where}: a real node has no links to others: say within which of its connections, as in 'all'"
        )
    for field, nodes in fault.named_nodes():
        if any(nodes):
            raise PlanError(f"{where}.{field}: there is no node {max(nodes)} in a cluster of 1 node")
