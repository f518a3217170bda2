"""Nothing is left behind, whatever is killed: no process, no session directory; and who waits is told."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MARK = "THORNBACK_TEST_MARK"
LIMIT = 20.0

PROGRAM = """
import os, subprocess, sys, time
import thornback as ray
ray.init(num_cpus=2)

@ray.remote
def pid(): return os.getpid()

@ray.remote
def stay():
    subprocess.Popen(["sleep", "1000"])
    print("staying", flush=True)
    time.sleep(1000)

ray.get(pid.remote())
"""


class Program:
    """A driver in a process of its own, whose whole family can be found by a mark in its environment."""

    def __init__(self, directory: Path, text: str) -> None:
        self.mark = secrets.token_hex(8)
        environment = dict(os.environ, XDG_RUNTIME_DIR=str(directory))
        environment[MARK] = self.mark
        self.base = directory / "thornback"
        self.process = subprocess.Popen(
            [sys.executable, "-c", text],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.seen: list[str] = []

    def expect(self, pattern: str) -> None:
        """Read output until a line matches."""
        assert self.process.stdout is not None
        watchdog = threading.Timer(LIMIT, self.process.kill)
        watchdog.start()
        try:
            for line in self.process.stdout:
                self.seen.append(line)
                if re.search(pattern, line):
                    return
        finally:
            watchdog.cancel()
        raise AssertionError(f"no line matches {pattern!r}:\n{''.join(self.seen)}")

    def finish(self) -> tuple[int, str]:
        """Exit code and the rest of the output."""
        rest, _ = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, rest

    def family(self) -> dict[int, str]:
        """Pids of the program and of all that it has started, with their kind."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if f"{MARK}={self.mark}".encode() not in (entry / "environ").read_bytes():
                    continue
                found[int(entry.name)] = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue
        return found

    def node(self) -> int:
        """Pid of the node process: the driver's child."""
        return next(pid for pid, parent in self.family().items() if int(parent) == self.process.pid)

    def template(self) -> int:
        """Pid of the template: the node's child; 0 while it is being replaced."""
        node = self.node()
        return next((pid for pid, parent in self.family().items() if int(parent) == node), 0)

    def workers(self) -> list[int]:
        """Pids of the workers: the template's children."""
        template = self.template()
        return [pid for pid, parent in self.family().items() if int(parent) == template]

    def kill(self) -> None:
        """End the program and all that it has started, if it has not ended by itself."""
        if self.process.poll() is None:
            for pid in self.family():
                os.kill(pid, signal.SIGKILL)
            self.process.wait()

    def assert_nothing_is_left(self) -> None:
        """All processes have ended and the session directory is gone."""
        until(lambda: not self.family(), lambda: "left behind:\n" + "\n".join(map(_described, self.family())))
        until(lambda: not list(self.base.iterdir()), lambda: f"left behind: {list(self.base.rglob('*'))}")


def _described(pid: int) -> str:
    """What the kernel knows of a process."""
    wanted = ("cmdline", "stat", "wchan", "status")
    return f"{pid}: " + "; ".join(_read(Path(f"/proc/{pid}/{name}")) for name in wanted)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError as error:
        return str(error)


def until(condition: Callable[[], bool], complaint: Callable[[], str] = lambda: "the condition was not met") -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.01)


@pytest.fixture
def run() -> Iterator[Callable[[str], Program]]:
    programs: list[Program] = []
    directory = Path(tempfile.mkdtemp(prefix="tb-"))  # short, as the paths of sockets must be

    def start(text: str) -> Program:
        programs.append(Program(directory, PROGRAM + text))
        return programs[-1]

    yield start
    for program in programs:
        for pid in program.family():
            os.kill(pid, signal.SIGKILL)
        program.process.wait()
    shutil.rmtree(directory)


STAY = """
first, second = stay.remote(), stay.remote()
try:
    ray.get(first)
finally:
    print("over", flush=True)
"""


@pytest.mark.parametrize("ending", ["ray.shutdown()", "", "raise SystemExit(3)", "raise RuntimeError('mine')"])
def test_a_program_that_ends_takes_its_cluster_with_it(run: Callable[[str], Program], ending: str) -> None:
    """However the program ends, all is gone when its process is."""
    program = run(f"\nstay.remote()\n{ending}\n")
    code, _ = program.finish()
    assert code == {"raise SystemExit(3)": 3, "raise RuntimeError('mine')": 1}.get(ending, 0)
    program.assert_nothing_is_left()


def test_ctrl_c_ends_a_waiting_program(run: Callable[[str], Program]) -> None:
    """KeyboardInterrupt comes out of get(); the cluster ends with the program."""
    program = run(STAY)
    program.expect("staying")
    os.kill(program.process.pid, signal.SIGINT)
    _, rest = program.finish()
    assert "KeyboardInterrupt" in rest
    program.assert_nothing_is_left()


@pytest.mark.parametrize("victim", ["driver", "node"])
def test_killing_driver_or_node_ends_all(run: Callable[[str], Program], victim: str) -> None:
    """Also processes that tasks have started; a driver that waits for the dead node gets SessionEndedError."""
    program = run(STAY)
    program.expect("staying")
    os.kill(program.process.pid if victim == "driver" else program.node(), signal.SIGKILL)
    _, rest = program.finish()
    if victim == "node":
        assert "SessionEndedError" in rest
    program.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("NodeFenced", "the cluster has declared it dead"),
        ("NodeRemoved", "it has been drained, and has left the cluster"),
    ],
)
def test_a_node_whose_part_in_the_cluster_is_over_ends(
    run: Callable[[str], Program], message: str, reason: str
) -> None:
    """Its process exits cleanly with all that it has started, and the program is told why."""
    program = run(
        f"""
from thornback.api import current
from thornback.core.messages import {message}
runtime = current.require()
waiting = stay.remote()
with runtime.turn:
    runtime.core.ports.transport.send(runtime.core.node_id, {message}())
try:
    ray.get(waiting)
except Exception as error:
    print(type(error).__name__, error, flush=True)
print("exit code", runtime._node[0].wait(), flush=True)
"""
    )
    _, output = program.finish()
    assert f"SessionEndedError the node process of this session has ended ({reason}" in output
    assert "exit code 0" in output
    program.assert_nothing_is_left()


def test_a_task_that_was_running_when_the_template_died_runs_again(run: Callable[[str], Program]) -> None:
    """The workers die with their template; the owner retries on workers of its successor."""
    program = run(
        """
@ray.remote
def slow():
    print("running", flush=True)
    time.sleep(1000)
ray.get(slow.remote())
"""
    )
    program.expect("running")
    before = program.template()
    os.kill(before, signal.SIGKILL)
    until(lambda: program.template() not in (0, before))
    program.expect("running")
    os.kill(program.process.pid, signal.SIGINT)
    program.finish()
    program.assert_nothing_is_left()


def test_a_forked_child_cannot_use_its_parents_cluster(run: Callable[[str], Program]) -> None:
    """The child gets a clear error, the parent goes on undisturbed, and the child keeps nothing alive."""
    program = run(
        """
child = os.fork()
if child == 0:
    try:
        ray.get(pid.remote())
    except RuntimeError as error:
        print("child:", error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print("parent:", ray.get(pid.remote()) > 0, flush=True)
"""
    )
    code, output = program.finish()
    assert code == 0, output
    assert "child: this process was forked" in output and "parent: True" in output
    program.assert_nothing_is_left()
