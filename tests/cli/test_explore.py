"""``simulate --seeds``, ``replay``, ``shrink`` and ``trace`` as commands: output, files and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.test_failure_files import COUNTER
from thornback.cli import explore
from thornback.faults.explore import Job, unfinished
from thornback.faults.plan import Plan
from thornback.faults.run import Setup

COMMAND = [sys.executable, "-m", "thornback.cli"]
PLAN = '{"faults": [{"kind": "crash_worker", "node": 0, "at": 1.2}, {"kind": "slow_node", "node": 1, "factor": 2}]}'


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a program that forgets when its worker is killed, and a plan that kills it."""
    (tmp_path / "counter.py").write_text(COUNTER)
    (tmp_path / "plan.json").write_text(PLAN)
    (tmp_path / "wrong.py").write_text("def f(:\n")
    return tmp_path


def explored(folder: Path, *arguments: object) -> tuple[int, dict[str, Any]]:
    """Exit code and report of an exploration."""
    done = run(folder, "simulate", "counter.py", "--nodes", 3, "--json", *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_failure_goes_through_all_commands(folder: Path) -> None:
    code, found = explored(folder, "--seeds", "0:4", "--faults", "plan.json")
    assert (code, found["runs"], found["failed"]) == (4, 4, 4)
    [group] = found["groups"]
    assert group["invariant"] == "the program"
    assert group["where"].startswith("AssertionError at counter.py:")
    file = group["file"]

    replayed = run(folder, "replay", file)
    assert replayed.returncode == 0, replayed.stderr
    assert "the same run again, bit for bit" in replayed.stdout
    assert "the counter has forgotten" in replayed.stdout

    shrunk = run(folder, "shrink", file, "--out", "small.json")
    assert shrunk.returncode == 0, shrunk.stderr
    assert "1 of 2 faults are left after" in shrunk.stdout
    assert "crash_worker" in shrunk.stdout and "slow_node" not in shrunk.stdout

    traced = run(folder, "trace", "small.json", "--json")
    assert traced.returncode == 0, traced.stderr
    files = json.loads(traced.stdout)
    assert json.loads((folder / files["trace"]).read_text())["traceEvents"]
    assert (folder / files["page"]).read_text().startswith("<!doctype html>")


def test_all_is_well_without_faults_and_two_jobs(folder: Path) -> None:
    code, found = explored(folder, "--seeds", "0:6", "--faults", "none", "--jobs", 2)
    assert (code, found["runs"], found["failed"], found["groups"]) == (0, 6, 0, [])


def test_a_report_for_people_has_seed_plan_and_coverage(folder: Path) -> None:
    done = run(folder, "simulate", "counter.py", "--nodes", 3, "--seeds", 7, "--faults", "plan.json", "--coverage")
    assert done.returncode == 4
    assert "1 runs of counter.py on 3 nodes: 0 right, 1 failed" in done.stdout
    assert "seed 7 of counter.py breaks" in done.stdout
    assert '{"kind":"crash_worker","at":1.2,"node":0}' in done.stdout
    assert "messages that met no fault:" in done.stdout


def test_a_broken_invariant_and_a_run_without_end_have_exit_codes_of_their_own(folder: Path) -> None:
    (folder / "strict.py").write_text(
        "import thornback as ray\n"
        "from thornback.faults import invariant\n"
        "@invariant('nothing ever starts', on='task.started')\n"
        "def nothing(event):\n"
        "    return False\n"
        "ray.get(ray.remote(abs).remote(-1))\n"
    )
    done = run(folder, "simulate", "strict.py", "--seeds", "0:1", "--faults", "none")
    assert done.returncode == 3
    assert "1 x nothing ever starts" in done.stdout
    assert "starts in" in done.stdout, "the story of the task is told"
    (folder / "endless.py").write_text("while True:\n    pass\n")
    done = run(folder, "simulate", "endless.py", "--seeds", "0:2", "--run-limit", 2)
    assert done.returncode == 5, done.stdout
    assert "endless.py fails without faults too: the run: it takes too long" in done.stdout
    assert "the run was given up after" in done.stdout


def test_a_run_without_end_is_saved_and_replayed_and_shrunk_in_a_process_of_its_own(folder: Path) -> None:
    check = 'assert ray.get(counter.add.remote()) == expected, "the counter has forgotten"'
    stuck = COUNTER.replace(check, "value = ray.get(counter.add.remote())\n    while value != expected:\n        pass")
    (folder / "stuck.py").write_text(stuck)
    arguments = ("--nodes", 3, "--seeds", 1, "--faults", "plan.json", "--run-limit", 2)
    done = run(folder, "simulate", "stuck.py", *arguments, "--json")
    assert done.returncode == 5, done.stdout + done.stderr
    (group,) = json.loads(done.stdout)["groups"]
    file = group["file"]
    assert (group["invariant"], group["where"]) == ("the run", "it takes too long")
    replayed = run(folder, "replay", file)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert "the run was given up after" in replayed.stdout
    shrunk = run(folder, "shrink", file, "--out", "small.json", "--max-runs", 3)
    assert shrunk.returncode == 0, shrunk.stdout + shrunk.stderr
    assert [fault["kind"] for fault in json.loads((folder / "small.json").read_text())["plan"]["faults"]] == [
        "crash_worker"
    ]
    traced = run(folder, "trace", file)
    assert traced.returncode == 2 and "came to no end" in traced.stderr
    (folder / "small.json").write_text((folder / "small.json").read_text().replace("while value", "if value"))
    ended = run(folder, "replay", "small.json")
    assert ended.returncode == 6 and "this time it came to its end" in ended.stdout


def test_a_program_that_exits_is_shown_with_the_place_and_what_it_has_printed(folder: Path) -> None:
    (folder / "picky.py").write_text("import argparse\nparser = argparse.ArgumentParser()\nparser.parse_args()\n")
    done = run(folder, "simulate", "picky.py", "--seeds", "0:1", "--faults", "none", "--", "--size", "3")
    assert done.returncode == 4
    assert "ProgramFailed at picky.py:3" in done.stdout
    assert "error: unrecognized arguments: --size 3" in done.stdout


def test_a_report_comes_even_if_failures_cannot_be_saved(folder: Path) -> None:
    arguments = ("--nodes", 3, "--seeds", 7, "--faults", "plan.json", "--failures", "/proc/failures")
    done = run(folder, "simulate", "counter.py", *arguments)
    assert done.returncode == 4
    assert "1 x the program: AssertionError" in done.stdout
    assert "cannot save failures in /proc/failures" in done.stderr


def test_a_single_run_meets_the_same_storm_as_in_exploring(folder: Path) -> None:
    done = run(folder, "simulate", "workload:map_reduce", "--nodes", 3, "--seed", 4, "--faults", "storm", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr.splitlines()[-1])["trace_hash"]


def test_ctrl_c_while_processes_start_leaves_no_traceback(folder: Path) -> None:
    for delay in (0.03, 0.08, 0.13, 0.18):
        with subprocess.Popen(
            [*COMMAND, "simulate", "counter.py", "--seeds", "0:1000", "--faults", "none", "--jobs", "2"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            while not psutil.Process(process.pid).children():
                time.sleep(0.01)
            time.sleep(delay)
            os.killpg(process.pid, signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        assert process.returncode == 130, errors
        assert "Traceback" not in errors


def test_interruption_reports_what_was_found_and_leaves_no_process(folder: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "simulate", "counter.py", "--seeds", "0:100000", "--faults", "none", "--jobs", "2", "--json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        while len(psutil.Process(process.pid).children()) < 2:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert json.loads(out)["interrupted"] is True
    assert "Traceback" not in errors


def test_runs_end_when_the_command_is_killed(folder: Path) -> None:
    (folder / "endless.py").write_text("open('begun', 'w')\nwhile True:\n    pass\n")
    with subprocess.Popen([*COMMAND, "simulate", "endless.py", "--seeds", "0:2"], cwd=folder) as process:
        while not (folder / "begun").exists():
            time.sleep(0.05)
        children = psutil.Process(process.pid).children()
        process.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert children and not alive


def test_progress_is_told_in_lines_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(explore, "TELL_EVERY", 0)
    with explore._progress(2) as each:
        each(unfinished(Job("p.py", "", (), 1, Plan(), Setup()), "it takes too long", "", 1.0))
    assert capsys.readouterr().err == "1 of 2 runs, 1 failed\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("simulate", "counter.py", "--seeds", "5:5"), 2, "--seeds 5:5: must be FIRST:END with END > FIRST"),
        (("simulate", "counter.py", "--seeds", "0:1", "--faults", "gale"), 2, "--faults gale: must be storm, none"),
        (("simulate", "nothing.py", "--seeds", "0:1"), 2, "there is no program nothing.py; a program is a file, or"),
        (("simulate", "workload:none", "--seeds", "0:1"), 2, "there is no workload:none; a program is a file, or"),
        (("simulate", "counter.py", "--seeds", "0:1", "--trace", "t"), 2, "--trace is for a single run"),
        (("simulate", "wrong.py", "--seeds", "0:1"), 2, "wrong.py:1: "),
        (("simulate", "counter.py", "--seeds", "0:1", "--failures", "plan.json"), 2, "cannot write to plan.json"),
        (("replay", "plan.json"), 2, "plan.json: this is not a saved failure"),
        (("shrink", "missing.json"), 2, "missing.json: cannot read it"),
        (("trace", "plan.json"), 2, "plan.json: this is not a saved failure"),
    ],
)
def test_bad_input(folder: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    done = run(folder, *arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_another_version_has_an_exit_code_of_its_own(folder: Path) -> None:
    _, found = explored(folder, "--seeds", "1", "--faults", "plan.json")
    file = folder / found["groups"][0]["file"]
    file.write_text(file.read_text().replace('"thornback": "', '"thornback": "9.'))
    refused = run(folder, "replay", file)
    assert refused.returncode == 7
    assert "--any-version runs it all the same" in refused.stderr
    assert run(folder, "replay", file, "--any-version").returncode == 0
