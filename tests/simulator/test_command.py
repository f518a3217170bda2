"""``thornback simulate``: a program's output, arguments and exit code come through; errors are one clear line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def simulate(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "thornback.cli", "simulate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Prints its arguments and the cluster's CPUs, and ends as its first argument says."""
    (tmp_path / "helper.py").write_text("import time\nfrom time import sleep\nANSWER = 42\n")
    file = tmp_path / "program.py"
    file.write_text(
        "import sys\nimport helper\nimport thornback as ray\n"
        "if __name__ == '__main__':\n"
        "    ray.init()\n    helper.sleep(3600)\n"
        "    print(sys.argv[1:], helper.ANSWER, int(ray.cluster_resources()['CPU']))\n"
        "    if sys.argv[1] == 'fail':\n        raise KeyError('broken')\n"
        "    if sys.argv[1] == 'text':\n        sys.exit('a reason')\n"
        "    sys.exit(int(sys.argv[1]))\n"
    )
    return file


@pytest.mark.parametrize(("how", "code"), [("0", 0), ("7", 7), ("fail", 1), ("text", 1)])
def test_output_arguments_and_exit_code_come_through(program: Path, how: str, code: int) -> None:
    done = simulate("--nodes", 3, "--cpus", 2, program, how, "more")
    assert done.stdout == f"['{how}', 'more'] 42 6\n"
    assert done.returncode == code, done.stderr
    assert ("KeyError: 'broken'" in done.stderr) == (how == "fail")
    assert ("a reason" in done.stderr) == (how == "text")
    assert "simulated 3600." in done.stderr.splitlines()[-1]


def test_the_last_line_can_be_json(program: Path) -> None:
    stats = json.loads(simulate("--json", program, "0").stderr.splitlines()[-1])
    assert set(stats) == {"trace_hash", "events", "virtual_seconds", "tasks", "messages", "faults"}
    assert stats["virtual_seconds"] > 3600


def test_mistakes_are_one_clear_line(program: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text('{"faults": [\n{"kind": "loss", "rate": 3}]}')
    for arguments, text in (
        ([tmp_path / "missing.py"], "no program"),
        (["--faults", plan, program, "0"], "plan.json:2: faults[0].rate"),
        (["--faults", tmp_path / "none.json", program, "0"], "cannot read the plan"),
        (["--trace", tmp_path / "no" / "file", program, "0"], "cannot write the trace"),
    ):
        done = simulate(*arguments)
        assert done.returncode == 2, "nothing was run"
        assert text in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


def test_a_program_that_hangs_is_told(tmp_path: Path) -> None:
    file = tmp_path / "hangs.py"
    file.write_text("import thornback as ray\nray.init()\nray.get(ray.remote(resources={'x': 1})(print).remote())\n")
    done = simulate(file)
    assert done.returncode == 1
    assert "DeadlockError: the simulated program is stuck at" in done.stderr
