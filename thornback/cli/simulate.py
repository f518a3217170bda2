"""``thornback simulate PROGRAM``: run a program on a simulated cluster."""

from __future__ import annotations

import json
import runpy
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from thornback.cli.exit_codes import BAD_INPUT
from thornback.cli.output import CommandError

if TYPE_CHECKING:
    from thornback.faults.plan import Plan
    from thornback.faults.run import Setup
    from thornback.simulator.cluster import Machines
    from thornback.simulator.observer import Observer
    from thornback.simulator.world import World


def simulate(
    program: Annotated[
        str, typer.Argument(help="A Python program; it runs unchanged. Or workload:NAME, or workload:all.")
    ],
    args: Annotated[list[str] | None, typer.Argument(help="Its arguments.")] = None,
    nodes: Annotated[int, typer.Option(help="How many simulated machines.", min=1)] = 4,
    cpus: Annotated[float | None, typer.Option(help="CPUs of each machine; 4 by default.", min=0)] = None,
    node: Annotated[
        list[str] | None,
        typer.Option(
            metavar="JSON",
            help='What a machine has: {"cpus": 8, "gpus": 2, "labels": {"zone": "a"}}. Several are taken in turn.',
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random; equal seeds give equal runs.")] = 0,
    seeds: Annotated[
        str | None,
        typer.Option(metavar="FIRST:END", help="Explore: run with each seed, check every invariant."),
    ] = None,
    faults: Annotated[
        str | None,
        typer.Option(help="A JSON file with faults that happen meanwhile; storm: random ones from the seed; none."),
    ] = None,
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
    jobs: Annotated[int, typer.Option(help="Exploring: processes that run at the same time.", min=1)] = 1,
    duration: Annotated[
        float | None,
        typer.Option(
            help="Seconds that a storm lasts; by default twice as long as the program without faults.", min=0.1
        ),
    ] = None,
    max_failures: Annotated[int | None, typer.Option(help="Exploring: stop after so many failing runs.", min=1)] = None,
    run_limit: Annotated[
        float | None, typer.Option(help="Exploring: wall seconds after which a run is given up.", min=0.1)
    ] = None,
    failures: Annotated[Path, typer.Option(help="Exploring: the folder that failures are saved in.")] = Path(
        "thornback-failures"
    ),
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Exploring: report which messages met which faults, and what never did.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the status and the last line as JSON.")] = False,
) -> None:
    """Run a program on a simulated cluster, in virtual time.

    Options may come before or after the program; options of the program itself come after ``--``. Its output and exit
    code come through. The last line on stderr tells the hash of the trace, how many events and tasks
    there were, and how much virtual time has passed.

    With ``--seeds`` it is run once with each seed, under a random storm of faults if ``--faults`` does not say
    otherwise, and every invariant of the engine is checked. The exit code is 0 if all was right, 3 if an invariant was
    broken, 4 if only the program itself has failed, 5 if a run came to no end, 130 after Ctrl-C. Failures are saved.
    """
    from thornback.faults.run import Setup

    costs = dict(parse_cost(text) for text in cost or [])
    common = {} if cpus is None else {"cpus": cpus}
    described = [{**common, **parse_node(text)} for text in node or ["{}"]]
    setup = Setup(nodes=nodes, node=described if len(described) > 1 else described[0], costs=costs)
    if seeds is None:
        _simulate_once(
            program, args or [], setup, seed, faults, duration, trace, time_limit, status_at=status_at, as_json=as_json
        )
    from thornback.cli.explore import Options, explore_seeds

    for name, given in (("--trace", trace), ("--time-limit", time_limit), ("--status-at", status_at)):
        if given is not None:
            raise CommandError(f"{name} is for a single run: give --seed instead of --seeds", 2)
    options = Options(
        program=program,
        args=args or [],
        seeds=seeds,
        faults=faults or "storm",
        setup=setup,
        jobs=jobs,
        duration=duration,
        max_failures=max_failures,
        run_limit=run_limit,
        failures=failures,
        coverage=coverage,
        as_json=as_json,
    )
    explore_seeds(options)


def _simulate_once(
    program: str,
    args: list[str],
    setup: Setup,
    seed: int,
    faults: str | None,
    duration: float | None,
    trace: Path | None,
    time_limit: float | None,
    status_at: float | None,
    as_json: bool,
) -> NoReturn:
    from thornback.faults.loader import PlanError
    from thornback.simulator import simulate as simulated
    from thornback.simulator.cluster import machines

    path, default = _file_of(program)
    try:
        plan = plan_of(faults, program, args, seed, setup, duration)
        described = machines(setup.nodes, default, setup.node)
        world = simulated(described, seed=seed, faults=plan, trace=trace, costs=setup.costs, time_limit=time_limit)
        with world:
            observer = None if status_at is None else observe(world, status_at, as_json)
            code = run_program(path, args)
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


def _file_of(program: str) -> tuple[Path, Machines]:
    """The file of a program or workload, and the machines that it is made for."""
    if program.startswith("workload:"):
        from thornback.faults.program import ProgramError, find_program

        try:
            workload = find_program(program)
        except ProgramError as error:
            raise CommandError(str(error), BAD_INPUT) from None
        return Path(workload.file), workload.node
    path = Path(program)
    if not path.is_file():
        raise CommandError(f"there is no program {path}", BAD_INPUT)
    return path, {}


def plan_of(
    faults: str | None, program: str, args: list[str], seed: int, setup: Setup, duration: float | None
) -> Plan | None:
    """The plan of a single run: from a file, or the storm that exploring makes from the same seed."""
    from thornback.faults.explore import CALM, STORM, plans, storm_duration
    from thornback.faults.loader import load_plan
    from thornback.faults.program import find_program
    from thornback.faults.run import run_once

    if faults == STORM:
        found = find_program(program, args)
        if duration is None:
            duration = storm_duration(run_once(found, 0, None, setup))
        return plans(faults, setup, duration, also=found.faults)(seed)
    return None if faults is None or faults == CALM else load_plan(faults, setup.nodes)


def parse_node(text: str) -> dict[str, Any]:
    """What a machine has, from JSON.

    Raises:
        CommandError: the text is not a JSON object with the fields of a machine.
    """
    from thornback.simulator.cluster import node_specs

    try:
        described = json.loads(text)
        if not isinstance(described, dict):
            raise ValueError("it must be a JSON object")
        node_specs([described], cpus=1)
    except ValueError as error:
        raise CommandError(f"--node {text}: {str(error).removeprefix('node 0: ')}", 2) from None
    return described


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
