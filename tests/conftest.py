"""What all tests share: the markers, and sessions of their own."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what runs in the background deaf to Ctrl-C, and programs that tests start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "cluster(cpus, nodes, init, lossy): what a test of tests/worlds/ needs")
    config.addinivalue_line(
        "markers", "only(world): a behaviour that can be seen in one of the worlds; its test says why"
    )


@pytest.fixture
def own_sessions() -> Iterator[dict[str, str]]:
    """Environment in which no session of anybody else is found. Its path is short, as the paths of sockets must be."""
    with tempfile.TemporaryDirectory(prefix="tb-", dir="/tmp") as directory:
        yield {"XDG_RUNTIME_DIR": directory}
