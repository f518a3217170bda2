"""Running one program of the demonstration as a process of its own, and reading what it reports."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

PROGRAMS = Path(__file__).parent
NODES, CPUS, SEED = 50, 2, 7
"""The simulated cluster. The fault plans name nodes that work at that time with this seed."""
_GRACE = 3.0


@dataclass
class Outcome:
    """How a program ended.

    Attributes:
        code: its exit code.
        seconds: wall time of the process.
        report: the JSON object in the last line of its output; empty if there is none.
        simulation: the JSON object in the last line of its stderr, if it ran in a simulation.
        errors: the end of its stderr, for people.
    """

    code: int
    seconds: float
    report: dict[str, Any] = field(default_factory=dict)
    simulation: dict[str, Any] = field(default_factory=dict)
    errors: str = ""


@dataclass(frozen=True)
class Program:
    """A program, its arguments, and what the simulated world adds.

    Attributes:
        faults: file of the fault plan.
        costs: virtual seconds that its functions take, where code takes none by itself.
        equal: whether two results mean the same, and how to say that.
    """

    title: str
    file: Path
    arguments: tuple[str, ...]
    faults: Path
    costs: dict[str, float]
    equal: Callable[[dict[str, Any], dict[str, Any]], tuple[bool, str]]

    def really(self) -> list[str]:
        """The command that runs it on this machine."""
        return [sys.executable, str(self.file), *self.arguments]

    def simulated(self) -> list[str]:
        """The command that runs it on a simulated cluster."""
        options = ["--nodes", str(NODES), "--cpus", str(CPUS), "--seed", str(SEED), "--faults", str(self.faults)]
        for name, seconds in self.costs.items():
            options += ["--cost", f"{name}={seconds}"]
        program = [str(self.file), "--", *self.arguments]
        return [sys.executable, "-m", "thornback.cli", "simulate", "--json", *options, *program]

    def planned_faults(self) -> Counter[str]:
        """How many faults of each kind the plan has."""
        return Counter(fault["kind"] for fault in json.loads(self.faults.read_text())["faults"])


def run_job(command: list[str], show: Callable[[str], None]) -> Outcome:
    """Run it to its end.

    Args:
        show: called with each line of its output.
    """
    started = time.monotonic()
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace"
        )
        last = ""
        try:
            assert process.stdout is not None
            for line in process.stdout:
                last = line.strip() or last
                show(last)
            code = process.wait()
        except BaseException:
            _end(process)
            raise
        seconds = time.monotonic() - started
        return _outcome(code, seconds, last, errors)


def _outcome(code: int, seconds: float, last: str, errors: IO[str]) -> Outcome:
    errors.seek(0)
    lines = errors.read().splitlines()
    return Outcome(code, seconds, _json_object(last), _json_object(lines[-1] if lines else ""), "\n".join(lines[-30:]))


def _json_object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _end(process: subprocess.Popen[str]) -> None:
    """After Ctrl-C in a terminal the process has the signal too, and cleans up; else it is told to end."""
    for insist in (process.terminate, process.kill):
        try:
            process.wait(_GRACE)
            return
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            insist()
    process.wait()
