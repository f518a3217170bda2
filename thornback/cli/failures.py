"""``thornback replay``, ``shrink`` and ``trace``: what can be done with the file of a failure."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import typer

from thornback.cli import exit_codes
from thornback.cli.explore import describe
from thornback.cli.output import CommandError, print_json
from thornback.faults.failure import Failure, FailureError, load_failure


def _load(path: Path, any_version: bool) -> Failure:
    try:
        failure = load_failure(path)
    except FailureError as error:
        raise CommandError(str(error), exit_codes.BAD_INPUT) from None
    problem = failure.version_problem()
    if problem and not any_version:
        text = f"{path}: {problem}; what comes may be another run: --any-version runs it all the same"
        raise CommandError(text, exit_codes.OTHER_VERSION)
    return failure


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}", exit_codes.BAD_INPUT) from None


def replay_failure(path: Path, any_version: bool, as_json: bool) -> None:
    """Make the run again and compare it.

    Raises:
        CommandError: the file cannot be used.
    """
    from thornback.faults.replay import replay

    failure = _load(path, any_version)
    try:
        found = replay(failure, any_version)
    except ValueError as error:
        raise CommandError(str(error), exit_codes.BAD_INPUT) from None
    if as_json:
        print_json(
            {
                "same": found.same,
                "fails": found.fails,
                "trace_hash": found.outcome.trace_hash,
                "recorded_hash": failure.trace_hash,
                "violations": msgspec.to_builtins(found.outcome.violations),
                "divergence": msgspec.to_builtins(found.divergence),
            }
        )
    elif not failure.ended:
        for line in describe(failure):
            typer.echo(line)
        ended = f"this time it came to its end: trace {found.outcome.trace_hash}"
        typer.echo(found.outcome.violations[0].text if found.same else ended)
    elif found.same:
        for line in describe(failure):
            typer.echo(line)
        typer.echo(f"the same run again, bit for bit: trace {found.outcome.trace_hash}")
    else:
        divergence = found.divergence
        assert divergence is not None
        typer.echo(f"this is another run: trace {found.outcome.trace_hash}, not {failure.trace_hash}")
        for event in divergence.before:
            typer.echo(f"    {event}")
        typer.echo(f"  > {event_line(divergence.record, divergence.event)}")
        typer.echo(f"likely cause: {divergence.cause}")
        typer.echo(f"the same promise is {'broken all the same' if found.fails else 'kept in this run'}")
    raise typer.Exit(exit_codes.FINE if found.same else exit_codes.DIVERGED)


def event_line(record: int, event: str) -> str:
    """The first event that differs, for people."""
    return f"{event}   (record {record}, the first that differs)"


def shrink_failure(path: Path, out: Path | None, max_runs: int, any_version: bool, as_json: bool) -> None:
    """Look for the few faults that matter, and save them beside the file.

    Raises:
        CommandError: the file cannot be used, or the failure does not happen again.
    """
    from thornback.faults.plan import Plan
    from thornback.faults.shrink import NotAgain, shrink

    failure = _load(path, any_version)
    target = out or path.with_suffix(".shrunk.json")

    def each(runs: int, plan: Plan) -> None:
        if sys.stderr.isatty():
            print(f"\r{runs} runs, {len(plan.faults)} faults left ", end="", file=sys.stderr, flush=True)

    try:
        found = shrink(failure, max_runs, each=each)
    except ValueError as error:
        raise CommandError(str(error), exit_codes.BAD_INPUT) from None
    except NotAgain as error:
        raise CommandError(str(error), exit_codes.NOT_AGAIN) from None
    with _writing(target):
        found.failure.save(target)
    if as_json:
        print_json(
            {
                "runs": found.runs,
                "faults_before": found.faults_before,
                "faults": msgspec.to_builtins(found.failure.plan.faults),
                "nodes": found.failure.setup.nodes,
                "complete": found.complete,
                "file": str(target),
            }
        )
        return
    for line in describe(found.failure):
        typer.echo(line)
    left = len(found.failure.plan.faults)
    more = "" if found.complete else "; fewer may do: it stopped at --max-runs, or at Ctrl-C"
    typer.echo(f"{left} of {found.faults_before} faults are left after {found.runs} runs{more}")
    typer.echo(f"saved as {target}")


def trace_failure(path: Path, out: Path | None, show: bool, any_version: bool, as_json: bool) -> None:
    """Write the run of a failure as a timeline: for Perfetto, and as a page.

    Raises:
        CommandError: the file cannot be used.
    """
    from thornback.faults.run import run_once
    from thornback.faults.timeline import Timeline, to_html, to_json

    failure = _load(path, any_version)
    if not failure.ended:
        text = f"{path}: this run came to no end, so that it has no timeline; thornback replay makes it again"
        raise CommandError(text, exit_codes.BAD_INPUT)
    timeline = Timeline()
    try:
        outcome = run_once(failure.find(), failure.seed, failure.plan, failure.setup, [timeline])
    except ValueError as error:
        raise CommandError(str(error), exit_codes.BAD_INPUT) from None
    base = out or path.with_suffix("")
    json_file, page = base.with_name(base.name + ".trace.json"), base.with_name(base.name + ".html")
    trace = timeline.trace(outcome.violations)
    with _writing(base):
        json_file.write_text(to_json(trace), encoding="utf-8")
        page.write_text(to_html(trace, f"{failure.program}, seed {failure.seed}"), encoding="utf-8")
    same = outcome.trace_hash == failure.trace_hash
    if as_json:
        print_json({"trace": str(json_file), "page": str(page), "entries": len(trace["traceEvents"]), "same": same})
    else:
        typer.echo(f"{json_file}: {len(trace['traceEvents'])} entries, for ui.perfetto.dev or about:tracing")
        typer.echo(f"{page}: a page that shows them by itself")
        if timeline.left_out:
            typer.echo(f"{timeline.left_out} later messages have no arrows: there are too many")
        if not same:
            typer.echo("this is another run than the recorded one: thornback replay says why")
    if show:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
