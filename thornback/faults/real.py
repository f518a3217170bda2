"""Makes the faults of a plan happen on the real node that this process has started: by signals, by pressure, and by
what the node process does to itself when it is told.

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
from typing import Any, TypeAlias

from thornback.api import current
from thornback.core import blocking
from thornback.core.config import SECOND
from thornback.core.messages import DelayCommits, EndGcs, MemoryShort, Message
from thornback.core.runtime import Runtime
from thornback.faults import plan as p
from thornback.faults.base import LastingFault
from thornback.faults.loader import PlanError
from thornback.faults.plan import AnyFault, Plan

PIECE = 8 << 20
"""Bytes of the objects that fill a store."""
End: TypeAlias = Callable[[], None]


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
        self._lasting: dict[int, End] = {}
        """How to end what lasts now."""
        self._runtime: Runtime

    def __enter__(self) -> RealInjector:
        self._runtime = current.require()
        for fault in self._plan.faults:
            self._at(fault.at or 0.0, lambda fault=fault: self._begin(fault))  # type: ignore[misc]
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()
        for number in list(self._lasting):
            self._end(number)

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

    def _begin(self, fault: AnyFault) -> None:
        try:
            end = _EFFECTS[type(fault)](self, fault)
        except _NothingThere:
            return
        self.happened.append(fault.kind)
        if end is not None:
            number = next(self._order)
            self._lasting[number] = end
            if isinstance(fault, LastingFault) and fault.duration is not None:
                self._at((fault.at or 0.0) + fault.duration, lambda: self._end(number))

    def _end(self, number: int) -> None:
        end = self._lasting.pop(number, None)
        if end is not None:
            end()

    # --- Faults

    def _crash_worker(self, fault: p.CrashWorker) -> None:
        _signal(self._worker(fault.worker), signal.SIGKILL)

    def _pause_worker(self, fault: p.PauseWorker) -> End:
        return _pause(self._worker(fault.worker))

    def _worker(self, number: int | None) -> int:
        """Pid of a worker: by default the first one that runs something, else any."""
        rows = sorted(blocking.query(self._runtime, "workers"), key=lambda row: str(row["worker_id"]))
        running = [row for row in rows if row["pid"]]
        if number is not None:
            running = running[number : number + 1]
        running.sort(key=lambda row: row["state"] != "LEASED")
        if not running:
            raise _NothingThere
        pid: int = running[0]["pid"]
        return pid

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
    p.OutOfMemory: RealInjector._out_of_memory,
    p.FillStore: RealInjector._fill,
    p.CrashGcs: RealInjector._crash_gcs,
    p.SlowCommits: RealInjector._slow_commits,
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


def _pause(pid: int) -> End:
    _signal(pid, signal.SIGSTOP)

    def resume() -> None:
        with contextlib.suppress(_NothingThere):
            _signal(pid, signal.SIGCONT)

    return resume


def _check(index: int, fault: AnyFault) -> None:
    where = f"faults[{index}]"
    if not isinstance(fault, KINDS):
        known = ", ".join(str(kind.__struct_config__.tag) for kind in KINDS)
        raise PlanError(f"{where}: {fault.kind} cannot happen on a real node; what can is {known}")
    if fault.after is not None or (fault.at is None and not isinstance(fault, LastingFault)):
        raise PlanError(f"{where}: on a real node {fault.kind} needs at (seconds since the start)")
    for field, nodes in fault.named_nodes():
        if any(nodes):
            raise PlanError(f"{where}.{field}: there is no node {max(nodes)} in a cluster of 1 node")
