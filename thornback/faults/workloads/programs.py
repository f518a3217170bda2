"""Other programs on the cluster of a workload, which may be killed: a process on this machine, or in a simulation."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Protocol

from thornback.faults.workloads.checks import CheckFailed
from thornback.simulator import active

_SIGKILL = -9


class Program(Protocol):
    """A program that was started.

    Attributes:
        killed: it did not come to its own end.
        error: what it has raised.
    """

    killed: bool
    error: Exception | None

    def kill(self) -> None:
        """Kill it, if it still runs."""

    def wait(self) -> None:
        """Wait until it has ended, in whatever way."""


def start(main: Callable[..., None], *arguments: Any, node: int = 0) -> Program:
    """Start a function of a workload as a program of its own; it connects with ``init(address=...)``.

    Args:
        arguments: what JSON can hold.
        node: where it runs in a simulation, as far as there are so many.
    """
    world = active()
    if world is None:
        return _Subprocess(main, arguments)
    return world.start_program(lambda: main(*arguments), node % len(world.nodes), f"{main.__name__} {arguments}")


class _Subprocess:
    def __init__(self, main: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        module = main.__globals__["__spec__"].name  # also where it runs as __main__
        command = [sys.executable, "-m", __name__, module, main.__name__, json.dumps(arguments)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.killed = False
        self.error: Exception | None = None

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> None:
        _, told = self._process.communicate()
        self.killed = self._process.returncode == _SIGKILL
        if self._process.returncode not in (0, _SIGKILL):
            self.error = CheckFailed(f"a program beside this one must not fail:\n{told}")


if __name__ == "__main__":
    getattr(importlib.import_module(sys.argv[1]), sys.argv[2])(*json.loads(sys.argv[3]))
