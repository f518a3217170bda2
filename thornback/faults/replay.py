"""Running a saved failure again; where another run comes of it, the first event that differs, and why."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from thornback.core.messages import Message
from thornback.faults.failure import Failure, FailureError, Journal, digests_of
from thornback.faults.program import Program
from thornback.faults.run import Outcome, run_once
from thornback.faults.story import event_in_words, message_in_words

if TYPE_CHECKING:
    from thornback.simulator.world import World

BEFORE = 5
"""Events that are shown before the first that differs."""
HASH_SEEDS = ("0", "1", "2", "3")
"""With each of which a set of two strings has the same order in one of eight cases."""
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
    """It was the same run, bit for bit; of one without end: it came to no end in the same way."""
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
    outcome = failure.again(program, failure.plan, failure.setup, [journal])
    fails = any(violation.key == failure.violation.key for violation in outcome.violations)
    if not failure.ended:
        return Replay(outcome, fails, fails)
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
        cause = (
            "the program itself is not deterministic: two replays differ from each other (addresses, files that it "
            f"writes, what it leaves in modules){_suspects(program)}"
        )
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
    digests = digests_of(program.modules)
    changed = sorted(name for name, _ in digests.items() ^ failure.modules.items())
    if changed:
        return f"what the program imports has changed since: {', '.join(dict.fromkeys(changed))}"
    first = _hash_elsewhere(program, failure, HASH_SEEDS[0])
    if any(_hash_elsewhere(program, failure, seed) != first for seed in HASH_SEEDS[1:]):
        if _hash_elsewhere(program, failure, HASH_SEEDS[0]) == first:
            return f"the program depends on the order of a set of strings, or on hash(){_suspects(program)}"
        return f"the program depends on its process (id(), addresses) or on the time{_suspects(program)}"
    if first != outcome.trace_hash:
        return f"the program depends on its process (id(), addresses, what it has imported){_suspects(program)}"
    return f"the program depends on something outside of it: files, environment, machine, time{_suspects(program)}"


def _hash_elsewhere(program: Program, failure: Failure, hash_seed: str) -> str:
    """Of the trace in a process of its own, whose strings have other hashes than here."""
    with _environment("PYTHONHASHSEED", hash_seed):
        return failure.elsewhere(program).trace_hash


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


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
    "scandir": "the order of files is not fixed",
    "walk": "the order of files is not fixed",
    "iterdir": "the order of files is not fixed",
    "glob": "the order of files is not fixed",
    "rglob": "the order of files is not fixed",
    "datetime64": "numpy.datetime64('now') is the time of this machine",
    "getrefcount": "counts of references are not fixed",
    "run": "other programs are not simulated",
    "Popen": "other programs are not simulated",
    "SystemRandom": "the system's randomness is not simulated",
}


def suspects(text: str) -> list[str]:
    """Places in a program's source where it may be not deterministic, with the reason."""
    found: dict[int, str] = {}
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
            owner = getattr(getattr(called, "value", None), "id", "")
            if name in _SUSPECT_CALLS and (name != "run" or owner == "subprocess"):
                found[node.lineno] = f"line {node.lineno}: {_SUSPECT_CALLS[name]}"
            elif any(isinstance(each.value, ast.Name) and each.value.id in ("hash", "id") for each in node.keywords):
                found[node.lineno] = f"line {node.lineno}: {_SUSPECT_CALLS['hash']}, and so does id()"
        elif isinstance(node, ast.Attribute) and node.attr == "environ":
            found[node.lineno] = f"line {node.lineno}: the environment is not simulated"
        elif isinstance(node, (ast.Set, ast.SetComp)):
            found[node.lineno] = f"line {node.lineno}: {_SUSPECT_CALLS['set']}"
        elif isinstance(node, ast.Global):
            found[node.lineno] = f"line {node.lineno}: a global variable may survive from one run to the next"
    return [found[line] for line in sorted(found)]


def _suspects(program: Program) -> str:
    found = suspects(program.text)
    for name, path in program.modules.items():
        if path.suffix == ".py":
            found += [f"{name} {each}" for each in suspects(path.read_text(encoding="utf-8"))]
    return "; look at " + "; ".join(found[:MOST_SUSPECTS]) if found else ""
