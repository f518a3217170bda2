"""Makes the faults of a plan happen on the real node that this process has started, by signals and pressure.

The kinds that a single real node can have are those of :data:`KINDS`; the others need more nodes, or what only a
simulation can do, and are refused.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import signal
import threading
import time
from collections.abc import Callable
from itertools import count
from types import TracebackType
from typing import Any

from thornback.api import current
from thornback.core import blocking
from thornback.core.messages import MemoryShort
from thornback.core.runtime import Runtime
from thornback.faults import plan as p
from thornback.faults.loader import PlanError
from thornback.faults.plan import AnyFault, Plan

KINDS: tuple[type[AnyFault], ...] = (p.CrashWorker, p.PauseWorker, p.OutOfMemory, p.FillStore)
"""What can happen to a real node."""
PIECE = 8 << 20
"""Bytes of the objects that fill a store."""


class RealInjector:
    """The faults of ``plan`` happen while the body of ``with RealInjector(plan):`` runs; lasting ones end with it.

    Attributes:
        happened: kinds of the faults that have happened, in order; a worker crash does not while no worker runs.

    Raises:
        PlanError: a fault cannot happen on a real node; names it and those that can.
        RuntimeError: (on entering) this process is not connected to a node of its own.
    """

    def __init__(self, plan: Plan) -> None:
        for index, fault in enumerate(plan.faults):
            _check(index, fault)
        self._plan = plan
        self.happened: list[str] = []
        self._actions: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._stopped = threading.Event()
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faults", daemon=True)
        self._paused: dict[int, None] = {}
        self._fillings: list[Any] = []
        self._runtime: Runtime

    def __enter__(self) -> RealInjector:
        self._runtime = current.require()
        for fault in self._plan.faults:
            assert fault.at is not None
            self._at(fault.at, lambda fault=fault: self._begin(fault))  # type: ignore[misc]
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()
        for pid in list(self._paused):
            self._resume(pid)
        self._fillings.clear()

    @property
    def done(self) -> bool:
        """Whether all that the plan names has happened and ended."""
        return self._finished.is_set()

    # --- Time

    def _at(self, seconds: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._actions, (seconds, next(self._order), call))

    def _run(self) -> None:
        start = time.monotonic()
        while self._actions:
            when, _, call = heapq.heappop(self._actions)
            if self._stopped.wait(max(0.0, start + when - time.monotonic())):
                return
            call()
        self._finished.set()

    def _until(self, fault: AnyFault, call: Callable[[], None]) -> None:
        until = getattr(fault, "until", None)
        if until is not None:
            self._at(until, call)

    # --- Faults

    def _begin(self, fault: AnyFault) -> None:
        if isinstance(fault, p.CrashWorker):
            pid = self._worker(fault.worker)
            happened = pid is not None and _signal(pid, signal.SIGKILL)
        elif isinstance(fault, p.PauseWorker):
            happened = self._pause(fault)
        elif isinstance(fault, p.OutOfMemory):
            with self._runtime.turn:
                self._runtime.core.ports.transport.send(self._runtime.core.node_id, MemoryShort())
            happened = True
        else:
            assert isinstance(fault, p.FillStore)
            happened = self._fill(fault)
        if happened:
            self.happened.append(fault.kind)

    def _worker(self, number: int | None) -> int | None:
        """Pid of a worker: by default the first one that runs something, else any."""
        rows = sorted(blocking.query(self._runtime, "workers"), key=lambda row: str(row["worker_id"]))
        running = [row for row in rows if row["pid"]]
        if number is not None:
            running = running[number : number + 1]
        running.sort(key=lambda row: row["state"] != "LEASED")
        return running[0]["pid"] if running else None

    def _pause(self, fault: p.PauseWorker) -> bool:
        pid = self._worker(fault.worker)
        if pid is None or not _signal(pid, signal.SIGSTOP):
            return False
        self._paused[pid] = None
        self._until(fault, lambda: self._resume(pid))
        return True

    def _resume(self, pid: int) -> None:
        self._paused.pop(pid, None)
        _signal(pid, signal.SIGCONT)

    def _fill(self, fault: p.FillStore) -> bool:
        import numpy

        import thornback

        [store] = blocking.query_at(self._runtime, [(self._runtime.core.node_id, "store")], 10.0)[0] or [{}]
        wanted = int(fault.fraction * store.get("capacity", 0))
        room = min(wanted, store.get("capacity", 0) - store.get("used", 0))
        filling = [thornback.get(thornback.put(numpy.zeros(PIECE, numpy.uint8))) for _ in range(room // PIECE)]
        self._fillings.append(filling)
        self._until(fault, filling.clear)
        return bool(filling)


def _signal(pid: int, number: signal.Signals) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def _check(index: int, fault: AnyFault) -> None:
    where = f"faults[{index}]"
    if not isinstance(fault, KINDS):
        known = ", ".join(str(kind.__struct_config__.tag) for kind in KINDS)
        raise PlanError(f"{where}: {fault.kind} cannot happen on a real node; what can is {known}")
    if fault.at is None:
        raise PlanError(f"{where}: on a real node {fault.kind} needs at (seconds since the start)")
    for field, nodes in fault.named_nodes():
        if any(nodes):
            raise PlanError(f"{where}.{field}: there is no node {max(nodes)} in a cluster of 1 node")
