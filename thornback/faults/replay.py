"""Running a saved failure again; where another run comes of it, the first event that differs, and why."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import msgspec

from thornback.core.messages import Message
from thornback.faults.explore import Job
from thornback.faults.explore_jobs import run_jobs
from thornback.faults.failure import Failure, FailureError, Journal
from thornback.faults.program import Program
from thornback.faults.run import Outcome, run_once
from thornback.faults.story import event_in_words, message_in_words

if TYPE_CHECKING:
    from thornback.simulator.world import World

BEFORE = 5
"""Events that are shown before the first that differs."""
MOST_SUSPECTS = 5


class Divergence(msgspec.Struct, frozen=True):
    """Where a replay leaves the recorded run."""

    record: int
    """Number of the first record of the trace that differs, from 0."""
    event: str
    """It, in the replay."""
    before: list[str]
    """The last that are equal."""
    cause: str
    """The likely one."""


class Replay(msgspec.Struct, frozen=True):
    """What came of a replay."""

    outcome: Outcome
    same: bool
    """It was the same run, bit for bit."""
    fails: bool
    """The same promise was broken."""
    divergence: Divergence | None = None


def replay(failure: Failure, any_version: bool = False) -> Replay:
    """Make the failing run again.

    Args:
        any_version: also if it was found with another version of Thornback or Python.

    Raises:
        FailureError: it was found with another version, or the program cannot be found.
    """
    problem = failure.version_problem()
    if problem and not any_version:
        raise FailureError(f"{problem}; a replay would be another run")
    program = failure.find()
    journal = Journal()
    outcome = run_once(program, failure.seed, failure.plan, failure.setup, [journal])
    fails = any(violation.key == failure.violation.key for violation in outcome.violations)
    if outcome.trace_hash == failure.trace_hash:
        return Replay(outcome, True, fails)
    return Replay(outcome, False, fails, _divergence(failure, program, journal, outcome, problem))


def _divergence(failure: Failure, program: Program, journal: Journal, outcome: Outcome, problem: str) -> Divergence:
    recorded, here = failure.records, journal.records
    common = min(len(recorded), len(here))
    first = next((index for index in range(common) if recorded[index] != here[index]), common)
    second, locator = Journal(), _Locator(first)
    run_once(program, failure.seed, failure.plan, failure.setup, [second, locator])
    again = second.records
    if again != here:
        common = min(len(again), len(here))
        first = min(first, next((index for index in range(common) if again[index] != here[index]), common))
        cause = f"the program itself is not deterministic: two replays differ from each other{_suspects(program)}"
    elif problem:
        cause = problem
    else:
        cause = _cause_outside(failure, program, outcome)
    event = locator.found or "the end of the run"
    return Divergence(first, event, locator.before, cause)


def _cause_outside(failure: Failure, program: Program, outcome: Outcome) -> str:
    """Two replays in this process are equal, and the recorded run is another one."""
    if program.text != failure.text:
        return "the source of the program has changed since"
    job = Job(program.name, program.arguments, failure.seed, failure.plan, failure.setup)
    elsewhere = next(run_jobs(iter([job]), 1, None))
    if elsewhere.trace_hash != outcome.trace_hash:
        return (
            "the program depends on its process (order of sets of strings, id(), hash(), addresses, environment)"
            f"{_suspects(program)}"
        )
    return f"the program depends on something outside of it: files, environment, machine, time{_suspects(program)}"


class _Locator:
    """Describes one record of a run, and those before it; an observer that needs a journal."""

    def __init__(self, record: int) -> None:
        self._record = record
        self.found = ""
        self.before: list[str] = []

    def __call__(self, world: World) -> None:
        trace = world.trace

        def event(time: int, kind: str, subject: bytes, detail: Any) -> None:
            note(time, event_in_words(kind, subject, detail))

        def message(time: int, sender: bytes, to: bytes, message: Message, cause: int) -> None:
            note(time, message_in_words(sender, to, message))

        def note(time: int, text: str) -> None:
            assert trace.journal is not None
            record = len(trace.journal) - 1
            if self._record - BEFORE <= record < self._record:
                self.before.append(f"{time / 1e9:.6f} s: {text}")
            elif record == self._record and not self.found:
                self.found = f"{time / 1e9:.6f} s: {text}"

        trace.listeners.append(event)
        trace.message_listeners.append(message)


_SUSPECT_CALLS = {
    "id": "id() is an address",
    "hash": "hash() of a string or object differs from process to process",
    "set": "the order of a set of strings differs from process to process",
    "frozenset": "the order of a set of strings differs from process to process",
    "open": "files are not simulated",
    "read_text": "files are not simulated",
    "read_bytes": "files are not simulated",
    "stat": "files are not simulated",
    "getmtime": "files are not simulated",
    "mkdtemp": "names of temporary files are not fixed",
    "mkstemp": "names of temporary files are not fixed",
    "NamedTemporaryFile": "names of temporary files are not fixed",
    "TemporaryDirectory": "names of temporary files are not fixed",
    "getenv": "the environment is not simulated",
    "listdir": "the order of files is not fixed",
    "iterdir": "the order of files is not fixed",
    "glob": "the order of files is not fixed",
    "getrefcount": "counts of references are not fixed",
    "run": "other programs are not simulated",
    "Popen": "other programs are not simulated",
    "SystemRandom": "the system's randomness is not simulated",
}


def suspects(text: str) -> list[str]:
    """Places in a program's source where it may be not deterministic, with the reason."""
    found: dict[int, str] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
            owner = getattr(getattr(called, "value", None), "id", "")
            if name in _SUSPECT_CALLS and (name != "run" or owner == "subprocess"):
                found[node.lineno] = f"line {node.lineno}: {_SUSPECT_CALLS[name]}"
        elif isinstance(node, ast.Attribute) and node.attr == "environ":
            found[node.lineno] = f"line {node.lineno}: the environment is not simulated"
        elif isinstance(node, (ast.Set, ast.SetComp)):
            found[node.lineno] = f"line {node.lineno}: {_SUSPECT_CALLS['set']}"
        elif isinstance(node, ast.Global):
            found[node.lineno] = f"line {node.lineno}: a global variable may survive from one run to the next"
    return [found[line] for line in sorted(found)]


def _suspects(program: Program) -> str:
    found = suspects(program.text)[:MOST_SUSPECTS]
    return "; look at " + "; ".join(found) if found else ""
