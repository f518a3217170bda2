"""``thornback simulate``: what comes through from the program, and the errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "thornback.cli", "simulate"]
PROGRAM = """
import sys
import thornback

@thornback.remote
def double(x):
    return 2 * x

print(sum(thornback.get([double.remote(x) for x in range(20)])), *sys.argv[1:])
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program with twenty tasks that prints its arguments."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run ``thornback simulate``."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """The last line on stderr."""
    return done.stderr.strip().splitlines()[-1]


def test_output_comes_through_and_the_last_line_is_about_the_simulation(program: Path) -> None:
    done = run(program)
    assert (done.returncode, done.stdout) == (0, "380\n")
    assert last_line(done).startswith("thornback: simulated ")
    assert "20 tasks" in last_line(done)


def test_json(program: Path) -> None:
    stats = json.loads(last_line(run("--json", program)))
    assert stats["tasks"] == 20
    assert {"trace_hash", "events", "virtual_seconds", "faults"} <= stats.keys()


def test_options_may_follow_the_program_and_its_own_come_after_two_dashes(program: Path) -> None:
    done = run(program, "one", "--seed", 5, "--json", "--", "--two", "--json")
    assert done.stdout == "380 one --two --json\n"
    assert json.loads(last_line(done)) == json.loads(last_line(run(program, "--seed", 5, "--json")))


def test_equal_seeds_give_equal_hashes_and_others_do_not(program: Path) -> None:
    first, again, other = (json.loads(last_line(run(program, "--json", "--seed", seed))) for seed in (1, 1, 2))
    assert first == again
    assert first["trace_hash"] != other["trace_hash"]


@pytest.mark.parametrize(("end", "code"), [("sys.exit(3)", 3), ("sys.exit()", 0), ("sys.exit('no')", 1), ("1 / 0", 1)])
def test_the_exit_code_is_the_programs(tmp_path: Path, end: str, code: int) -> None:
    path = tmp_path / "ends.py"
    path.write_text(f"import sys\n{end}\n")
    done = run(path)
    assert done.returncode == code
    assert last_line(done).startswith("thornback: simulated ")
    assert ("ZeroDivisionError" in done.stderr) == (end == "1 / 0")


def test_costs_take_virtual_time(program: Path) -> None:
    stats = json.loads(last_line(run(program, "--json", "--nodes", 1, "--cpus", 1, "--cost", "double=10")))
    assert 200 <= stats["virtual_seconds"] < 202


def test_machines_may_differ(tmp_path: Path) -> None:
    program = tmp_path / "machines.py"
    program.write_text("import thornback as ray; ray.init(); print(ray.cluster_resources())")
    options = ("--nodes", 3, "--cpus", 2, "--node", '{"gpus": 1, "resources": {"licence": 2}}', "--node", '{"cpus": 5}')
    for more in ((), ("--seeds", "0:2", "--faults", "none", "--failures", tmp_path / "failures")):
        done = run(program, *options, *more)
        assert done.returncode == 0, done.stderr
    shown = run(program, *options).stdout
    assert "'CPU': 9.0" in shown and "'GPU': 2.0" in shown and "'licence': 4.0" in shown


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        ("{", "Expecting property name"),
        ("3", "it must be a JSON object"),
        ('{"cpu": 1}', "unknown key 'cpu'; a node has cpus, gpus, "),
        ('{"cpus": -1}', "Expected `float` >= 0.0 - at `$.cpus`"),
        ('{"labels": {"zone": 1}}', "Expected `str`, got `int` - at `$.labels[...]`"),
    ],
)
def test_a_machine_that_cannot_be(program: Path, node: str, problem: str) -> None:
    done = run(program, "--node", node)
    assert done.returncode == 2
    assert last_line(done).startswith(f"thornback: error: --node {node}: {problem}")


@pytest.mark.parametrize("cost", ["double", "double=", "=1", "double=-1", "double=nan", "double=soon"])
def test_a_bad_cost(program: Path, cost: str) -> None:
    done = run(program, "--cost", cost)
    assert done.returncode == 2
    assert last_line(done).startswith(f"thornback: error: --cost {cost}: must be NAME=SECONDS")


def test_a_missing_program(tmp_path: Path) -> None:
    done = run(tmp_path / "missing.py")
    assert done.returncode == 2
    assert last_line(done) == f"thornback: error: there is no program {tmp_path / 'missing.py'}"


def test_a_bad_option_of_the_command(program: Path) -> None:
    done = run(program, "--node", 3)
    assert done.returncode == 2
    assert "--node" in last_line(done)


@pytest.mark.parametrize(
    ("plan", "where"),
    [
        ('{"faults": [\n  {"kind": "loss", "rate": 2}]}', ":2: faults[0].rate: "),
        ('{"faults": [\n', ":2: this is not JSON"),
        ('{"faults": [{"kind": "crash_node", "node": 99, "at": 1}]}', "there is no node 99 in a cluster of 4 nodes"),
    ],
)
def test_a_bad_plan(program: Path, tmp_path: Path, plan: str, where: str) -> None:
    path = tmp_path / "faults.json"
    path.write_text(plan)
    done = run(program, "--faults", path)
    assert done.returncode == 2
    assert where in last_line(done)
    assert "Traceback" not in done.stderr


WAITING = """
import time
import thornback

@thornback.remote(num_cpus=4)
def hold():
    time.sleep(10)

refs = [hold.remote() for _ in range(5)]
thornback.get(refs)
"""


def test_the_status_at_a_point_of_virtual_time(tmp_path: Path) -> None:
    path = tmp_path / "waiting.py"
    path.write_text(WAITING)
    done = run(path, "--nodes", 1, "--status-at", 5, "--json")
    assert done.returncode == 0, done.stderr
    found, stats = (json.loads(line) for line in done.stderr.strip().splitlines()[-2:])
    assert found["available"].get("CPU", 0) == 0 and stats["tasks"] == 5
    [wait] = found["waits"]
    assert wait["count"] == 4 and "held by hold {CPU: 4} of job 1" in wait["sentence"]
    text = run(path, "--nodes", 1, "--status-at", 5)
    assert "0 of 4 CPUs are free" in text.stderr and "waits for" in text.stderr


def test_the_status_does_not_change_what_the_program_does(program: Path) -> None:
    shown = run(program, "--status-at", 0.01, "--cost", "double=1")
    assert (shown.returncode, shown.stdout) == (0, "380\n")
    assert "CPUs are free" in shown.stderr


def test_a_program_that_ends_before_its_status(program: Path) -> None:
    done = run(program, "--status-at", 1000)
    assert "the program ended before 1000 s, the time of the status" in done.stderr


def test_interruption(tmp_path: Path) -> None:
    path = tmp_path / "endless.py"
    path.write_text("import time\nprint('up', flush=True)\nwhile True:\n    time.sleep(1)\n")
    with subprocess.Popen(
        [*COMMAND, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read()
        assert process.wait(30) == 130
    assert errors.strip().splitlines()[-1] == "thornback: error: interrupted"
