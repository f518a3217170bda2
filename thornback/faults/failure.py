"""A failure as one file: all that is needed to see it again, and its story."""

from __future__ import annotations

import binascii
import functools
import hashlib
import platform
from array import array
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

import thornback
from thornback.faults.explore import Job
from thornback.faults.explore_jobs import run_elsewhere
from thornback.faults.invariants import Violation
from thornback.faults.plan import Plan
from thornback.faults.program import Program, ProgramError, find_program, recorded_program
from thornback.faults.run import Observer, Outcome, Setup, run_once
from thornback.faults.story import Story
from thornback.simulator.world import World

FORMAT = 1
MOST_RECORDS = 1_000_000
"""Of the journal; of a longer run, only the hash is kept."""
ENGINE_PARTS = ("api", "core", "simulator", "util")


class FailureError(ValueError):
    """The file is not one of a failure, or cannot be used here; says why."""


class Failure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One failing run. The first fields say which one it is, the others what came of it."""

    format: int = FORMAT
    program: str
    """Path, or name of a workload."""
    arguments: tuple[str, ...] = ()
    text: str
    """Its source, which is run if the file has changed or is gone."""
    modules: dict[str, str] = {}
    """Digests of the files beside it that it has imported, by their paths from its folder."""
    seed: int
    plan: Plan
    setup: Setup
    violation: Violation
    """The first one."""
    others: list[Violation] = []
    story: list[str] = []
    trace_hash: str
    """Empty if the run came to no end."""
    run_limit: float | None = None
    """Wall seconds after which it was given up, if it came to no end in that time."""
    replays: bool = True
    """Whether a second run was the same. If not, the program itself is not deterministic."""
    thornback: str
    """Version."""
    engine: str
    """Digest of the engine's source."""
    python: str
    output: str = ""
    note: str = ""
    """Where it comes from, for people."""
    journal: str = ""
    """Two bytes per record of the trace, in base64: they find the first record in which another run differs."""

    def save(self, path: str | Path) -> None:
        """Write the file, over one that is there.

        Raises:
            OSError: it cannot be written.
        """
        Path(path).write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")

    def find(self) -> Program:
        """The program, with the source that has failed.

        Raises:
            FailureError: it was a function, or a workload that does not exist any more.
        """
        if not self.text:
            raise FailureError(f"{self.program} is a function; its source is not in the file")
        try:
            return recorded_program(self.program, self.text, self.arguments)
        except ProgramError as error:
            raise FailureError(str(error)) from None

    @property
    def records(self) -> array[int]:
        """The journal, unpacked."""
        found: array[int] = array("H")
        packed = b64decode(self.journal)
        found.frombytes(packed[: len(packed) & ~1])
        return found

    @property
    def ended(self) -> bool:
        """Whether the run came to an end; if not, it is made again in a process of its own only."""
        return bool(self.trace_hash)

    def elsewhere(self, program: Program, plan: Plan | None = None, setup: Setup | None = None) -> Outcome:
        """The run once more in a process of its own, perhaps under another plan or on another cluster."""
        plan, setup = plan or self.plan, setup or self.setup
        job = Job(program.name, program.text, program.arguments, self.seed, plan, setup)
        return run_elsewhere(job, self.run_limit)

    def again(self, program: Program, plan: Plan, setup: Setup, observers: Sequence[Observer] = ()) -> Outcome:
        """The run once more in this process, under some plan on some cluster. One that came to no end is made
        :meth:`elsewhere`, where nobody observes it."""
        if self.ended:
            return run_once(program, self.seed, plan, setup, observers)
        return self.elsewhere(program, plan, setup)

    def version_problem(self) -> str:
        """Why this is not the version that has failed; "" if it is."""
        if self.thornback != thornback.__version__:
            return f"it was found with Thornback {self.thornback}, and this is {thornback.__version__}"
        if self.python != python_version():
            return f"it was found with Python {self.python}, and this is {python_version()}"
        if self.engine != engine_digest():
            return f"it was found with another source of Thornback {self.thornback} ({self.engine})"
        return ""


def python_version() -> str:
    """Without the last number, which does not matter."""
    return ".".join(platform.python_version_tuple()[:2])


@functools.cache
def engine_digest() -> str:
    """A digest of all sources that decide what happens in a simulation."""
    root = Path(thornback.__file__).parent
    digest = hashlib.blake2b(digest_size=8)
    for part in ENGINE_PARTS:
        for path in sorted((root / part).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def load_failure(path: str | Path) -> Failure:
    """The failure in a file.

    Raises:
        FailureError: the file cannot be read, or is something else.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FailureError(f"{path}: cannot read it: {error.strerror}") from None
    try:
        found = msgspec.json.decode(data, type=_AnyFormat).format
        if found != FORMAT:
            raise FailureError(f"{path}: the file has format {found}; this version reads format {FORMAT}")
        failure = msgspec.json.decode(data, type=Failure)
        b64decode(failure.journal)
    except (msgspec.DecodeError, RecursionError, binascii.Error) as error:
        raise FailureError(f"{path}: this is not a saved failure: {error}") from None
    problem = failure.plan.problem(failure.setup.nodes)
    if problem is not None:
        raise FailureError(f"{path}: plan.faults[{problem[0]}].{problem[1]}: {problem[2]}")
    return failure


class _AnyFormat(msgspec.Struct):
    """As much as files of every version have."""

    format: int = FORMAT


def digests_of(modules: Mapping[str, Path]) -> dict[str, str]:
    """Of the contents of files, in hex, by the names of the files."""
    return {name: hashlib.blake2b(modules[name].read_bytes(), digest_size=8).hexdigest() for name in sorted(modules)}


class Journal:
    """Keeps the checksums of all records of a run; an observer."""

    def __init__(self) -> None:
        self.records: array[int] = array("H")

    def __call__(self, world: World) -> None:
        """Watch that simulation."""
        world.trace.journal = self.records

    def packed(self) -> str:
        """As it stands in the file."""
        return b64encode(self.records.tobytes()).decode() if len(self.records) <= MOST_RECORDS else ""


def examine(
    outcome: Outcome, program: Program | None = None, note: str = "", run_limit: float | None = None
) -> Failure:
    """Run a failing run again, to see whether it is the same and to write down its story. One that came to no end is
    written down as it is.

    Args:
        program: if it is a function, which cannot be found by its name.
        run_limit: wall seconds that the run was allowed to take.

    Raises:
        ProgramError: there is no such program any more.
    """
    program = program or find_program(outcome.program)
    first = outcome.violations[0]
    lines: list[str] = []
    journal, replays = Journal(), True
    if outcome.trace_hash:
        story = Story(bytes.fromhex(first.subject))
        again = run_once(program, outcome.seed, outcome.plan, outcome.setup, [story, journal])
        lines, replays, run_limit = story.lines(first.at), again.trace_hash == outcome.trace_hash, None
    return Failure(
        program=program.name,
        arguments=program.arguments,
        text=program.text,
        modules=digests_of(program.modules),
        seed=outcome.seed,
        plan=outcome.plan,
        setup=outcome.setup,
        violation=first,
        others=outcome.violations[1:],
        story=lines,
        trace_hash=outcome.trace_hash,
        run_limit=run_limit,
        replays=replays,
        thornback=thornback.__version__,
        engine=engine_digest(),
        python=python_version(),
        output=outcome.output,
        note=note,
        journal=journal.packed(),
    )
