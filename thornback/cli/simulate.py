"""``thornback simulate PROGRAM``: run a program on a simulated cluster."""

from __future__ import annotations

import json
import runpy
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thornback.cli.output import CommandError

if TYPE_CHECKING:
    from thornback.simulator.observer import Observer
    from thornback.simulator.world import World


def simulate(
    program: Annotated[Path, typer.Argument(help="A Python program; it runs unchanged.")],
    args: Annotated[list[str] | None, typer.Argument(help="Its arguments.")] = None,
    nodes: Annotated[int, typer.Option(help="How many simulated machines.", min=1)] = 4,
    cpus: Annotated[float, typer.Option(help="CPUs of each machine.", min=0)] = 4,
    seed: Annotated[int, typer.Option(help="Of everything random; equal seeds give equal runs.")] = 0,
    faults: Annotated[Path | None, typer.Option(help="A JSON file with faults that happen meanwhile.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Write one JSON line for each event to this file.")] = None,
    cost: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=SECONDS", help="Virtual time that a function or Class.method takes; repeatable."),
    ] = None,
    time_limit: Annotated[float | None, typer.Option(help="Stop after so many virtual seconds.")] = None,
    status_at: Annotated[
        float | None,
        typer.Option(help="Print what `status` prints to stderr after so many virtual seconds.", min=0),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the status and the last line as JSON.")] = False,
) -> None:
    """Run a program on a simulated cluster, in virtual time.

    Options may come before or after the program; options of the program itself come after ``--``. Its output and exit
    code come through. The last line on stderr tells the hash of the trace, how many events and tasks
    there were, and how much virtual time has passed.
    """
    from thornback.faults.loader import PlanError
    from thornback.simulator import simulate as simulated

    if not program.is_file():
        raise CommandError(f"there is no program {program}")
    costs = dict(parse_cost(text) for text in cost or [])
    try:
        world = simulated(nodes, cpus, seed, faults=faults, trace=trace, costs=costs, time_limit=time_limit)
        with world:
            observer = None if status_at is None else observe(world, status_at, as_json)
            code = run_program(program, args or [])
            stats = world.stats
    except (PlanError, ValueError) as error:
        raise CommandError(str(error), 2) from None
    except OSError as error:
        raise CommandError(f"cannot write the trace: {error}", 2) from None
    sys.stdout.flush()
    if observer is not None and not observer.has_looked:
        print(f"thornback: the program ended before {status_at:g} s, the time of the status", file=sys.stderr)
    print(summary(stats, as_json), file=sys.stderr, flush=True)
    raise typer.Exit(code)


def parse_cost(text: str) -> tuple[str, float]:
    """A function's name and the seconds that it takes.

    Raises:
        CommandError: the text says something else.
    """
    name, _, seconds = text.partition("=")
    try:
        amount = float(seconds)
    except ValueError:
        amount = -1.0
    if not name or not 0 <= amount < float("inf"):
        raise CommandError(f"--cost {text}: must be NAME=SECONDS with a number >= 0, such as --cost train=0.5", 2)
    return name, amount


def observe(world: World, seconds: float, as_json: bool) -> Observer:
    """Print the status of the simulated cluster at a point of virtual time."""
    from thornback.cli.status import collect, show
    from thornback.simulator.observer import Observer

    def look() -> None:
        found = collect()
        if as_json:
            print(json.dumps(found), file=sys.__stderr__, flush=True)
        else:
            show(found, sys.__stderr__)

    return Observer(world, seconds, look)


def run_program(program: Path, args: list[str]) -> int:
    """Run a file as ``__main__``; returns its exit code. Leaves the cluster as the end of a process would."""
    import thornback

    saved = sys.argv
    sys.argv = [str(program), *args]
    sys.path.insert(0, str(program.resolve().parent))
    try:
        runpy.run_path(str(program), run_name="__main__")
        thornback.shutdown()
        return 0
    except SystemExit as end:
        thornback.shutdown()
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        sys.argv = saved
        sys.path.pop(0)


def summary(stats: dict[str, int | float | str], as_json: bool) -> str:
    """The last line."""
    if as_json:
        return json.dumps(stats)
    return (
        f"thornback: simulated {stats['virtual_seconds']:.6f} s: {stats['tasks']} tasks, {stats['events']} events, "
        f"{stats['messages']} messages, {stats['faults']} faults, trace {stats['trace_hash']}"
    )
