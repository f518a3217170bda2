"""All commands, with their options. What they do is in the other modules, imported when a command runs."""

from __future__ import annotations

import functools
from collections.abc import Callable
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
