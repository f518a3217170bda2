"""What was measured, and what follows from it: medians, spreads, ratios, and the file that keeps all of it."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from peers_support.rows import Metric, Probe

OURS = "thornback"
PEER = "ray"
CEILING = "bare"


@dataclass
class Cell:
    """All rounds of one metric in one engine."""

    values: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    skipped: str = ""

    @property
    def median(self) -> float:
        """Over the rounds; NaN if none succeeded."""
        return statistics.median(self.values) if self.values else math.nan

    @property
    def spread(self) -> float:
        """Half the distance between the extremes, as a share of the median."""
        if not self.values or not self.median:
            return 0.0
        return (max(self.values) - min(self.values)) / 2 / abs(self.median)


class Results:
    """Cells by metric and engine.

    Attributes:
        versions: of the engines that ran.
        notes: what went wrong with an engine as a whole.
    """

    def __init__(self, probes: Iterable[Probe], engines: Iterable[str], settings: dict[str, Any]) -> None:
        self.engines = list(engines)
        self.metrics: list[Metric] = [metric for probe in probes for metric in probe.metrics]
        self.cells: dict[str, dict[str, Cell]] = {metric.name: {} for metric in self.metrics}
        self.versions: dict[str, str] = {}
        self.notes: list[str] = []
        self.settings = settings
        self.date = datetime.now(UTC)

    def cell(self, metric: Metric, engine: str) -> Cell:
        """The cell, made if needed."""
        return self.cells[metric.name].setdefault(engine, Cell())

    def record(self, probe: Probe, engine: str, event: dict[str, Any]) -> None:
        """Take over what a child reported about a probe: values, or why there are none."""
        for index, metric in enumerate(probe.metrics):
            cell = self.cell(metric, engine)
            if "values" in event:
                cell.values.append(event["values"][index])
            elif "skipped" in event:
                cell.skipped = event["skipped"]
            else:
                cell.failures.append(event["failed"])

    def median(self, metric: str, engine: str) -> float:
        """Of a metric by name; NaN if it was not measured."""
        cell = self.cells.get(metric, {}).get(engine)
        return math.nan if cell is None else cell.median

    def ratio(self, metric: Metric, other: str = PEER) -> float:
        """How many times better we are; NaN if one of the two is not known or is 0."""
        ours, theirs = self.median(metric.name, OURS), self.median(metric.name, other)
        if not metric.higher_is_better:
            ours, theirs = theirs, ours
        if math.isnan(ours) or math.isnan(theirs):
            return math.nan
        return ours / theirs if ours and theirs else math.nan

    def share_of_ceiling(self, metric: Metric) -> float:
        """Of what the bare machine does; NaN where there is no such figure."""
        return self.median(metric.name, OURS) / self.median(metric.ceiling, CEILING)

    def mean_ratio(self) -> float:
        """Geometric mean of the ratios of the control-plane rows; NaN if there are none."""
        ratios = [self.ratio(metric) for metric in self.metrics if metric.control_plane]
        known = [ratio for ratio in ratios if math.isfinite(ratio) and ratio > 0]
        return statistics.geometric_mean(known) if known else math.nan

    def below(self, ratio: float, control_plane: bool) -> list[Metric]:
        """The rows (of the control plane) with a smaller ratio."""
        return [
            metric
            for metric in self.metrics
            if (metric.control_plane or not control_plane) and self.ratio(metric) < ratio
        ]

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain data; what is not known is null."""
        rows = []
        for metric in self.metrics:
            engines = {
                engine: {
                    "values": cell.values,
                    "median": _known(cell.median),
                    "spread": cell.spread,
                    "failures": cell.failures,
                    "skipped": cell.skipped,
                }
                for engine, cell in self.cells[metric.name].items()
            }
            rows.append(
                {
                    "name": metric.name,
                    "unit": metric.unit,
                    "higher_is_better": metric.higher_is_better,
                    "control_plane": metric.control_plane,
                    "ratio": _known(self.ratio(metric)),
                    "share_of_ceiling": _known(self.share_of_ceiling(metric)),
                    "engines": engines,
                }
            )
        return {
            "date": self.date.isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": self.versions,
            "settings": self.settings,
            "geometric_mean_ratio": _known(self.mean_ratio()),
            "notes": self.notes,
            "rows": rows,
        }

    def save(self, path: Path) -> None:
        """Write :meth:`to_json` to a file."""
        path.write_text(json.dumps(self.to_json(), indent=1) + "\n")


def _known(number: float) -> float | None:
    return number if math.isfinite(number) else None


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
