"""One run of a program under a plan of faults, with all invariants checked."""

from __future__ import annotations

import contextlib
import io
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from thornback.faults import invariants
from thornback.faults.coverage import Coverage
from thornback.faults.interrupts import interrupted_afterwards
from thornback.faults.invariants import Monitor, Violation, custom
from thornback.faults.invariants.liveness import Returns
from thornback.faults.plan import Plan
from thornback.faults.program import Program, find_program, forget_cycles
from thornback.simulator import simulate
from thornback.simulator.cluster import machines
from thornback.simulator.threads import DeadlockError
from thornback.simulator.world import World

OUTPUT_KEPT = 4000
"""Characters of the program's output that are kept."""
LOOK_EVERY = 1.0
"""Virtual seconds between two looks at whether everything has settled."""
PROGRAM = "the program"
ENGINE = "the engine"

Observer = Callable[[World], Any]
"""Called with the simulation before it begins."""


class Setup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cluster of a run, and how long it may take."""

    nodes: int = 4
    node: dict[str, Any] | list[dict[str, Any]] = {}
    """What each node has, as :func:`thornback.simulator.cluster.node_specs` takes it, over what the program wants; in a
    list, what different nodes have, in turn."""
    config: dict[str, Any] = {}
    """Settings of the engine by name."""
    costs: dict[str, float] = {}
    """Virtual seconds that functions take, by name."""
    patience: float = 1800.0
    """Virtual seconds after the last fault within which the program must end."""
    bound: float = 60.0
    """Virtual seconds after the last fault, and after the end of the program, within which everything settles."""


class Outcome(msgspec.Struct, kw_only=True):
    """What came of a run."""

    program: str
    seed: int
    plan: Plan
    setup: Setup
    violations: list[Violation]
    trace_hash: str
    virtual_seconds: float
    program_seconds: float = 0.0
    """Virtual seconds until the end of the program."""
    wall_seconds: float
    events: int
    messages: int
    tasks: int
    faults: int
    output: str = ""
    """The end of what the program has printed."""
    coverage: dict[str, int] = {}
    """See :mod:`thornback.faults.coverage`, if it was asked for."""

    @property
    def ok(self) -> bool:
        """Whether every promise was kept, the program's own included."""
        return not self.violations


def run_once(
    program: str | Path | Callable[[], Any] | Program,
    seed: int = 0,
    plan: Plan | None = None,
    setup: Setup | None = None,
    observers: Sequence[Observer] = (),
    monitor: Callable[[World], Monitor] = invariants.watch,
    coverage: bool = False,
) -> Outcome:
    """Run a program on a simulated cluster and check every invariant.

    When the program is over and the last fault has ended, time goes on until all that must come true in the end has, or
    until :attr:`Setup.bound` is over.

    Args:
        program: a file, ``workload:NAME``, or a function without arguments.
        seed: of everything random.
        plan: of faults; None for none.
        observers: called with the simulation before it begins.
        monitor: makes the checkers.
        coverage: count which messages met which faults.

    Raises:
        ProgramError: there is no such program.
        ValueError: the plan or setup is for another cluster.
    """
    program, plan, setup = find_program(program), plan or Plan(), setup or Setup()
    started = time.perf_counter()
    output = io.StringIO()
    world = simulate(
        machines(setup.nodes, program.node, setup.node),
        seed=seed,
        faults=plan,
        config=setup.config,
        costs=setup.costs,
        time_limit=plan.end + setup.patience,
        stall_limit=plan.end + setup.bound + 240,
    )
    checks = monitor(world)
    for checker in program.invariants():
        custom.add(checks, checker)
    met = Coverage(plan)
    watching: list[Observer] = [*observers, met] if coverage else [*observers]
    for observe in watching:
        observe(world)
    with (
        interrupted_afterwards(),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
        _active(checks),
        world,
    ):
        run = _Run(world, program, plan, setup, checks)
        run.go()
        stats: Mapping[str, Any] = world.stats
    return Outcome(
        program=program.name,
        seed=seed,
        plan=plan,
        setup=setup,
        violations=checks.violations,
        trace_hash=stats["trace_hash"],
        virtual_seconds=stats["virtual_seconds"],
        program_seconds=run.program_seconds,
        wall_seconds=time.perf_counter() - started,
        events=stats["events"],
        messages=stats["messages"],
        tasks=stats["tasks"],
        faults=stats["faults"],
        output=output.getvalue()[-OUTPUT_KEPT:],
        coverage=met.flat(),
    )


@contextlib.contextmanager
def _active(monitor: Monitor) -> Iterator[None]:
    custom.activate(monitor)
    try:
        yield
    finally:
        custom.activate(None)


class _Run:
    def __init__(self, world: World, program: Program, plan: Plan, setup: Setup, monitor: Monitor) -> None:
        self._world = world
        self._program = program
        self._end = plan.end
        self._bound = setup.bound
        self._monitor = monitor
        self.program_seconds = 0.0

    def go(self) -> None:
        """The program, then rest with its driver connected, then rest without."""
        import thornback

        went_on = self._guard(self._program.run)
        self.program_seconds = self._world.now
        if not went_on:
            return
        forget_cycles()
        if self._guard(self._rest) and self._guard(thornback.shutdown):
            self._guard(self._rest_for_good)

    def _rest(self) -> None:
        self._settle(self._world.now)
        self._monitor.fail_unsettled(self._world, self._bound, connected=True)

    def _rest_for_good(self) -> None:
        since = self._world.now
        self._settle(since)
        self._monitor.fail_unsettled(self._world, self._bound)

    def _settle(self, since: float) -> None:
        world = self._world
        limit = max(since, self._end) + self._bound
        while world.now < limit:
            if world.now >= self._end and self._monitor.is_settled(world):
                return
            world.run_for(LOOK_EVERY)

    def _guard(self, part: Callable[[], None]) -> bool:
        """Run a part; False if the simulation cannot go on after it."""
        try:
            part()
        except DeadlockError as error:
            self._fail(Returns.name, "the program waits for ever", str(error))
            return False
        except Exception as error:
            text = _told(error)
            if self._world.failure is not None:
                self._fail(ENGINE, f"{type(error).__name__} at {_place(error, '')}", text)
                return False
            self._fail(PROGRAM, f"{type(error).__name__} at {_place(error, self._program.file)}", text)
        return True

    def _fail(self, invariant: str, where: str, text: str) -> None:
        at = self._world.now
        self._monitor.violations.append(Violation(invariant=invariant, where=where, text=text, at=at))


def _told(error: BaseException) -> str:
    """The traceback, without the frames of this module and of what runs the program."""
    told = traceback.TracebackException.from_exception(error)
    while told.stack and Path(told.stack[0].filename).parent == Path(__file__).parent:
        del told.stack[0]
    return "".join(told.format())


def _place(error: BaseException, file: str) -> str:
    """File and line of the innermost frame, of those in ``file`` if there are any."""
    frames = traceback.extract_tb(error.__traceback__)
    chosen = [frame for frame in frames if frame.filename == file] or frames
    return f"{Path(chosen[-1].filename).name}:{chosen[-1].lineno}" if chosen else "an unknown place"
