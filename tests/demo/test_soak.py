"""The demonstration's programs on simulated clusters with random faults: the results are those without any."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from thornback.demo.jobs import Program
from thornback.demo.runner import demo_programs
from thornback.faults.generate import random_plan

NODES = 12
SECONDS = 2.0
SEEDS = range(1, 21)


@cache
def undisturbed(index: int) -> dict[str, Any]:
    """The result of a program without faults."""
    program = demo_programs()[index]
    done = subprocess.run(program.really(), capture_output=True, text=True, timeout=300, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["result"]
    return found


def run(program: Program, seed: int, faults: Path) -> dict[str, Any]:
    """The result in the simulated world."""
    costs = [text for name, seconds in program.costs.items() for text in ("--cost", f"{name}={seconds}")]
    command = [sys.executable, "-m", "thornback.cli", "simulate", "--nodes", str(NODES), "--seed", str(seed), *costs]
    done = subprocess.run(
        [*command, "--faults", str(faults), str(program.file), *program.arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)} --faults:\n{faults.read_text()}\n{done.stderr}"
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["result"]
    return found


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("index", [0, 1], ids=["inverted_index", "parameter_server"])
def test_the_result_survives_a_storm(index: int, seed: int, tmp_path: Path) -> None:
    program = demo_programs()[index]
    faults = tmp_path / "storm.json"
    faults.write_bytes(random_plan(seed, NODES, SECONDS).to_json())
    same, text = program.equal(undisturbed(index), run(program, seed, faults))
    assert same, f"{text}\n{faults.read_text()}"
