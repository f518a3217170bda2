"""Exploring: many runs of a program, each from a seed, each under its own plan of faults; what failed, by cause."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from thornback.faults.coverage import merge
from thornback.faults.generate import random_plan
from thornback.faults.invariants import Violation
from thornback.faults.plan import Plan
from thornback.faults.program import Program, programs_of
from thornback.faults.run import PROGRAM, Observer, Outcome, Setup, run_once

STORM = "storm"
CALM = "none"
SHORTEST_STORM = 1.0
"""Virtual seconds."""
UNFINISHED = "the run"
"""Invariant of runs that did not come to an end."""

PlanOf = Callable[[int], Plan]
"""The plan of a run, by its seed."""


class Job(msgspec.Struct, frozen=True):
    """One run that is to be made."""

    program: str
    text: str
    """With the program, as :func:`thornback.faults.program.recorded_program` takes it."""
    arguments: tuple[str, ...]
    seed: int
    plan: Plan
    setup: Setup
    coverage: bool = False
    """Count which messages met which faults."""


class Group(msgspec.Struct):
    """Failures of one cause, as far as invariant and place tell."""

    invariant: str
    where: str
    first: Violation
    outcomes: list[Outcome]


class Exploration(msgspec.Struct):
    """What was found.

    Attributes:
        runs: how many were made.
        failures: outcomes with violations, in the order of their end.
        interrupted: it was stopped before all runs were made.
    """

    runs: int = 0
    wall_seconds: float = 0.0
    """Sum over all runs."""
    virtual_seconds: float = 0.0
    faults: int = 0
    failures: list[Outcome] = []
    interrupted: bool = False
    calm_failures: list[Outcome] = []
    """Of programs that fail without faults too, as far as that was tried to find out how long storms must last."""
    coverage: dict[str, int] = {}
    """See :mod:`thornback.faults.coverage`, if it was asked for."""

    def add(self, outcome: Outcome) -> None:
        """One more run."""
        self.runs += 1
        self.wall_seconds += outcome.wall_seconds
        self.virtual_seconds += outcome.virtual_seconds
        self.faults += outcome.faults
        merge(self.coverage, outcome.coverage)
        if not outcome.ok:
            self.failures.append(outcome)

    def groups(self) -> list[Group]:
        """Failures by the invariant and place of their first violation, the most frequent first."""
        groups: dict[tuple[str, str], Group] = {}
        for outcome in self.failures:
            first = outcome.violations[0]
            group = groups.setdefault(first.key, Group(*first.key, first, []))
            group.outcomes.append(outcome)
        return sorted(groups.values(), key=lambda group: -len(group.outcomes))

    def broken(self) -> dict[str, int]:
        """How many runs broke each invariant."""
        found: dict[str, int] = {}
        for outcome in self.failures:
            for name in dict.fromkeys(violation.invariant for violation in outcome.violations):
                found[name] = found.get(name, 0) + 1
        return found

    @property
    def only_program_failed(self) -> bool:
        """Whether no promise of the engine was broken, only the program's own checks."""
        return bool(self.failures) and all(
            violation.invariant == PROGRAM for outcome in self.failures for violation in outcome.violations
        )


def plans(
    faults: str | Plan | PlanOf | None, setup: Setup, duration: float, most: int = 6, also: Sequence[str] = ()
) -> PlanOf:
    """The plan for each seed: of a storm (``"storm"``), none (``"none"`` or None), or always the same.

    Args:
        duration: seconds within which storms end.
        most: faults of a storm.
        also: kinds of faults that storms have besides the usual ones.
    """
    if faults is None or faults == CALM:
        return lambda seed: Plan()
    if isinstance(faults, Plan):
        return lambda seed: faults
    if isinstance(faults, str):
        return lambda seed: random_plan(seed, setup.nodes, duration, most, also=also)
    return faults


def storm_duration(calm: Outcome) -> float:
    """How long storms last, so that most of their faults meet the program: twice as long as it ran without faults."""
    return round(max(SHORTEST_STORM, 2 * calm.program_seconds), 3)


def explore(
    program: str | Path | Callable[[], Any] | Program | list[Program],
    seeds: Iterable[int] = range(100),
    faults: str | Plan | PlanOf | None = STORM,
    setup: Setup | None = None,
    jobs: int = 0,
    duration: float | None = None,
    max_failures: int | None = None,
    observers: Sequence[Observer] = (),
    run_limit: float | None = None,
    each: Callable[[Outcome], None] | None = None,
    arguments: Sequence[str] = (),
    coverage: bool = False,
) -> Exploration:
    """Run a program with many seeds and check every invariant in each run.

    Args:
        program: a file, ``workload:NAME``, ``workload:all`` (each seed runs every workload), a function, or several.
        seeds: one run each.
        faults: ``"storm"``: a random plan from the seed; ``"none"``; a plan; or a function that gives it by seed.
        jobs: processes of their own that run at the same time; 0 runs everything in this one, as functions need it.
        duration: of storms, in virtual seconds; by default, twice as long as the program runs without faults.
        max_failures: stop after so many failing runs.
        observers: see :func:`thornback.faults.run.run_once`; in this process only.
        run_limit: wall seconds that a run may take; in processes of their own only.
        each: called with every outcome as it comes.
        arguments: what the program finds in ``sys.argv``, if it is a file.
        coverage: count which messages met which faults; see :mod:`thornback.faults.coverage`.

    Raises:
        ProgramError: there is no such program.
        ValueError: the arguments do not go together.
    """
    setup = setup or Setup()
    programs = programs_of(program, arguments)
    found = Exploration()
    calm = found.calm_failures
    outcomes = _outcomes(programs, seeds, faults, setup, jobs, duration, observers, run_limit, coverage, calm)
    try:
        for outcome in outcomes:
            found.add(outcome)
            if each is not None:
                each(outcome)
            if max_failures is not None and len(found.failures) >= max_failures:
                break
    except KeyboardInterrupt:
        found.interrupted = True
    finally:
        outcomes.close()
    return found


def _outcomes(
    programs: Sequence[Program],
    seeds: Iterable[int],
    faults: str | Plan | PlanOf | None,
    setup: Setup,
    jobs: int,
    duration: float | None,
    observers: Sequence[Observer],
    run_limit: float | None,
    coverage: bool,
    calm_failures: list[Outcome],
) -> Generator[Outcome, None, None]:
    by_name = {program.name: program for program in programs}

    def run(wanted: Iterator[Job], observers: Sequence[Observer] = ()) -> Generator[Outcome, None, None]:
        if jobs == 0:
            for job in wanted:
                yield run_once(by_name[job.program], job.seed, job.plan, job.setup, observers, coverage=job.coverage)
            return
        from thornback.faults.explore_jobs import run_jobs

        yield from run_jobs(wanted, jobs, run_limit)

    if jobs > 0:
        _check_portable(programs, observers)
    lengths = dict.fromkeys(by_name, SHORTEST_STORM if duration is None else duration)
    if duration is None and faults == STORM:
        calm = (Job(program.name, program.text, program.arguments, 0, Plan(), setup) for program in programs)
        for outcome in run(calm):
            lengths[outcome.program] = storm_duration(outcome)
            if not outcome.ok:
                calm_failures.append(outcome)
    plans_of = {name: plans(faults, setup, length, also=by_name[name].faults) for name, length in lengths.items()}
    yield from run(
        (
            Job(program.name, program.text, program.arguments, seed, plans_of[program.name](seed), setup, coverage)
            for seed in seeds
            for program in programs
        ),
        observers,
    )


def _check_portable(programs: Sequence[Program], observers: Sequence[Observer]) -> None:
    """Several processes can run what has a name, and nobody of this process sees it."""
    if observers:
        raise ValueError("observers see runs of this process; they need jobs=0")
    for program in programs:
        if not program.text:
            raise ValueError(f"the function {program.name} can only run in this process; it needs jobs=0")


def unfinished(job: Job, where: str, text: str, wall_seconds: float) -> Outcome:
    """The outcome of a run that could not be brought to its end."""
    return Outcome(
        program=job.program,
        seed=job.seed,
        plan=job.plan,
        setup=job.setup,
        violations=[Violation(invariant=UNFINISHED, where=where, text=text)],
        trace_hash="",
        virtual_seconds=0.0,
        wall_seconds=wall_seconds,
        events=0,
        messages=0,
        tasks=0,
        faults=0,
    )
