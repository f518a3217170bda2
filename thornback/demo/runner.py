"""``thornback demo``: two programs in the real world, then the same files in the simulated one, and a table."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from thornback.cli.output import CommandError, print_json
from thornback.demo.jobs import NODES, PROGRAMS, Outcome, Program, run_job

LEAST_ACCURACY = 0.90
WIDTH = 110
"""Columns of output that does not go to a terminal."""
NAMES = {"crash_worker": "worker crash", "crash_node": "node crash"}
REAL, SIMULATED = "this machine", "simulated"


@dataclass(frozen=True)
class Row:
    """What the table says of one program; ``problems`` is empty if all is right."""

    program: Program
    real: Outcome
    simulated: Outcome
    equal: str
    problems: list[str]

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "program": self.program.title,
            "file": self.program.file.name,
            "ok": not self.problems,
            "problems": self.problems,
            "results": self.equal,
            "real": self.real.report | {"wall_seconds": round(self.real.seconds, 3)},
            "simulated": self.simulated.report | {"wall_seconds": round(self.simulated.seconds, 3)},
            "simulation": self.simulated.simulation,
        }


def run_demo(as_json: bool = False, programs: list[Program] | None = None) -> int:
    """Run all programs in both worlds and print what came out; returns the exit code."""
    programs = demo_programs() if programs is None else programs
    started = time.monotonic()
    console = Console(stderr=as_json)
    if not console.is_terminal:
        console = Console(stderr=as_json, width=WIDTH)
    with _Display(console, len(programs)) as display:
        real = [display.run(program, REAL, program.really()) for program in programs]
        simulated = [display.run(program, SIMULATED, program.simulated()) for program in programs]
    rows = [judge(*row) for row in zip(programs, real, simulated, strict=True)]
    seconds = time.monotonic() - started
    ok = not any(row.problems for row in rows)
    if as_json:
        print_json({"ok": ok, "seconds": round(seconds, 1), "programs": [row.as_dict() for row in rows]})
    else:
        _print(console, rows, seconds)
    return 0 if ok else 1


def demo_programs() -> list[Program]:
    """The two programs with their arguments on this machine.

    Raises:
        CommandError: the data of one of them is not installed.
    """
    return [
        Program(
            "inverted index",
            PROGRAMS / "inverted_index.py",
            (os.path.dirname(os.__file__),),
            PROGRAMS / "inverted_index.faults.json",
            {"index_files": 0.2, "merge": 0.1, "index_directory": 0.02},
            identical,
        ),
        Program(
            "parameter server",
            PROGRAMS / "parameter_server.py",
            (str(digits_path()),),
            PROGRAMS / "parameter_server.faults.json",
            {"Worker.gradient": 0.01, "Server.apply": 0.001},
            both_accurate,
        ),
    ]


def digits_path() -> Path:
    """The UCI handwritten digits, as scikit-learn ships them; scikit-learn is not imported.

    Raises:
        CommandError: scikit-learn is not installed, or has no such file.
    """
    spec = importlib.util.find_spec("sklearn")
    advice = "install the demo's extra: pip install 'thornback[demo]'"
    if spec is None or not spec.submodule_search_locations:
        raise CommandError(f"the handwritten digits come with scikit-learn, which is not installed; {advice}")
    path = Path(spec.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    if not path.exists():
        raise CommandError(f"this scikit-learn has no file {path}; {advice}")
    return path


def identical(real: dict[str, Any], simulated: dict[str, Any]) -> tuple[bool, str]:
    """Results that do not depend on the order of events."""
    if real == simulated:
        return True, "identical"
    return False, f"different: {real} and {simulated}"


def both_accurate(real: dict[str, Any], simulated: dict[str, Any]) -> tuple[bool, str]:
    """Gradients arrive in another order in each world, so the models differ; both must reach the accuracy."""
    accuracies = [result.get("accuracy", 0.0) for result in (real, simulated)]
    ok = min(accuracies) >= LEAST_ACCURACY
    shown = " and ".join(f"{accuracy:.1%}" for accuracy in accuracies)
    return ok, f"{'both' if ok else 'not both'} at least {LEAST_ACCURACY:.0%}: {shown}"


def judge(program: Program, real: Outcome, simulated: Outcome) -> Row:
    """Compare the two worlds."""
    problems = []
    for world, outcome in ((REAL, real), (SIMULATED, simulated)):
        if outcome.code != 0 or "result" not in outcome.report:
            problems.append(f"{program.title}, {world}: exit code {outcome.code}\n{outcome.errors}")
    equal = "not compared"
    if not problems:
        same, equal = program.equal(real.report["result"], simulated.report["result"])
        if not same:
            problems.append(f"{program.title}: {equal}")
        problems += _missing_faults(program, simulated.simulation)
    return Row(program, real, simulated, equal, problems)


def _missing_faults(program: Program, simulation: dict[str, Any]) -> list[str]:
    if not simulation.get("trace_hash"):
        return [f"{program.title}: the simulation did not report a trace hash"]
    planned, happened = program.planned_faults().total(), simulation.get("faults", 0)
    if happened != planned:
        return [f"{program.title}: {happened} of {planned} planned faults were injected"]
    return []


class _Display(AbstractContextManager["_Display"]):
    """Progress while programs run: live lines in a terminal, one line per finished program elsewhere."""

    def __init__(self, console: Console, count: int) -> None:
        self._console = console
        self._steps = 2 * count
        self._step = 0
        self._progress = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[line]}", markup=True),
            console=console,
        )
        self._context: AbstractContextManager[Any] = self._progress if console.is_terminal else nullcontext()

    def __enter__(self) -> _Display:
        self._context.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._context.__exit__(*details)

    def run(self, program: Program, world: str, command: list[str]) -> Outcome:
        """Run one program and show what it says."""
        self._step += 1
        where = f"{NODES} simulated nodes" if world == SIMULATED else world
        title = f"{self._step}/{self._steps} {program.title} on {where}"
        if not self._console.is_terminal:
            outcome = run_job(command, _ignore)
            self._console.print(f"{title}: {outcome.seconds:.1f} s", highlight=False)
            return outcome
        task = self._progress.add_task(title, total=1, line="")
        outcome = run_job(command, lambda line: self._progress.update(task, line=_short(line)))
        self._progress.update(task, completed=1, line="" if outcome.code == 0 else f"exit code {outcome.code}")
        return outcome


def _ignore(line: str) -> None:
    """Not shown."""


def _short(line: str) -> str:
    plain = line.replace("[", "(").replace("]", ")")
    return plain if len(plain) <= 60 else plain[:57] + "..."


def _print(console: Console, rows: list[Row], seconds: float) -> None:
    table = Table("", *(Column(row.program.title, overflow="fold") for row in rows), box=None, pad_edge=False)
    table.add_row("results of both worlds", *(row.equal for row in rows))
    table.add_row(f"tasks/s, {REAL}", *(_rate(row.real) for row in rows))
    table.add_row("virtual time, simulated", *(_virtual(row) for row in rows))
    table.add_row("tasks run, simulated", *(f"{row.simulated.simulation.get('tasks', 0):,}" for row in rows))
    table.add_row("faults injected", *(_faults(row) for row in rows))
    table.add_row("trace hash", *(row.simulated.simulation.get("trace_hash", "-") for row in rows))
    console.print()
    console.print(table)
    console.print()
    problems = [problem for row in rows for problem in row.problems]
    for problem in problems:
        print(problem, file=sys.stderr)
    verdict = f"{len(problems)} problem{'s' * (len(problems) != 1)}" if problems else "all right"
    console.print(f"{verdict}, in {seconds:.1f} s", highlight=False)


def _rate(outcome: Outcome) -> str:
    report = outcome.report
    return f"{report['tasks'] / report['seconds']:,.0f}" if report.get("seconds") else "-"


def _virtual(row: Row) -> str:
    seconds = row.simulated.simulation.get("virtual_seconds")
    return "-" if seconds is None else f"{seconds:.1f} s (in {row.simulated.seconds:.1f} s)"


def _faults(row: Row) -> str:
    kinds = row.program.planned_faults()
    return ", ".join(f"{count} {NAMES.get(kind, kind)}{'es' * (count != 1)}" for kind, count in kinds.items())
