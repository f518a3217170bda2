"""The table and the plot."""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console
from rich.table import Table

from peers_support.results import CEILING, OURS, PEER, Cell, Results, machine
from peers_support.rows import Metric

GOAL = 5.0
"""Times Ray, for every control-plane row."""


def number(value: float) -> str:
    """Three significant digits, with separators for thousands."""
    if math.isnan(value):
        return "-"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def cell_text(cell: Cell | None) -> str:
    """Median and spread, or why there is none."""
    if cell is None:
        return ""
    if cell.values:
        text = f"{number(cell.median)} ±{100 * cell.spread:.0f}%"
        if cell.failures:
            text += f" [red]({len(cell.failures)} failed)[/]"
        return text
    if cell.failures:
        return f"[red]failed: {_short(cell.failures[0])}[/]"
    return f"[dim]skipped: {_short(cell.skipped)}[/]"


def _short(text: str) -> str:
    text = text.replace("[", "(").replace("]", ")")
    return text if len(text) <= 48 else text[:47] + "…"


def _ratio_text(metric: Metric, ratio: float) -> str:
    if math.isnan(ratio):
        return ""
    goal = GOAL if metric.control_plane else 1.0
    colour = "green" if ratio >= goal else "yellow" if ratio >= 1 else "red"
    return f"[{colour}]{number(ratio)}x[/]"


def table(results: Results) -> Table:
    """All rows. Ratios above 1 mean that Thornback is better, whichever way the unit goes."""
    grid = Table(title=_title(results), title_justify="left", caption_justify="left")
    grid.add_column("row")
    grid.add_column("unit")
    shown = [engine for engine in results.engines if any(engine in cells for cells in results.cells.values())]
    for engine in shown:
        grid.add_column(f"{engine} {results.versions.get(engine, '')}".strip(), justify="right")
    compared = [engine for engine in shown if engine not in (OURS, CEILING)] if OURS in shown else []
    for engine in compared:
        grid.add_column(f"vs {engine}", justify="right")
    grid.add_column("of bare", justify="right")
    for metric in results.metrics:
        cells = results.cells[metric.name]
        share = results.share_of_ceiling(metric)
        grid.add_row(
            metric.name,
            metric.unit if metric.higher_is_better else f"{metric.unit} ↓",
            *[cell_text(cells.get(engine)) for engine in shown],
            *[_ratio_text(metric, results.ratio(metric, engine)) for engine in compared],
            "" if math.isnan(share) else f"{100 * share:.0f}%",
        )
    return grid


def _title(results: Results) -> str:
    host = machine()
    return (
        f"{results.date:%Y-%m-%d}, {host['cpus']} CPUs ({host['processor']}), {host['memory_gib']} GiB, "
        f"Python {host['python']}; median of {results.settings['rounds']} rounds, ± half the range; ↓: less is better"
    )


def summary(results: Results) -> list[str]:
    """The figures that the project promises."""
    lines = []
    mean = results.mean_ratio()
    if not math.isnan(mean):
        slow = results.below(GOAL, control_plane=True)
        lines.append(f"control-plane rows: geometric mean {number(mean)} times {PEER}; {len(slow)} below {GOAL:g}")
        lines += [f"  {metric.name}: {number(results.ratio(metric))} times" for metric in slow]
        worse = results.below(1.0, control_plane=False)
        lines.append(f"rows worse than {PEER}: {', '.join(metric.name for metric in worse) or 'none'}")
    for metric in results.metrics:
        share = results.share_of_ceiling(metric)
        if not math.isnan(share):
            lines.append(f"{metric.name}: {100 * share:.0f}% of {metric.ceiling}")
    if results.settings["quick"]:
        lines.append("quick run: smaller workloads and shorter loops; for figures to quote, run without --quick")
    return lines + results.notes


def show(results: Results, console: Console) -> None:
    """Print the table and what follows from it."""
    console.print(table(results))
    for line in summary(results):
        console.print(line, highlight=False)


def plot(results: Results, path: Path) -> None:
    """Bars of the ratios to each other engine, as a PNG.

    Raises:
        ValueError: nothing can be compared.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    others = [engine for engine in results.versions if engine not in (OURS, CEILING)]
    metrics = [
        metric for metric in results.metrics if any(0 < results.ratio(metric, other) < math.inf for other in others)
    ]
    if not metrics:
        raise ValueError("there is nothing to compare: no row has a figure of Thornback and of another engine")
    figure, axes = pyplot.subplots(figsize=(10, 1.5 + 0.3 * len(metrics)), layout="constrained")
    height = 0.8 / len(others)
    for index, other in enumerate(others):
        at = [position + (index - (len(others) - 1) / 2) * height for position in range(len(metrics))]
        ratios = [results.ratio(metric, other) for metric in metrics]
        errors = [_error(results, metric, other) for metric in metrics]
        widths = [ratio - 1 for ratio in ratios]
        label = f"{other} {results.versions.get(other, '')}"
        axes.barh(at, widths, height, left=1, xerr=errors, label=label, capsize=1.5)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=1)
    axes.axvline(GOAL, color="grey", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(metrics)), [metric.name for metric in metrics])
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("times better than the other engine (dotted: the goal for control-plane rows against Ray)")
    axes.legend(loc="lower right")
    axes.set_title(f"Thornback against others in one run, {results.date:%Y-%m-%d}, {machine()['cpus']} CPUs")
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _error(results: Results, metric: Metric, other: str) -> float:
    ratio = results.ratio(metric, other)
    if not math.isfinite(ratio):
        return 0.0
    cells = results.cells[metric.name]
    return ratio * math.hypot(cells[OURS].spread, cells[other].spread)
