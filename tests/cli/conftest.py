"""Sessions of the tests' own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture
def own_sessions() -> Iterator[dict[str, str]]:
    """Environment in which no session of anybody else is found. Its path is short, as the paths of sockets must be."""
    with tempfile.TemporaryDirectory(prefix="tb-", dir="/tmp") as directory:
        yield {"XDG_RUNTIME_DIR": directory}
