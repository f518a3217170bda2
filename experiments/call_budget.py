#!/usr/bin/env python3
"""Where do the microseconds of a task or an actor call go? Prints a budget per step, for the driver and the worker.

It puts a stopwatch around some of the engine's functions, in the driver and in the worker, and calls a function that
does nothing, one by one and all at once, in several rounds, of which it shows the fastest. A step's time is its own:
that of steps inside it is taken off. The stopwatch costs a part of a microsecond per step, so the sums are somewhat
larger than without it (last line). A "send" that wakes the other side on the same CPU includes what that does first.

    python experiments/call_budget.py
"""

from __future__ import annotations

import argparse
import importlib
import threading
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

import thornback

STEPS = {
    "remote(): checks": ("api.remote_function:RemoteFunction.remote", "api.actor_handle:ActorMethod.remote"),
    "pickle the arguments": ("core.blocking.tasks:prepare_arguments",),
    "register the call": ("core.owner.tasks:Tasks.submit",),
    "enter and leave a turn": ("transports.pump:Pump.__enter__", "transports.pump:Pump.__exit__"),
    "settle references": ("core.owner.owner:Owner.settle",),
    "dispatch": ("core.owner.leases:Leases.end_turn", "core.owner.actors:Actors.end_turn"),
    "encode": ("transports.links:frame_of",),
    "system call: send": ("transports.connection:Connection.write",),
    "system call: receive": ("transports.connection:Connection._read",),
    "decode": ("transports.links:decode",),
    "take tasks, or replies": ("core.worker:WorkerCore.receive",),
    "start them": ("core.executor.executor:Executor.start_next",),
    "unpickle arguments, find the function": ("core.executor.execution:Execution._prepare",),
    "run": ("core.executor.execution:Execution.run",),
    "pickle the result": ("core.executor.execution:Execution._collect",),
    "note the end": ("core.executor.executor:Executor.finished",),
    "send replies off": ("core.executor.executor:Executor.end_turn",),
    "get(): checks and values": ("api.lazy:blocking.get",),
    "unpickle the value": ("core.blocking.objects:_value_of",),
    "pump": ("transports.pump:Pump.wait",),
    "wait for the other side": ("transports.loop:EventLoop.poll",),
}
"""By what it is called in the table: the functions of a step."""
WAITING = "wait for the other side"
ROUNDS = 5


class Stopwatch:
    """Own time and number of calls of each step, in one thread of one process."""

    def __init__(self) -> None:
        self.times = dict.fromkeys(STEPS, 0)
        self.counts = dict.fromkeys(STEPS, 0)
        self._inner = [0]
        self._thread = threading.get_ident()
        for step, functions in STEPS.items():
            for name in functions:
                self._wrap(step, name)

    def _wrap(self, step: str, name: str) -> None:
        module, _, path = name.partition(":")
        owner: Any = importlib.import_module(f"thornback.{module}")
        *parents, attribute = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        setattr(owner, attribute, self._timed(step, getattr(owner, attribute)))

    def _timed(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        times, counts, inner, thread, now = self.times, self.counts, self._inner, self._thread, perf_counter_ns

        def timed(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != thread:
                return function(*args, **kwargs)
            inner.append(0)
            begin = now()
            try:
                return function(*args, **kwargs)
            finally:
                took = now() - begin
                times[step] += took - inner.pop()
                counts[step] += 1
                inner[-1] += took

        return timed

    def clear(self) -> None:
        """Begin anew."""
        self.times.update(dict.fromkeys(STEPS, 0))


class Budget(NamedTuple):
    """Nanoseconds, summed over all calls."""

    driver: dict[str, int]
    worker: dict[str, int]
    total: int
    without: int
    """The total without stopwatches."""


def _in_worker(what: str) -> dict[str, int]:
    import __main__  # of the worker: empty, and the same for all tasks

    if what == "start":
        __main__.stopwatch = Stopwatch()
        return {}
    times = dict(__main__.stopwatch.times)
    __main__.stopwatch.clear()
    return times


class _Actor:
    def nothing(self) -> None:
        """The shortest method."""

    def control(self, what: str) -> dict[str, int]:
        """Start or read the stopwatch of this process."""
        return _in_worker(what)


def _nothing() -> None:
    pass


def _timed(work: Callable[[], object]) -> int:
    begin = perf_counter_ns()
    work()
    return perf_counter_ns() - begin


def ways(call: Any, number: int) -> dict[str, Callable[[], object]]:
    """One by one, and all at once."""
    get = thornback.get

    def one_by_one() -> None:
        for _ in range(number):
            get(call.remote())

    return {"one by one": one_by_one, "all at once": lambda: get([call.remote() for _ in range(number)])}


def measure(work: Callable[[], object], control: Any, watch: Stopwatch, without: int) -> Budget:
    """The budget of one way to call, of the round that was disturbed least."""
    budgets = []
    for _ in range(ROUNDS):
        thornback.get(control.remote("read"))
        watch.clear()
        total = _timed(work)
        budgets.append(Budget(dict(watch.times), thornback.get(control.remote("read")), total, without))
    return min(budgets, key=lambda budget: budget.total)


def table(budgets: dict[str, Budget], number: int) -> Table:
    """Microseconds per call."""
    grid = Table(title=f"microseconds per call, {number:,} calls")
    grid.add_column("step")
    for name in budgets:
        grid.add_column(f"{name}: driver", justify="right")
        grid.add_column("worker", justify="right")
    for step in STEPS:
        cells = []
        for budget in budgets.values():
            cells += [_text(budget.driver[step], number), _text(budget.worker[step], number)]
        if any(cells):
            grid.add_row(step, *cells)
    grid.add_section()
    rows: dict[str, list[str]] = {"all but waiting": [], "all": [], "all, without stopwatches": []}
    for budget in budgets.values():
        for side in (budget.driver, budget.worker):
            rows["all but waiting"].append(_text(sum(side.values()) - side[WAITING], number))
        rows["all"] += [_text(budget.total, number), ""]
        rows["all, without stopwatches"] += [_text(budget.without, number), ""]
    for name, cells in rows.items():
        grid.add_row(name, *cells)
    return grid


def _text(nanoseconds: int, number: int) -> str:
    microseconds = nanoseconds / number / 1e3
    return f"{microseconds:.1f}" if microseconds >= 0.05 else ""


def main() -> None:
    """Measure tasks, then an actor's method; one worker does it all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=5000, help="how many of each kind")
    number = parser.parse_args().calls
    with thornback.init(num_cpus=1):
        actor: Any = thornback.remote(_Actor).options(num_cpus=0).remote()
        control = thornback.remote(_in_worker)
        kinds = {"task": (thornback.remote(_nothing), control), "actor call": (actor.nothing, actor.control)}
        without = {}
        for kind, (call, _) in kinds.items():
            for way, work in ways(call, number).items():
                without[kind, way] = min(_timed(work) for _ in range(ROUNDS))
        thornback.get([control.remote("start"), actor.control.remote("start")])
        watch = Stopwatch()
        budgets = {
            f"{kind}, {way}": measure(work, controls, watch, without[kind, way])
            for kind, (call, controls) in kinds.items()
            for way, work in ways(call, number).items()
        }
    Console(width=200).print(table(budgets, number))


if __name__ == "__main__":
    main()
