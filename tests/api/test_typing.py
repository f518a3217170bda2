"""What a type checker, and with it an editor, knows of remote functions and actors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")

PROGRAM = """
from collections.abc import Iterator
import thornback as ray
from thornback import ActorHandle, ObjectRef, ObjectRefGenerator

@ray.remote
def add(x: int, y: int = 1) -> int:
    return x + y

@ray.remote(num_cpus=2)
def name(x: int) -> str:
    return str(x)

@ray.remote(num_returns=2)
def pair() -> tuple[int, str]:
    return 1, ""

@ray.remote
def items(n: int) -> Iterator[float]:
    yield 1.0

class Counter:
    def __init__(self, start: int) -> None: ...

ref: ObjectRef[int] = add.remote(1, y=2)
total: int = ray.get(ref)
passed: ObjectRef[int] = add.remote(ref)
text: str = ray.get(name.remote(1))
texts: list[str] = ray.get([name.remote(1)])
first, second = pair.remote()
stream: ObjectRefGenerator[float] = items.remote(3)
number: float = ray.get(next(stream))
stored: ObjectRef[dict[str, int]] = ray.put({"a": 1})
ready, rest = ray.wait([stored], num_returns=1, timeout=1.0)
reveal_type(ready)
reveal_type(add.remote)
reveal_type(add.options(num_cpus=2).remote(1))
RemoteCounter = ray.remote(Counter)
counter: ActorHandle[Counter] = RemoteCounter.options(name="c").remote(3)
reveal_type(RemoteCounter)
ray.get(counter.anything.remote())

async def coroutine() -> int:
    return await add.remote(1)
"""

MISTAKES = """
import thornback as ray

@ray.remote
def add(x: int, y: int = 1) -> int:
    return x + y

wrong: str = ray.get(add.remote(1))
ray.get(3)
"""


def check(source: str, tmp_path: Path) -> str:
    program = tmp_path / "program.py"
    program.write_text(source)
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-error-summary"]
    command += ["--cache-dir", str(tmp_path / "cache"), str(program)]
    return subprocess.run(command, capture_output=True, text=True, cwd=root, check=False).stdout


def test_ordinary_programs_are_accepted_and_parameters_are_known(tmp_path: Path) -> None:
    output = check(PROGRAM, tmp_path)
    assert "error" not in output, output
    assert "(x: int, y: int =) -> thornback.api.object_ref.ObjectRef[int]" in output.replace("builtins.", "")
    assert "ActorClass[[start: int], program.Counter]" in output.replace("builtins.", "")


def test_mistakes_are_found(tmp_path: Path) -> None:
    output = check(MISTAKES, tmp_path)
    assert output.count("error") == 2, output
