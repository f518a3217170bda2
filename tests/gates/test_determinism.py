"""A simulated run is the same each time: for equal (program, seed, plan), whatever the process and its hash seed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import thornback

WORKLOAD = Path(__file__).with_name("workload.py")
EXPECTED_TREE = sum(x * x for x in range(24))


def start(seed: int, hash_seed: str, trace: Path) -> subprocess.Popen[str]:
    """Begin a run in a new interpreter."""
    environment = dict(os.environ, PYTHONHASHSEED=hash_seed)
    command = [sys.executable, str(WORKLOAD), str(seed), str(trace)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def outcome(process: subprocess.Popen[str]) -> tuple[str, Any]:
    """Hash and results of a run."""
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, f"the workload failed:\n{err}"
    digest, results = json.loads(out.splitlines()[-1])
    return digest, results


@pytest.mark.parametrize("seed", [1, 2])
def test_equal_seeds_give_equal_traces_in_every_process(tmp_path: Path, seed: int) -> None:
    """On a workload with crashes of workers and a node, loss, and actors of all kinds."""
    from thornback.simulator.compare import first_difference

    traces = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    runs = [start(seed, hash_seed, trace) for hash_seed, trace in zip(("0", "4242"), traces, strict=True)]
    (first, results), (second, other_results) = (outcome(run) for run in runs)
    difference = first_difference(*traces)
    assert difference is None, f"seed {seed} does not replay in another process: {difference}"
    assert first == second, "the trace files are equal, but the hashes are not: the hash covers more than the file"
    assert results == other_results


def test_different_seeds_take_different_ways_to_equal_results(tmp_path: Path) -> None:
    found = [outcome(start(seed, "0", tmp_path / f"{seed}.jsonl")) for seed in (11, 12, 13)]
    hashes = {digest for digest, _ in found}
    assert len(hashes) == 3, "each seed gives an interleaving of its own"
    for _digest, results in found:
        assert results == found[0][1], "what a program computes does not depend on the interleaving"
        assert results[0] == EXPECTED_TREE


def test_two_simulations_in_one_process_are_the_same() -> None:
    """Nothing of a run is left behind that the next one could see."""
    sys.path.insert(0, str(WORKLOAD.parent))
    try:
        import workload

        first, second = workload.run(5), workload.run(5)
    finally:
        sys.path.remove(str(WORKLOAD.parent))
    assert first == second


STORMS = Path(__file__).with_name("storms.py")


def surroundings(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Of two processes: other hashes of strings, objects at other addresses, and the engine in another folder."""
    elsewhere = folder / "a folder with a much longer name than that of the engine"
    shutil.copytree(Path(thornback.__file__).parent, elsewhere / "thornback")
    return {"PYTHONHASHSEED": "0"}, {
        "PYTHONHASHSEED": "4242",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": os.pathsep.join([str(elsewhere), os.environ.get("PYTHONPATH", "")]),
    }


def in_storms(*arguments: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    """Run workloads in storms in a new interpreter."""
    command = [sys.executable, str(STORMS), *arguments]
    return subprocess.Popen(
        command, env={**os.environ, **environment}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finished(process: subprocess.Popen[str]) -> str:
    """The last line of its output."""
    out, err = process.communicate(timeout=110)
    assert process.returncode == 0, f"workloads failed in a storm:\n{err}"
    return out.splitlines()[-1] if out else ""


def check_storm(seed: str, tmp_path: Path) -> None:
    from thornback.faults.workloads import WORKLOADS
    from thornback.simulator.compare import first_difference

    environments = surroundings(tmp_path)
    running = [in_storms(seed, environment=environment) for environment in environments]
    first, second = (json.loads(finished(process)) for process in running)
    different = [name for name in first if first[name] != second[name]]
    for name in different:
        traces = [tmp_path / f"{name}.{index}" for index in range(2)]
        for trace, environment in zip(traces, environments, strict=True):
            finished(in_storms(seed, name, str(trace), environment=environment))
        raise AssertionError(f"{name}, seed {seed}, is another run in another process: {first_difference(*traces)}")
    assert set(first) == set(WORKLOADS), "every workload is compared"


def test_every_workload_has_equal_traces_in_all_processes_under_storm(tmp_path: Path) -> None:
    check_storm("7", tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(20, 32))
def test_every_workload_has_equal_traces_in_all_processes_under_other_storms(tmp_path: Path, seed: int) -> None:
    check_storm(str(seed), tmp_path)
