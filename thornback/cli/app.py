"""All commands, with their options. What they do is in the other modules, imported when a command runs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from thornback.cli.output import CommandError, print_error, print_json
from thornback.cli.simulate import simulate

INTERRUPTED = 130

app = typer.Typer(
    name="thornback",
    help="Distributed Python: tasks, actors and shared objects, on real machines and in a deterministic simulator.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


def command(**settings: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command whose :class:`CommandError` becomes one clear line and an exit code."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> None:
            try:
                function(*arguments, **options)
            except CommandError as error:
                print_error(str(error))
                raise typer.Exit(error.code) from None
            except KeyboardInterrupt:
                print_error("interrupted")
                raise typer.Exit(INTERRUPTED) from None

        app.command(**settings)(call)
        return call

    return register


@command()
def demo(as_json: Json = False) -> None:
    """Run two programs on this machine and, unchanged, on a simulated cluster whose workers and one node crash.

    The exit code is 0 if both gave the same results in both worlds.
    """
    from thornback.demo.runner import run_demo

    raise typer.Exit(run_demo(as_json=as_json))


command()(simulate)


FailureFile = Annotated[Path, typer.Argument(metavar="FILE", help="A failure that simulate --seeds has saved.")]
AnyVersion = Annotated[
    bool, typer.Option("--any-version", help="Also if it was found with another version, which may be another run.")
]


@command()
def replay(file: FailureFile, any_version: AnyVersion = False, as_json: Json = False) -> None:
    """Run a saved failure again, bit for bit.

    The exit code is 0 if it was the same run, 6 if it was another one (the first event that differs and the likely
    cause are printed), 7 if it was found with another version.
    """
    from thornback.cli.failures import replay_failure

    replay_failure(file, any_version, as_json)


@command()
def shrink(
    file: FailureFile,
    out: Annotated[Path | None, typer.Option(help="Where to save it; by default beside the file.")] = None,
    max_runs: Annotated[int, typer.Option(help="Stop after so many runs.", min=1)] = 500,
    any_version: AnyVersion = False,
    as_json: Json = False,
) -> None:
    """Find the few faults, and the few nodes, that a saved failure needs.

    The exit code is 0 if it was found again, 8 if it does not happen any more, 7 if it was found with another version.
    """
    from thornback.cli.failures import shrink_failure

    shrink_failure(file, out, max_runs, any_version, as_json)


@command()
def trace(
    file: FailureFile,
    out: Annotated[Path | None, typer.Option(help="Beginning of the names of the two files.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    any_version: AnyVersion = False,
    as_json: Json = False,
) -> None:
    """Write a saved failure as a timeline: a trace for Perfetto or Chrome, and a page that needs no network."""
    from thornback.cli.failures import trace_failure

    trace_failure(file, out, show, any_version, as_json)


@command()
def status(as_json: Json = False) -> None:
    """Show the nodes of the session that runs on this machine, what is in use, and all that waits, with the reason."""
    from thornback.cli.status import status as show

    show(as_json)


@command()
def memory(
    as_json: Json = False,
    limit: Annotated[int, typer.Option(help="How many objects to show, the largest first.", min=1)] = 50,
) -> None:
    """Show every object of the session: bytes, owner, references, pins, age and the line that made it."""
    from thornback.cli.memory import memory as show

    show(as_json, limit)


@command()
def drain(
    node: Annotated[str, typer.Argument(metavar="NODE", help="Its id or the beginning of that, or its name.")],
    reason: Annotated[str, typer.Option(help="Why, for people.")] = "",
    deadline: Annotated[
        float | None,
        typer.Option(help="Seconds until it must be gone; by default it has all the time that it needs.", min=0),
    ] = None,
    as_json: Json = False,
) -> None:
    """Have a node leave the cluster: its work ends or moves, its objects are copied, and then it goes.

    Returns when that has begun; thornback status shows when the node is gone. The head cannot leave.
    """
    from thornback.cli.drain import drain as begin

    begin(node, reason, deadline, as_json)


@command()
def version(as_json: Json = False) -> None:
    """Show the version of Thornback and of Python."""
    import platform

    from thornback import __version__

    if as_json:
        print_json({"thornback": __version__, "python": platform.python_version()})
    else:
        typer.echo(f"thornback {__version__} (Python {platform.python_version()})")


def run(arguments: list[str]) -> int:
    """Run one command line; returns its exit code."""
    try:
        app(arguments, prog_name="thornback")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except KeyboardInterrupt:
        print_error("interrupted")
        return INTERRUPTED
    return 0
