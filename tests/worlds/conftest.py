"""The fixture ``world``: every test of this folder runs on real worker processes and in the simulator.

A test body uses the public API alone. What it sends to workers it defines itself, as people do in notebooks: functions
and classes inside functions travel by value. The real cluster is shared by the tests of a module that ask for the same
one; the simulated one is new for each test.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

import thornback as ray

LIMIT = 30.0
"""Seconds after which what a test waits for will not come any more."""
HERE = Path(__file__).parent
FAILED = pytest.StashKey[bool]()
"""Set on a test whose body has failed, before its fixtures end."""


class World:
    """One of the worlds, with a running cluster that the test is connected to."""

    def __init__(self, name: str, simulation: Any = None) -> None:
        self.name = name
        self.simulation = simulation
        """What ``simulate`` gave, for tests that do things to the simulated cluster."""

    @property
    def is_real(self) -> bool:
        """Whether there are processes."""
        return self.name == "real"

    @property
    def is_simulated(self) -> bool:
        """Whether time is virtual."""
        return self.name == "simulated"

    def eventually(self, condition: Callable[[], Any], expected: str) -> Any:
        """Wait until ``condition()`` is true, and return its value.

        Raises:
            AssertionError: it was not after many seconds; says what was expected.
        """
        end = time.monotonic() + LIMIT
        while True:
            found = condition()
            if found:
                return found
            if time.monotonic() > end:
                raise AssertionError(f"{expected}; after {LIMIT:g} s the condition is {found!r}")
            time.sleep(0.02)

    def counter(self) -> Any:
        """An actor that counts, and so remembers what tasks did before they died."""

        class Counter:
            def __init__(self) -> None:
                self.value = 0
                self.seen: list[Any] = []

            def add(self, what: Any = None) -> int:
                self.value += 1
                self.seen.append(what)
                return self.value

            def get(self) -> int:
                return self.value

            def log(self) -> list[Any]:
                return self.seen

        return ray.remote(Counter).options(num_cpus=0).remote()

    def signal(self) -> Any:
        """An actor on which tasks wait until the test says ``send``."""

        class Signal:
            def __init__(self) -> None:
                self.event = asyncio.Event()
                self.waiting = 0

            async def wait(self) -> None:
                self.waiting += 1
                try:
                    await self.event.wait()
                finally:
                    self.waiting -= 1

            async def send(self) -> None:
                self.event.set()

            async def count(self) -> int:
                return self.waiting

        return ray.remote(Signal).options(num_cpus=0).remote()


class RealCluster:
    """The cluster of processes, shared as long as nobody needs another one."""

    def __init__(self) -> None:
        self.options: tuple[str, dict[str, Any]] | None = None

    def provide(self, module: str, options: dict[str, Any]) -> None:
        if self.options != (module, options) or not ray.is_initialized():
            self.end()
            ray.init(log_to_driver=False, **options)
            self.options = (module, options)

    def end(self) -> None:
        self.options = None
        ray.shutdown()


@pytest.fixture(scope="session")
def real_cluster() -> Iterator[RealCluster]:
    cluster = RealCluster()
    yield cluster
    cluster.end()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "world" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("only")
        names = ["real", "simulated"] if only is None else [only.args[0]]
        metafunc.parametrize("world", names, indirect=True, scope="function")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring tests together that share a real cluster, and keep any test from hanging for long."""
    for item in items:
        if (
            HERE in item.path.parents
            and item.get_closest_marker("timeout") is None
            and not item.config.getoption("timeout")
        ):
            item.add_marker(pytest.mark.timeout(30))
    items.sort(key=_cluster_of)


def _cluster_of(item: pytest.Item) -> tuple[str, str, str]:
    if HERE not in item.path.parents:
        return "", "", ""
    marker = item.get_closest_marker("cluster")
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return (
        str(item.path),
        str(parameters.get("world", "")),
        "" if marker is None else repr(sorted(marker.kwargs.items())),
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture
def world(request: pytest.FixtureRequest, real_cluster: RealCluster) -> Iterator[World]:
    """The world under test; ``@pytest.mark.cluster(...)`` says which cluster it must be."""
    marker = request.node.get_closest_marker("cluster")
    wanted = dict(marker.kwargs) if marker is not None else {}
    cpus, nodes, init = wanted.pop("cpus", 4), wanted.pop("nodes", 1), wanted.pop("init", {})
    lossy = wanted.pop("lossy", False)
    assert not wanted, f"cluster() takes cpus, nodes, init and lossy, not {sorted(wanted)}"
    if request.param == "real":
        assert nodes == 1, "real clusters of several nodes have tests of their own"
        real_cluster.provide(request.node.module.__name__, {"num_cpus": cpus, **init})
        yield World("real")
        gc.collect()
        if request.node.stash.get(FAILED, False):
            real_cluster.end()
    else:
        real_cluster.end()
        with ray.simulate(cpus=cpus, seed=wanted_seed(request), lossy=lossy, **_simulated(nodes, init)) as simulation:
            ray.init()
            yield World("simulated", simulation)
            gc.collect()
            ray.shutdown()


def wanted_seed(request: pytest.FixtureRequest) -> int:
    """Differs from test to test, so that each meets other interleavings; the same in each run."""
    return sum(map(ord, request.node.originalname)) % 1000


def _simulated(nodes: int, init: dict[str, Any]) -> dict[str, Any]:
    """What ``simulate`` takes for what ``init`` takes."""
    names = {
        "num_gpus": "gpus",
        "resources": "resources",
        "labels": "labels",
        "object_store_memory": "object_store_memory",
    }
    node = {names[name]: value for name, value in init.items() if name in names}
    config = init.get("_system_config", {})
    return {"nodes": [node] * nodes, "config": config}
