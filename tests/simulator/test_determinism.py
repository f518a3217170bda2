"""The gate: equal (program, seed, plan) gives an equal trace, in any process and with any hash seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from thornback.simulator.compare import first_difference

PROGRAM = """
import asyncio, os, random, sys, time, uuid
import numpy as np
import thornback as ray

ray.init()

@ray.remote(max_retries=-1)
def work(x):
    time.sleep(random.random())
    return {x, str(x), uuid.uuid4()}

@ray.remote(max_restarts=-1, max_task_retries=-1)
class Adder:
    def __init__(self):
        self.names = set()
        self.big = ray.put(np.random.rand(100_000))

    async def add(self, names):
        self.names |= {str(name) for name in names}
        await asyncio.sleep(0.01)
        return len(self.names)

@ray.remote
def items(count):
    for index in range(count):
        yield np.full(30_000, index)

adders = [Adder.remote() for _ in range(3)]
names = {f"name {x}" for x in range(20)}
calls = [adders[x % 3].add.remote(work.remote(x)) for x in range(40)]
total = sum(int(ray.get(ref)[0]) for ref in items.options(num_returns="streaming").remote(5))
ready, rest = ray.wait(calls, num_returns=20)
print(total, len(ready), sorted(ray.get(calls)), len(names), time.time(), random.random())
print("done", os.getpid(), file=sys.stderr)
sys.exit(3)
"""
PLAN = {
    "faults": [
        {"kind": "crash_worker", "node": 1, "worker": 0, "moment": "after_reply"},
        {"kind": "crash_node", "node": 2, "at": 1.0, "reboot_after": 0.5},
        {"kind": "loss", "rate": 0.05, "until": 3},
        {"kind": "cut", "a": [3], "b": [0, 1], "at": 0.5, "until": 1.5},
    ]
}


def run(folder: Path, name: str, hash_seed: int, *options: str) -> subprocess.CompletedProcess[str]:
    program, plan = folder / "program.py", folder / "plan.json"
    program.write_text(PROGRAM)
    plan.write_text(json.dumps(PLAN))
    command = [sys.executable, "-m", "thornback.cli", "simulate", "--nodes", "4", "--cpus", "2", "--json"]
    return subprocess.run(
        [*command, "--trace", str(folder / name), *options, str(program)],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.mark.parametrize("faults", [False, True])
def test_equal_runs_have_equal_traces(tmp_path: Path, faults: bool) -> None:
    options = ["--seed", "5", *(["--faults", str(tmp_path / "plan.json")] if faults else [])]
    first, second = run(tmp_path, "first", 1, *options), run(tmp_path, "second", 2, *options)
    difference = first_difference(tmp_path / "first", tmp_path / "second")
    assert difference is None, str(difference)
    assert first.stdout == second.stdout
    assert first.stderr == second.stderr
    assert (first.returncode, second.returncode) == (3, 3), first.stderr
    stats = json.loads(first.stderr.splitlines()[-1])
    assert stats["faults"] >= 4 if faults else stats["faults"] == 0


def test_other_seeds_give_other_traces(tmp_path: Path) -> None:
    run(tmp_path, "first", 1, "--seed", "5")
    run(tmp_path, "second", 1, "--seed", "6")
    difference = first_difference(tmp_path / "first", tmp_path / "second")
    assert difference is not None
    text = str(difference)
    assert f"differ from line {difference.line} on" in text
    assert "  - {" in text and "  + {" in text
    assert len(difference.before) == min(difference.line - 1, 5)


def test_every_message_names_the_event_that_caused_it(tmp_path: Path) -> None:
    run(tmp_path, "trace", 1)
    lines = [json.loads(line) for line in (tmp_path / "trace").read_text().splitlines()]
    messages = [line for line in lines if line["kind"] == "message"]
    assert len(messages) > 100
    assert all(line["cause"] > 0 for line in messages)
    assert {"time", "event", "cause", "type", "sender", "to", "subject"} <= set(messages[0])
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)


def test_a_trace_that_ends_early_differs(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("a\nb\n")
    two.write_text("a\n")
    difference = first_difference(one, two)
    assert difference is not None
    assert (difference.line, difference.first, difference.second) == (2, "b", None)
    assert "the second trace ends here" in str(difference)
    assert first_difference(one, one) is None
