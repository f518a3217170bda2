"""``thornback simulate PROGRAM --seeds A:B``: many runs, and a report of what failed."""

from __future__ import annotations

import os
import re
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import typer

from thornback.cli import exit_codes
from thornback.cli.output import CommandError, print_error, print_json
from thornback.faults.explore import CALM, STORM, UNFINISHED, Exploration, Group, explore
from thornback.faults.failure import Failure, examine
from thornback.faults.invariants import INVARIANTS
from thornback.faults.loader import PlanError, load_plan
from thornback.faults.plan import Plan
from thornback.faults.program import Program, ProgramError, programs_of
from thornback.faults.run import PROGRAM, Outcome, Setup
from thornback.faults.story import fault_in_words

OUTPUT_SHOWN = 5
"""Lines at the end of what a program has printed."""
STORY_SHOWN = 24
"""Lines of a story on the screen; the file has more."""
GROUPS_SAVED = 20
TELL_EVERY = 60.0
"""Seconds between lines about progress, where there is no bar."""


class Options(msgspec.Struct, kw_only=True):
    """What the command line says."""

    program: str
    args: list[str]
    seeds: str
    faults: str
    setup: Setup
    jobs: int
    duration: float | None
    max_failures: int | None
    run_limit: float | None
    failures: Path
    coverage: bool
    as_json: bool


def parse_seeds(text: str) -> range:
    """``0:100`` as the seeds from 0 to 99; ``7`` as that one.

    Raises:
        CommandError: the text says something else.
    """
    found = re.fullmatch(r"(\d+)(?::(\d+))?", text)
    first, end = (0, 0) if found is None else (int(found[1]), int(found[2] or int(found[1]) + 1))
    if end <= first:
        raise CommandError(f"--seeds {text}: must be FIRST:END with END > FIRST, such as 0:100, or one number", 2)
    return range(first, end)


def parse_faults(text: str, nodes: int) -> str | Plan:
    """``storm``, ``none``, or the plan in a file, for a cluster of so many nodes.

    Raises:
        CommandError: there is no such file, or it is not a plan.
    """
    if text in (STORM, CALM):
        return text
    if not Path(text).exists():
        raise CommandError(f"--faults {text}: must be {STORM}, {CALM}, or a JSON file with a plan; it is no file", 2)
    try:
        return load_plan(text, nodes)
    except PlanError as error:
        raise CommandError(str(error), 2) from None


def explore_seeds(options: Options) -> None:
    """Run all seeds and report; ends the command with one of :mod:`thornback.cli.exit_codes`."""
    seeds, faults = parse_seeds(options.seeds), parse_faults(options.faults, options.setup.nodes)
    _check_folder(options.failures)
    try:
        programs = programs_of(options.program, options.args)
    except ProgramError as error:
        raise CommandError(str(error), exit_codes.BAD_INPUT) from None
    with _progress(len(seeds) * len(programs)) as each:
        try:
            found = explore(
                programs,
                seeds,
                faults,
                options.setup,
                options.jobs,
                options.duration,
                options.max_failures,
                run_limit=options.run_limit,
                each=each,
                coverage=options.coverage,
            )
        except ValueError as error:
            raise CommandError(str(error), exit_codes.BAD_INPUT) from None
    saved = _save(found, {program.name: program for program in programs}, options)
    if options.as_json:
        print_json(as_data(found, saved))
    else:
        for line in report(found, saved, options):
            typer.echo(line)
    raise typer.Exit(exit_code(found))


def exit_code(found: Exploration) -> int:
    """The worst that was found."""
    if found.interrupted:
        return exit_codes.INTERRUPTED
    if not found.failures:
        return exit_codes.FINE
    if found.only_program_failed:
        return exit_codes.PROGRAM_FAILED
    unfinished = all(outcome.violations[0].invariant == UNFINISHED for outcome in found.failures)
    return exit_codes.UNFINISHED if unfinished else exit_codes.BROKEN


@contextmanager
def _progress(runs: int) -> Iterator[Callable[[Outcome], None]]:
    """On stderr: a bar, if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(runs)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task, failed = progress.add_task("exploring", total=runs), 0

        def each(outcome: Outcome) -> None:
            nonlocal failed
            failed += not outcome.ok
            progress.update(task, advance=1, description=f"exploring, {failed} failed" if failed else "exploring")

        yield each


def _lines(runs: int) -> Callable[[Outcome], None]:
    """A line every now and then, for logs."""
    done, failed, told = 0, 0, time.monotonic()

    def each(outcome: Outcome) -> None:
        nonlocal done, failed, told
        done, failed = done + 1, failed + (not outcome.ok)
        if time.monotonic() >= told + TELL_EVERY:
            told = time.monotonic()
            print(f"{done} of {runs} runs, {failed} failed", file=sys.stderr, flush=True)

    return each


# --- Files


Saved = tuple[Group, Failure, Path]


def _check_folder(folder: Path) -> None:
    """Before hours are spent on finding what it should hold."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise CommandError(f"--failures {folder}: cannot write to {there}", exit_codes.BAD_INPUT)


def _save(found: Exploration, programs: dict[str, Program], options: Options) -> list[Saved]:
    """One file for each group, of its first failure; as many as can be written, until Ctrl-C."""
    saved: list[Saved] = []
    try:
        for group in found.groups()[:GROUPS_SAVED]:
            outcome = group.outcomes[0]
            options.failures.mkdir(parents=True, exist_ok=True)
            name = re.sub(r"[^a-z0-9]+", "-", f"{group.invariant} {group.where}".lower()).strip("-")[:60]
            path = options.failures / f"{name}-{Path(outcome.program).stem.replace(':', '-')}-{outcome.seed}.json"
            failure = examine(outcome, programs[outcome.program], run_limit=options.run_limit)
            failure.save(path)
            saved.append((group, failure, path))
    except OSError as error:
        print_error(f"cannot save failures in {options.failures}: {error.strerror}")
    except KeyboardInterrupt:
        found.interrupted = True
    return saved


# --- Reports


def promise_of(invariant: str) -> str:
    """What an invariant promises; "" for those of programs."""
    return next((checker.promise for checker in INVARIANTS if checker.name == invariant), "")


def report(found: Exploration, saved: list[Saved], options: Options) -> Iterator[str]:
    """All lines of the report for people."""
    failed = len(found.failures)
    rate = f", {found.runs / found.wall_seconds * 60:.0f} runs per minute of one process" if found.wall_seconds else ""
    stopped = "interrupted after " if found.interrupted else ""
    yield (
        f"{stopped}{found.runs} runs of {options.program} on {options.setup.nodes} nodes: {found.runs - failed} right, "
        f"{failed} failed; {found.faults} faults, {found.virtual_seconds:.0f} virtual seconds{rate}"
    )
    for outcome in found.calm_failures:
        first = outcome.violations[0]
        yield f"{outcome.program} fails without faults too: {first.invariant}: {first.where}"
    for group in found.groups():
        seeds = ", ".join(str(outcome.seed) for outcome in group.outcomes[:10])
        more = ", ..." if len(group.outcomes) > 10 else ""
        yield ""
        yield f"{len(group.outcomes)} x {group.invariant}: {group.where} (seeds {seeds}{more})"
    for _, failure, path in saved:
        yield ""
        yield from describe(failure)
        tools = "replay, shrink and trace" if failure.ended else "replay and shrink"
        yield f"saved as {path}: thornback {tools} take it"
        if not failure.replays:
            yield "a second run was another one: thornback replay names the first difference and the likely cause"
    if options.coverage:
        from thornback.faults.coverage import as_text
        from thornback.faults.coverage import report as coverage_report

        yield ""
        yield from as_text(coverage_report(found.coverage))


def describe(failure: Failure) -> Iterator[str]:
    """A failure for people: seed, invariant, plan and story."""
    violation = failure.violation
    promise = promise_of(violation.invariant)
    yield f"seed {failure.seed} of {failure.program} breaks {violation.invariant!r}{f': {promise}' if promise else ''}"
    yield f"  at {violation.at:.6f} s: {violation.where}" if failure.ended else f"  {violation.where}"
    yield textwrap.indent(violation.text.strip(), "    ")
    if violation.invariant == PROGRAM and failure.output:
        yield "  the last that it has printed:"
        yield from (f"    {line}" for line in failure.output.splitlines()[-OUTPUT_SHOWN:])
    faults = failure.plan.faults
    yield f"  plan: {_count(len(faults), 'fault')} on {_count(failure.setup.nodes, 'node')}"
    yield from (f"    {fault_in_words(fault)}" for fault in faults)
    if failure.story:
        yield "  story:"
        yield from (f"    {line}" for line in failure.story[-STORY_SHOWN:])


def as_data(found: Exploration, saved: list[Saved]) -> dict[str, Any]:
    """The report for programs."""
    from thornback.faults.coverage import report as coverage_report

    paths = {(group.invariant, group.where): str(path) for group, _, path in saved}
    data: dict[str, Any] = {
        "runs": found.runs,
        "failed": len(found.failures),
        "interrupted": found.interrupted,
        "fails_without_faults": [outcome.program for outcome in found.calm_failures],
        "faults": found.faults,
        "virtual_seconds": found.virtual_seconds,
        "wall_seconds": found.wall_seconds,
        "broken": found.broken(),
        "groups": [
            {
                "invariant": group.invariant,
                "where": group.where,
                "count": len(group.outcomes),
                "runs": [{"program": each.program, "seed": each.seed} for each in group.outcomes],
                "text": group.first.text,
                "file": paths.get((group.invariant, group.where)),
            }
            for group in found.groups()
        ],
    }
    if found.coverage:
        data["coverage"] = coverage_report(found.coverage)
    sys.stdout.flush()
    return data


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
