"""The demonstration's programs: what they import, and that they do their work in both worlds."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thornback.demo.jobs import PROGRAMS

INDEX = PROGRAMS / "inverted_index.py"
SERVER = PROGRAMS / "parameter_server.py"
WORLDS = {
    "real": [sys.executable],
    "simulated": [sys.executable, "-m", "thornback.cli", "simulate", "--nodes", "5", "--seed", "3"],
}


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> list[str]:
    """The command that runs a program in a world."""
    return WORLDS[request.param]


def run(command: list[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        [*command, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def report(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The result in the last line of output."""
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("program", [INDEX, SERVER], ids=lambda path: path.stem)
def test_imports_nothing_but_thornback_and_numpy(program: Path) -> None:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(program.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(str(node.module).split(".")[0])
    assert modules - set(sys.stdlib_module_names) <= {"thornback", "numpy"}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A few files in nested directories, one of them empty and one without Python files."""
    for name, text in {
        "a.py": "import os\nalpha = beta",
        "b.py": "import os\ngamma",
        "deep/c.py": "alpha",
        "deep/er/d.py": "delta alpha",
        "notes/readme.txt": "alpha",
        "__pycache__/e.py": "epsilon",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_index_of_a_few_files(world: list[str], sources: Path) -> None:
    found = report(run(world, INDEX, sources))
    result = found["result"]
    # import alpha beta gamma delta ("os" is too short to count)
    assert (result["files"], result["words"], result["entries"]) == (4, 5, 8)
    assert result["in most files"][:2] == ["alpha", "import"]
    # 4 directories, 5 groups of files (each directory has one, if empty), 2 merges
    assert found["tasks"] == 11


def test_index_of_nothing(world: list[str], tmp_path: Path) -> None:
    result = report(run(world, INDEX, tmp_path))["result"]
    assert (result["files"], result["words"]) == (0, 0)


def test_index_of_a_missing_directory_fails(world: list[str], tmp_path: Path) -> None:
    done = run(world, INDEX, tmp_path / "missing")
    assert done.returncode != 0
    assert "FileNotFoundError" in done.stderr


@pytest.fixture
def patterns(tmp_path: Path) -> Path:
    """Small pictures that are easy to tell apart, in the format of the digits."""
    random = np.random.default_rng(1)
    digits = random.integers(10, size=300)
    images = random.integers(0, 4, size=(300, 64))
    images[np.arange(300), digits * 6] = 16
    path = tmp_path / "patterns.csv"
    np.savetxt(path, np.column_stack([images, digits]), delimiter=",", fmt="%d")
    return path


def test_parameter_server_learns(world: list[str], patterns: Path) -> None:
    result = report(run(world, SERVER, patterns, 0.9))["result"]
    assert result["accuracy"] >= 0.9


def test_index_survives_crashes(sources: Path, tmp_path: Path) -> None:
    # So few CPUs that every worker is busy when it dies.
    plan = tmp_path / "faults.json"
    crashes = [{"kind": "crash_worker", "node": 0, "at": at} for at in (0.5, 1.5)]
    plan.write_text(json.dumps({"faults": [*crashes, {"kind": "crash_node", "node": 1, "at": 1.0, "reboot_after": 1}]}))
    options = ["--nodes", "2", "--cpus", "1", "--json", "--faults", str(plan)]
    costs = ["--cost", "index_files=0.4", "--cost", "merge=0.4", "--cost", "index_directory=0.4"]
    done = run([sys.executable, "-m", "thornback.cli", "simulate", *options, *costs], INDEX, sources)
    assert report(done)["result"] == report(run(WORLDS["real"], INDEX, sources))["result"]
    stats = json.loads(done.stderr.splitlines()[-1])
    assert stats["faults"] == 3
    # What ran on the node is repeated once the node has missed its heartbeats.
    assert stats["virtual_seconds"] > 15


def test_parameter_server_survives_crashes(patterns: Path, tmp_path: Path) -> None:
    # One worker per actor and node: the server, and workers on both nodes, die.
    plan = tmp_path / "faults.json"
    crashes = [{"kind": "crash_worker", "node": 0, "worker": worker, "at": 0.6 + worker / 10} for worker in range(3)]
    plan.write_text(json.dumps({"faults": [*crashes, {"kind": "crash_node", "node": 1, "at": 1.0, "reboot_after": 1}]}))
    options = ["--nodes", "2", "--cpus", "1", "--json", "--faults", str(plan)]
    costs = ["--cost", "Worker.gradient=0.02"]
    done = run([sys.executable, "-m", "thornback.cli", "simulate", *options, *costs], SERVER, patterns, 0.97)
    assert report(done)["result"]["accuracy"] >= 0.97
    assert json.loads(done.stderr.splitlines()[-1])["faults"] == 4
