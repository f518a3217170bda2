"""The comparison with other engines: its arithmetic, and that what goes wrong is shown. No other engine is needed."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from peers_support import conductor, report, rows
from peers_support.results import Results
from rich.console import Console

SETTINGS: dict[str, Any] = {"rounds": 3, "seconds": 0.01, "quick": True, "cpus": 2}


def results(names: list[str]) -> Results:
    """Nothing measured yet, for these rows."""
    return Results(rows.select(names, False), ["thornback", "ray", "bare"], SETTINGS)


def shown(found: Results) -> str:
    """What is printed."""
    output = io.StringIO()
    report.show(found, Console(file=output, width=200))
    return output.getvalue()


def record(found: Results, probe: str, engine: str, *rounds: list[float]) -> None:
    """Rounds of one probe."""
    for values in rounds:
        found.record(rows.load_all()[probe], engine, {"values": values})


def test_the_figures_are_medians_with_half_the_range() -> None:
    found = results(["tasks sync"])
    record(found, "single client tasks sync", "thornback", [900.0], [1000.0], [1200.0])
    cell = found.cells["single client tasks sync"]["thornback"]
    assert cell.median == 1000
    assert cell.spread == pytest.approx(0.15)
    assert "1,000 ±15%" in shown(found)


def test_a_ratio_above_one_is_better_whichever_way_the_unit_goes() -> None:
    found = results(["tasks sync", "3,000 returns"])
    record(found, "single client tasks sync", "thornback", [1000.0])
    record(found, "single client tasks sync", "ray", [100.0])
    record(found, "returns", "thornback", [0.5])
    record(found, "returns", "ray", [2.0])
    assert [found.ratio(metric) for metric in found.metrics] == [10, 4]
    assert found.mean_ratio() == pytest.approx(10)


def test_what_was_not_measured_has_no_ratio() -> None:
    found = results(["tasks sync"])
    record(found, "single client tasks sync", "thornback", [1000.0])
    assert math.isnan(found.ratio(found.metrics[0]))
    assert found.to_json()["rows"][0]["ratio"] is None
    json.dumps(found.to_json(), allow_nan=False)


def test_failures_and_skips_are_shown() -> None:
    found = results(["tasks sync", "placement group"])
    probes = rows.load_all()
    found.record(probes["single client tasks sync"], "ray", {"failed": "no result after 60 s"})
    found.record(probes["placement group create/removal"], "ray", {"skipped": "it has none"})
    text = shown(found)
    assert "failed: no result after 60 s" in text
    assert "skipped: it has none" in text


def run_bare(found: Results, log: Path) -> None:
    with open(log, "w") as output:
        runner = conductor.Conductor(found, True, 0.01, 2, output, lambda _text: None)
        runner.install(["bare"])
        runner.run(rows.select(["socket round trip"], False), 2)


def test_a_child_measures_in_each_round(tmp_path: Path) -> None:
    found = results(["socket round trip"])
    run_bare(found, tmp_path / "log")
    assert len(found.cells["unix socket round trip, 100 bytes"]["bare"].values) == 2


def test_a_row_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conductor, "QUICK_LIMIT", 0.0)
    found = results(["socket round trip"])
    run_bare(found, tmp_path / "log")
    cell = found.cells["unix socket round trip, 100 bytes"]["bare"]
    assert cell.failures == ["no result after 0 s"] * 2


def test_a_child_that_dies_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "numpy.py").write_text("raise SystemExit(3)\n")
    found = results(["socket round trip"])
    run_bare(found, tmp_path / "log")
    failures = found.cells["unix socket round trip, 100 bytes"]["bare"].failures
    assert failures == ["the process ended at its start (see the log)"] * 2


def test_every_row_of_rays_benchmark_is_there() -> None:
    names = {metric.name for probe in rows.load_all().values() for metric in probe.metrics}
    kinds = ("1:1 actor calls", "1:1 async-actor calls")
    wanted = {f"{kind} {way}" for kind in kinds for way in ("sync", "async")}
    wanted |= {f"{count} {kind} calls async" for count in ("1:n", "n:n") for kind in ("actor", "async-actor")}
    wanted |= {"1:1 actor calls concurrent", "n:n actor calls with arg async", "1:1 async-actor calls with args async"}
    assert wanted <= names


def test_an_unknown_row_is_refused() -> None:
    with pytest.raises(ValueError, match="no row matches 'nonsense'"):
        rows.select(["nonsense"], False)
