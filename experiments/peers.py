#!/usr/bin/env python3
"""Thornback against Ray and Dask.distributed, row by row, in one run.

Each engine lives in an environment of its own (made at the first run, in the user's cache) and runs the same rows in
turn: A, B, A, B, ... The table shows the median over the rounds, its spread and the ratio, and what failed as failed.

    python experiments/peers.py --quick
    python experiments/peers.py --rows tasks --engines thornback,ray --rounds 5 --json out.json --plot out.png
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from peers_support import environments, report, rows
from peers_support.conductor import Conductor
from peers_support.results import Results
from rich.console import Console

app = typer.Typer(add_completion=False)
say_to = Console(stderr=True)

Rows = Annotated[list[str] | None, typer.Option("--rows", help="Only rows whose names contain this; repeatable.")]
Engines = Annotated[str | None, typer.Option(help=f"Comma-separated, of {', '.join(environments.ENGINES)}.")]
Rounds = Annotated[int, typer.Option(min=1, help="How often each engine measures each row.")]
Seconds = Annotated[float | None, typer.Option(min=0.01, help="How long each row's loop runs.")]
Quick = Annotated[bool, typer.Option("--quick", help="Smaller workloads and shorter loops: under three minutes.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write everything that was measured to this file.")]
Plot = Annotated[Path | None, typer.Option(help="Draw the ratios into this PNG file.")]
Log = Annotated[Path, typer.Option(help="Where the output of the engines goes.")]
List = Annotated[bool, typer.Option("--list", help="Print the names of all rows and leave.")]
Clean = Annotated[bool, typer.Option("--clean", help="Delete the environments of other engines and leave.")]


@app.command()
def main(
    rows_wanted: Rows = None,
    engines: Engines = None,
    rounds: Rounds = 3,
    seconds: Seconds = None,
    quick: Quick = False,
    json: Json = None,
    plot: Plot = None,
    log: Log = Path(os.devnull),
    list_rows: List = False,
    clean: Clean = False,
) -> None:
    """Measure Thornback and its peers side by side."""
    if clean:
        environments.remove()
        return
    if list_rows:
        _list()
        return
    chosen = _engines(engines, quick)
    try:
        probes = rows.select(rows_wanted or [], quick)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    seconds = seconds or (0.2 if quick else 1.0)
    settings = {"rounds": rounds, "seconds": seconds, "quick": quick, "cpus": os.cpu_count() or 1}
    results = Results([probe for probe in probes if set(probe.measures) & set(chosen)], chosen, settings)
    begin = time.monotonic()
    with open(log, "a") as output:
        conductor = Conductor(results, quick, seconds, os.cpu_count() or 1, output, _say)
        conductor.install(chosen)
        begin = time.monotonic()
        try:
            conductor.run(probes, rounds)
        except KeyboardInterrupt:
            results.notes.append("interrupted: some rounds are missing")
    _say(f"measured for {time.monotonic() - begin:.0f} s")
    width = None if sys.stdout.isatty() else 200
    report.show(results, Console(width=width))
    if json is not None:
        results.save(json)
    if plot is not None:
        try:
            report.plot(results, plot)
        except ValueError as error:
            _say(f"no plot: {error}")


def _say(text: str) -> None:
    say_to.print(text, style="dim", highlight=False, markup=False)


def _engines(names: str | None, quick: bool) -> list[str]:
    if names is None:
        return [engine for engine in environments.ENGINES if not (quick and engine == "dask")]
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    for name in chosen:
        if name not in environments.ENGINES:
            raise typer.BadParameter(f"no engine {name!r}; there are {', '.join(environments.ENGINES)}")
    return list(dict.fromkeys(chosen))


def _list() -> None:
    console = Console(width=200)
    for probe in rows.load_all().values():
        for metric in probe.metrics:
            console.print(f"{metric.name}  [dim]{probe.group}; {', '.join(probe.measures)}[/]", highlight=False)


if __name__ == "__main__":
    app()
