"""What all tests share: the markers."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cluster(cpus, nodes, init, lossy): what a test of tests/worlds/ needs")
    config.addinivalue_line(
        "markers", "only(world): a behaviour that can be seen in one of the worlds; its test says why"
    )
