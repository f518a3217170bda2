"""``thornback demo``: all of it once, and what it says when something is wrong."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from thornback.cli.output import CommandError
from thornback.demo import runner
from thornback.demo.jobs import Outcome, Program

DEMO = [sys.executable, "-m", "thornback.cli", "demo"]


def test_everything_is_right_within_a_minute() -> None:
    done = subprocess.run([*DEMO, "--json"], capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ok"]
    assert found["seconds"] < 60
    index, server = found["programs"]
    assert index["real"]["result"] == index["simulated"]["result"]
    assert index["real"]["result"]["files"] > 500
    assert min(server[world]["result"]["accuracy"] for world in ("real", "simulated")) >= 0.9
    for program in found["programs"]:
        assert program["simulation"]["faults"] >= 3
        assert len(program["simulation"]["trace_hash"]) == 32


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """A program that says which world it runs in, if its first argument is ``tell``."""
    file = tmp_path / "program.py"
    file.write_text(
        "import json, sys\n"
        "import thornback\n"
        "@thornback.remote\n"
        "def one():\n"
        "    return 1\n"
        "thornback.init()\n"
        "value = thornback.get(one.remote())\n"
        "if sys.argv[1:] == ['tell']:\n"
        "    import time\n"
        "    value = time.time() > 1e9 and 'thornback.simulator.world' in sys.modules\n"
        "if sys.argv[1:] == ['fail']:\n"
        "    sys.exit(3)\n"
        "print(json.dumps({'result': {'value': value}, 'tasks': 1, 'seconds': 1.0}))\n"
    )
    faults = tmp_path / "faults.json"
    faults.write_text('{"faults": [{"kind": "slow_node", "node": 1, "factor": 2, "at": 0.0}]}')
    return Program("small", file, (), faults, {"one": 2.0}, runner.identical)


def test_a_table_at_the_end(program: Program, capfd: pytest.CaptureFixture[str]) -> None:
    assert runner.run_demo(programs=[program]) == 0
    shown = capfd.readouterr().out
    for line in ("identical", "virtual time, simulated", "trace hash", "faults injected", "all right, in "):
        assert line in shown


def test_different_results_are_a_problem(program: Program, capfd: pytest.CaptureFixture[str]) -> None:
    told = Program("small", program.file, ("tell",), program.faults, {}, runner.identical)
    assert runner.run_demo(programs=[told]) == 1
    shown = capfd.readouterr()
    assert "1 problem, in " in shown.out
    assert "small: different: {'value': False} and {'value': True}" in shown.err


def test_a_program_that_fails_is_a_problem(program: Program, capfd: pytest.CaptureFixture[str]) -> None:
    failing = Program("small", program.file, ("fail",), program.faults, {}, runner.identical)
    assert runner.run_demo(programs=[failing]) == 1
    shown = capfd.readouterr()
    assert "small, this machine: exit code 3" in shown.err
    assert "small, simulated: exit code 3" in shown.err


def test_faults_that_did_not_happen_are_a_problem(program: Program) -> None:
    ended = Outcome(0, 1.0, {"result": 1}, {"trace_hash": "x", "faults": 0})
    row = runner.judge(program, ended, ended)
    assert row.problems == ["small: 0 of 1 planned faults were injected"]


def test_accuracy_must_be_reached_in_both_worlds() -> None:
    assert runner.both_accurate({"accuracy": 0.93}, {"accuracy": 0.95}) == (True, "both at least 90%: 93.0% and 95.0%")
    assert not runner.both_accurate({"accuracy": 0.93}, {"accuracy": 0.85})[0]


def test_without_the_extra_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CommandError, match=r"pip install 'thornback\[demo\]'"):
        runner.demo_programs()


def test_interruption_leaves_no_session() -> None:
    # In a directory with a short path, as the paths of sockets must be.
    with tempfile.TemporaryDirectory(prefix="tb-", dir="/tmp") as run_directory:
        environment = {**os.environ, "XDG_RUNTIME_DIR": run_directory}
        sessions = Path(run_directory, "thornback")
        with subprocess.Popen(
            [*DEMO], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
        ) as process:
            while not list(sessions.glob("session-*/w*")):
                assert process.poll() is None
            os.killpg(process.pid, signal.SIGINT)
            _, errors = process.communicate(timeout=40)
        assert process.returncode == 130
        assert errors.strip().splitlines()[-1] == "thornback: error: interrupted"
        deadline = time.monotonic() + 20
        while list(sessions.glob("session-*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not list(sessions.glob("session-*"))
