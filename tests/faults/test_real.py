"""Faults on a real node: workloads end rightly, as they do in the simulator with the same plan, and leave nothing."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import thornback as ray
from tests.transports.test_lifetime import Program
from thornback.faults.loader import PlanError
from thornback.faults.plan import (
    AnyFault,
    Bandwidth,
    CrashGcs,
    CrashNode,
    CrashWorker,
    Cut,
    Delay,
    FillStore,
    Loss,
    OutOfMemory,
    PauseRaylet,
    PauseWorker,
    Plan,
    SlowCommits,
)
from thornback.faults.real import RealInjector
from thornback.faults.workloads import load
from thornback.simulator import simulate

PROGRAM = """
import collections, gc, time
import thornback as ray
from thornback.api import current
from thornback.core import blocking
from thornback.faults.loader import parse_plan
from thornback.faults.real import RealInjector
from thornback.faults.workloads import load

ray.init(num_cpus=4, object_store_memory=256 << 20, log_to_driver=False, _system_config={config!r})
runtime = current.require()
with RealInjector(parse_plan({plan!r})) as injector:
    while True:
        for name in {workloads!r}:
            load(name)()
        if injector.done:
            break
deadline = time.monotonic() + 30
while True:
    gc.collect()  # errors that were raised hold the frames of those who had handles
    [[store]] = blocking.query_at(runtime, [(runtime.core.node_id, "store")], 10.0)
    busy = [row for row in blocking.query(runtime, "workers") if row["state"] == "LEASED"]
    if not store["used"] and not busy:
        break
    assert time.monotonic() < deadline, f"left behind: {{store}}, {{busy}}"
    time.sleep(0.1)
print("happened", dict(collections.Counter(injector.happened)))
ray.shutdown()
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="tb-"))  # short, as the paths of sockets must be
    yield made
    shutil.rmtree(made)


def kills_and_pauses(seed: int, count: int, pace: float) -> Plan:
    """Faults of workers, one each ``pace`` seconds."""
    rng = random.Random(seed)
    faults: list[AnyFault] = []
    for index in range(count):
        at = round(0.5 + pace * (index + rng.random()), 3)
        if rng.random() < 0.6:
            faults.append(CrashWorker(node=0, at=at))
        else:
            faults.append(PauseWorker(node=0, at=at, until=round(at + 0.05 + rng.random(), 3)))
    return Plan(faults=tuple(faults), name=f"kills and pauses {seed}")


def run_for_real(directory: Path, plan: Plan, *workloads: str, patience: float, **config: Any) -> dict[str, int]:
    """Run workloads until the plan is over, on a node of their own; how many faults of each kind there were."""
    program = Program(directory, PROGRAM.format(plan=plan.to_json().decode(), workloads=workloads, config=config))
    try:
        output, _ = program.process.communicate(timeout=patience)
    finally:
        program.kill()
    assert program.process.returncode == 0, f"{plan.to_json().decode()}\n{output}"
    program.assert_nothing_is_left()
    found: dict[str, int] = eval(output.rpartition("happened")[2])
    return found


@pytest.mark.timeout(120)
def test_ten_kills_and_pauses_lose_nothing_and_leave_nothing(directory: Path) -> None:
    happened = run_for_real(directory, kills_and_pauses(1, 10, 0.4), "shuffle", "ledger", patience=110)
    assert sum(happened.values()) == 10


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_hundred_kills_and_pauses_lose_nothing_and_leave_nothing(directory: Path) -> None:
    plan = kills_and_pauses(2, 100, 0.4)
    happened = run_for_real(directory, plan, "shuffle", "ledger", "attempts", patience=580)
    assert sum(happened.values()) == 100
    assert min(happened["crash_worker"], happened["pause_worker"]) > 20


SHARED_PLAN = Plan(
    faults=(
        CrashWorker(node=0, at=0.3),
        PauseWorker(node=0, at=0.5, until=1.5),
        FillStore(node=0, fraction=0.6, at=0.6, until=2.0),
        OutOfMemory(node=0, at=0.9),
        CrashWorker(node=0, at=1.2),
    ),
    name="what a real node can have",
)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["shuffle", "ledger", "map_reduce"])
def test_a_plan_ends_in_the_same_results_on_a_real_node_and_in_the_simulator(directory: Path, name: str) -> None:
    """Each workload raises unless its results are what they must be, so that ending is the same as being right."""
    node = {"cpus": 4, "object_store_memory": 256 << 20}
    with simulate(nodes=[node], seed=1, faults=SHARED_PLAN, time_limit=600) as world:
        load(name)()
        simulated = world.stats["faults"]
        ray.shutdown()
    assert simulated, "faults should have happened in the simulation"
    happened = run_for_real(directory, SHARED_PLAN, name, patience=110)
    assert set(happened) == {"crash_worker", "pause_worker", "out_of_memory", "fill_store"}


DRIVERS = """
import thornback as ray
from thornback.faults.workloads.drivers import NAMESPACE, lives

with ray.init(namespace=NAMESPACE, num_cpus=4, log_to_driver=False) as context:
    lives(4, context["session_dir"])
"""


@pytest.mark.timeout(120)
def test_programs_that_are_killed_on_a_real_node_take_along_what_is_theirs(directory: Path) -> None:
    program = Program(directory, DRIVERS)
    output, _ = program.process.communicate(timeout=110)
    assert program.process.returncode == 0, output
    program.assert_nothing_is_left()


GCS_PLAN = Plan(
    faults=(
        CrashGcs(at=0.2, restart_after=0.3),
        SlowCommits(at=0.6, until=2.5, delay=0.05),
        CrashGcs(at=1.0, restart_after=0.5, unsynced="kept"),
        CrashWorker(node=0, at=1.2),
        CrashGcs(at=2.0, restart_after=1.0),
    ),
    name="the GCS ends again and again",
)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["ledger", "map_reduce"])
def test_programs_survive_the_end_of_the_gcs_in_both_worlds(directory: Path, name: str) -> None:
    with simulate(nodes=[{"cpus": 4}], seed=1, faults=GCS_PLAN, time_limit=600) as world:
        load(name)()
        assert world.stats["faults"], "faults should have happened in the simulation"
        ray.shutdown()
    happened = run_for_real(directory, GCS_PLAN, name, patience=110)
    assert happened["crash_gcs"] == 3 and happened["slow_commits"] == 1


LINKS_PLAN = Plan(
    faults=(
        Delay(within="all", seconds=0.002, jitter=0.01, until=3.0),
        Cut(within="worker_node", at=0.5, lasting=0.6),
        CrashWorker(node=0, at=0.7),
        PauseRaylet(node=0, at=1.0, until=2.0),
        Cut(within="owner_worker", at=1.5, lasting=0.5),
        CrashWorker(node=0, at=1.6),
        CrashGcs(at=2.2, restart_after=0.3),
        Cut(within="driver_node", at=2.3, lasting=0.5),
        Bandwidth(within="all", factor=0.01, at=2.5, until=3.5),
    ),
    name="links inside of the node, and pauses of the node process",
)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["ledger", "shuffle"])
def test_programs_survive_bad_links_and_pauses_of_the_node_process_in_both_worlds(directory: Path, name: str) -> None:
    """The pause is twice as long as the silence after which a node counts as dead: here nobody was silent."""
    heartbeats = {"heartbeat_period": 100_000_000, "heartbeat_misses": 5}
    with simulate(nodes=[{"cpus": 4}], seed=1, faults=LINKS_PLAN, config=heartbeats, time_limit=600) as world:
        load(name)()
        assert world.stats["faults"] >= 5, "faults should have happened in the simulation"
        ray.shutdown()
    happened = run_for_real(directory, LINKS_PLAN, name, patience=110, relayed_links=True, **heartbeats)
    crashes = happened.pop("crash_worker")
    assert happened == {"delay": 1, "cut": 3, "pause_raylet": 1, "crash_gcs": 1, "bandwidth": 1} and 1 <= crashes <= 2


def test_faults_of_links_are_refused_in_a_session_without_a_relay() -> None:
    ray.init(num_cpus=1, log_to_driver=False)
    try:
        with (
            pytest.raises(RuntimeError, match=r"faults of links need .*_system_config=\{\"relayed_links\": True\}"),
            RealInjector(Plan(faults=(Cut(within="all"),))),
        ):
            pass
    finally:
        ray.shutdown()


DAMAGE = """
import time
import thornback as ray
from thornback.api import current
from thornback.core.messages import EndGcs
from thornback.transports.gcs_host import FILE

ray.init(num_cpus=1, log_to_driver=False)
runtime = current.require()
with runtime.turn:
    runtime.core.ports.transport.send(runtime.core.node_id, EndGcs(500_000_000, True))
log = runtime.directory / (FILE + "-wal")
while log.exists():  # the file is let go of when the GCS ends
    time.sleep(0.01)
(runtime.directory / FILE).write_bytes(b"nonsense" * 1000)
try:
    ray.get_actor("anybody")
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.timeout(60)
def test_damaged_tables_end_the_session_and_are_named_to_the_program(directory: Path) -> None:
    program = Program(directory, DAMAGE)
    output, _ = program.process.communicate(timeout=50)
    assert "SessionEndedError the node process of this session has ended (the tables of the GCS in" in output
    assert "gcs.sqlite cannot be used: file is not a database" in output
    program.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (CrashNode(node=1, at=1.0), r"faults\[0\]: crash_node cannot happen on a real node; what can is crash_worker"),
        (Loss(rate=0.1, at=0.0), "loss cannot happen on a real node"),
        (CrashWorker(node=0, moment="before_reply"), "crash_worker needs at"),
        (Cut(at=0.0), "a real node has no links to others: say within"),
        (CrashWorker(node=2, at=1.0), r"faults\[0\].node: there is no node 2 in a cluster of 1 node"),
    ],
)
def test_what_a_real_node_cannot_have_is_named(fault: AnyFault, why: str) -> None:
    with pytest.raises(PlanError, match=why):
        RealInjector(Plan(faults=(fault,)))
