"""What all tests share: the markers, sessions of their own, and which of them must run one by one."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REAL = ("benchmarks", "cli", "demo", "docs", "gates", "transports", "faults/test_real.py", "faults/test_explore.py")
"""Tests here start programs, or look at the clock or at the processes of this machine."""


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what runs in the background deaf to Ctrl-C, and programs that tests start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "cluster(cpus, nodes, init, lossy): what a test of tests/worlds/ needs")
    config.addinivalue_line("markers", "real: starts processes or looks at the clock; runs alone")
    config.addinivalue_line(
        "markers", "only(world): a behaviour that can be seen in one of the worlds; its test says why"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of real processes run one by one, and those of simulations side by side (``-n``): mark the former."""
    for item in items:
        if _is_real(item):
            item.add_marker(pytest.mark.real)


def _is_real(item: pytest.Item) -> bool:
    where = item.path.relative_to(HERE).as_posix()
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return where.startswith(REAL) or parameters.get("world") == "real"


@pytest.fixture
def own_sessions() -> Iterator[dict[str, str]]:
    """Environment in which no session of anybody else is found. Its path is short, as the paths of sockets must be."""
    with tempfile.TemporaryDirectory(prefix="tb-", dir="/tmp") as directory:
        yield {"XDG_RUNTIME_DIR": directory}
