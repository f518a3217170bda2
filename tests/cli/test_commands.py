"""The command ``thornback``: output, exit codes, and the last line on stderr when something is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import thornback

COMMAND = [sys.executable, "-m", "thornback.cli"]


def run(*arguments: str, **options: str) -> subprocess.CompletedProcess[str]:
    """Run ``thornback`` with the arguments; ``options`` are environment variables."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env={**os.environ, **options},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def running(program: str, sessions: dict[str, str]) -> Iterator[str]:
    """A program with a session, which waits for the end of its stdin; yields the first line that it prints."""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, **sessions},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()
        assert process.wait(30) != -signal.SIGKILL


def last_line(text: str) -> str:
    """The last line that is not empty."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


def test_help_names_the_commands() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in ("demo", "drain", "memory", "simulate", "status", "version"):
        assert name in done.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom thornback.cli.app import run\nrun(['--help'])\n"
        "heavy = {'numpy', 'simpy', 'grpc', 'pyarrow', 'greenlet'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_a_command_the_help_is_shown() -> None:
    done = run()
    assert done.returncode == 2
    assert "Usage: thornback" in done.stdout + done.stderr


def test_an_unknown_command_is_refused_by_name() -> None:
    done = run("simulat")
    assert done.returncode == 2
    assert "simulat" in last_line(done.stderr)


def test_an_unknown_option_is_refused_by_name() -> None:
    done = run("status", "--jason")
    assert done.returncode == 2
    assert "--jason" in last_line(done.stderr)


def test_version() -> None:
    done = run("version")
    assert done.returncode == 0
    assert done.stdout.startswith(f"thornback {thornback.__version__} ")
    assert json.loads(run("version", "--json").stdout)["thornback"] == thornback.__version__


def test_status_without_a_session(own_sessions: dict[str, str]) -> None:
    done = run("status", **own_sessions)
    assert done.returncode == 1
    assert last_line(done.stderr).startswith("thornback: error: no running thornback session")
    assert "Traceback" not in done.stderr


PROGRAM = """
import time
import thornback

@thornback.remote
class Holder:
    def ping(self):
        pass

@thornback.remote
def work():
    pass

thornback.init(num_cpus=2, resources={"tape": 3})
holder = Holder.options(num_cpus=1, resources={"tape": 2}).remote()
thornback.get(holder.ping.remote())
waiting = [work.options(resources={"tape": 2}).remote() for _ in range(3)]
time.sleep(0.5)
print("up", flush=True)
input()
"""


def test_status_of_a_running_session(own_sessions: dict[str, str]) -> None:
    with running(PROGRAM, own_sessions) as printed:
        assert printed == "up"
        shown = run("status", COLUMNS="300", **own_sessions)
        as_json = run("status", "--json", **own_sessions)
    assert shown.returncode == 0, shown.stderr
    assert "tape=2/3" in shown.stdout and " 1/2 " in shown.stdout
    assert "1 of 2 CPUs are free" in shown.stdout
    [line] = [line for line in shown.stdout.splitlines() if line.startswith("resources ")]
    assert line.split()[1:3] == ["3", "1"], "three tasks of job 1 wait for the same reason"
    assert "waits until" in line and "held by actor Holder" in line
    found = json.loads(as_json.stdout)
    assert [node["alive"] for node in found["nodes"]] == [True]
    assert found["resources"]["CPU"] == 2
    assert found["available"]["tape"] == 1
    [wait] = found["waits"]
    assert (wait["name"], wait["count"], wait["reason"]) == ("work", 3, "resources")
