"""Nodes that leave with notice: what is on them ends or moves, and nothing is lost where there is time for it."""

from __future__ import annotations

import random
import time
from typing import Any

import numpy
import pytest

import thornback as ray
from tests.worlds.test_recovery import AWAY, array, cluster, eventually, lose, on, start
from thornback.exceptions import ActorDiedError, NodeDiedError
from thornback.faults.plan import CrashGcs, Plan, PreemptNode
from thornback.util import drain_node

SEEDS = range(4)


def alive() -> list[str]:
    return [node["NodeID"] for node in ray.nodes() if node["Alive"]]


def gone(node: str) -> None:
    eventually(lambda: node not in alive(), f"node {node} should have left")


@pytest.mark.parametrize("seed", SEEDS)
def test_tasks_end_and_new_ones_go_elsewhere(seed: int) -> None:
    with cluster(seed):
        home = start()[0]

        @ray.remote(max_retries=0)
        def work(seconds: float) -> str:
            time.sleep(seconds)
            return ray.get_runtime_context().get_node_id()

        running = [work.options(scheduling_strategy=on(home)).remote(3) for _ in range(3)]
        time.sleep(1)
        drain_node(home, "maintenance")
        later = [work.options(**AWAY).remote(0.1) for _ in range(12)]
        assert set(ray.get(running)) == {home}, "what ran could end"
        assert home not in ray.get(later)
        gone(home)
        assert len(alive()) == 2


@pytest.mark.parametrize("seed", SEEDS)
def test_a_task_that_does_not_end_in_time_starts_again_elsewhere_and_keeps_its_retries(seed: int) -> None:
    with cluster(seed):
        home, other = start()

        @ray.remote(max_retries=1, **AWAY)
        def work() -> tuple[str, int]:
            time.sleep(20)
            context = ray.get_runtime_context()
            return context.get_node_id(), context.get_attempt_number()

        refs = [work.remote() for _ in range(4)]
        time.sleep(1)
        drain_node(home, deadline=5)
        gone(home)
        assert {node for node, _ in ray.get(refs)} == {other}
        assert sorted(attempt for _, attempt in ray.get(refs)) == [0, 0, 1, 1]


def test_an_actor_that_ends_itself_while_its_node_leaves_does_not_start_elsewhere() -> None:
    with cluster(0):
        home, _other = start()

        @ray.remote(max_restarts=-1, max_task_retries=-1)
        class Mortal:
            def work(self) -> str:
                time.sleep(1)
                return "done"

            def end(self) -> None:
                ray.actor.exit_actor()

        soft = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(home, soft=True)
        mortal = Mortal.options(scheduling_strategy=soft).remote()
        ray.get(mortal.work.remote())
        last, end = mortal.work.remote(), mortal.end.remote()
        time.sleep(0.2)
        drain_node(home, deadline=20)
        assert ray.get(last) == "done"
        with pytest.raises(ActorDiedError):
            ray.get(end)
        gone(home)
        with pytest.raises(ActorDiedError, match="exit_actor"):
            ray.get(mortal.work.remote())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_task_without_retries_is_not_started_twice(seed: int) -> None:
    with cluster(seed):
        home = start()[0]

        @ray.remote(max_retries=0)
        def work() -> None:
            time.sleep(100)

        ref = work.options(scheduling_strategy=on(home)).remote()
        time.sleep(1)
        drain_node(home, "spot market", deadline=4)
        with pytest.raises(NodeDiedError, match="its node leaves the cluster: spot market"):
            ray.get(ref)


@pytest.mark.parametrize("seed", SEEDS)
def test_objects_are_copied_out_and_not_made_again(seed: int) -> None:
    with cluster(seed):
        home = start()[0]

        @ray.remote(max_retries=0)
        def make(value: int) -> Any:
            return array(value)

        refs = [make.options(scheduling_strategy=on(home)).remote(value) for value in range(20)]
        ray.wait(refs, num_returns=20, fetch_local=False)
        drain_node(home)
        gone(home)
        assert [int(ray.get(ref)[-1]) for ref in refs] == list(range(20))


@pytest.mark.parametrize("seed", SEEDS)
def test_copies_that_were_taken_over_are_primaries_and_freed_with_their_references(seed: int) -> None:
    with cluster(seed) as world:
        home = start()[0]

        @ray.remote(max_retries=0)
        def make() -> Any:
            return array(1)

        refs = [make.options(scheduling_strategy=on(home)).remote() for _ in range(5)]
        ray.wait(refs, num_returns=5, fetch_local=False)
        drain_node(home)
        gone(home)
        stores = [node.process.core.raylet.store for node in world.nodes if node.alive]
        assert sum(entry.primary for store in stores for entry in store.entries.values()) == 5
        del refs
        eventually(lambda: not any(store.entries for store in stores), "all copies should be freed")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("restarts", [0, 1])
def test_actors_move_without_using_up_their_restarts(seed: int, restarts: int) -> None:
    with cluster(seed) as world:
        nodes = start()

        @ray.remote(max_restarts=restarts, max_task_retries=0, **AWAY)
        class Worker:
            def slow(self) -> str:
                time.sleep(1)
                return self.where()

            def where(self) -> str:
                return ray.get_runtime_context().get_node_id()

        worker = Worker.remote()
        home = ray.get(worker.where.remote())
        calls = [worker.slow.remote() for _ in range(4)]
        time.sleep(0.5)
        drain_node(home, deadline=20)
        if not restarts:
            assert set(ray.get(calls)) == {home}
            with pytest.raises(ActorDiedError, match="its node leaves the cluster: no reason was given"):
                for _ in range(100):
                    ray.get(worker.where.remote())
                    time.sleep(0.5)
            return
        assert set(ray.get(calls)) == {home}, "calls that the actor had were answered before it moved"
        [other] = set(nodes) - {home}
        assert ray.get(worker.where.remote()) == other, "no call failed, though none may be retried"
        gone(home)
        lose(world, next(node.index for node in world.nodes if node.node_id.hex() == other))
        eventually(lambda: _answers(worker), "the one restart that it may have is still there")


def _answers(worker: Any) -> bool:
    try:
        return bool(ray.get(worker.where.remote()))
    except ray.exceptions.ActorUnavailableError:
        return False


@pytest.mark.parametrize("seed", SEEDS)
def test_bundles_of_placement_groups_get_another_place(seed: int) -> None:
    with cluster(seed, nodes=4):
        start(4)
        group = ray.util.placement_group([{"away": 1, "CPU": 1}] * 2, strategy="STRICT_SPREAD")
        ray.get(group.ready())
        strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(group, 0)

        @ray.remote(scheduling_strategy=strategy, max_retries=0)
        def where(seconds: float) -> str:
            time.sleep(seconds)
            return ray.get_runtime_context().get_node_id()

        home = ray.get(where.remote(0))
        running = where.remote(5)
        time.sleep(1)
        drain_node(home)
        assert ray.get(where.remote(0)) != home
        assert ray.get(running) == home
        gone(home)


def test_bad_requests_are_named() -> None:
    with cluster(1):
        start()
        here = ray.get_runtime_context().get_node_id()
        with pytest.raises(ValueError, match="is the head"):
            drain_node(here)
        with pytest.raises(ValueError, match=r"there is no node 00ff.* alive are .*" + here):
            drain_node("00ff")
        with pytest.raises(ValueError, match="'nonsense' is not the hex id of a node"):
            drain_node("nonsense")
        with pytest.raises(ValueError, match="deadline must be a number of seconds >= 0"):
            drain_node(here, deadline=-1)


@pytest.mark.parametrize("crash", [0.999, 1.0005, 1.01, 1.2, 2.5, 3.5])
def test_a_drain_goes_on_when_the_gcs_comes_back(crash: float) -> None:
    plan = Plan(faults=(CrashGcs(at=crash, restart_after=1.5),))
    with cluster(int(crash * 1000), faults=plan) as world:
        home = start()[0]

        @ray.remote(max_retries=0)
        def make(value: int) -> Any:
            time.sleep(2)
            return array(value)

        @ray.remote(max_restarts=1, max_task_retries=0)
        class Echo:
            def say(self, value: int) -> int:
                return value

        echo = Echo.options(resources={"away": 1}).remote()
        assert ray.get(echo.say.remote(0)) == 0
        refs = [make.options(scheduling_strategy=on(home)).remote(value) for value in range(4)]
        time.sleep(1.0 - world.now)
        drain_node(home)
        gone(home)
        assert [int(ray.get(ref)[0]) for ref in refs] == list(range(4))
        assert ray.get(echo.say.remote(1)) == 1


# --- Pre-emption


def check_preempted(seed: int, notice: float) -> None:
    """Tasks, objects and an actor on machines that are taken away one after the other, with others in their place."""
    rng = random.Random(seed)
    plan = Plan(
        faults=tuple(
            PreemptNode(node=1 + index % 3, at=3.0 + 25 * index + rng.random() * 5, notice=notice, reboot_after=2.0)
            for index in range(4)
        )
    )
    with cluster(seed, nodes=4, faults=plan) as world:
        start(4)
        runs = ray.remote(num_cpus=0)(_Runs).options(scheduling_strategy=on(alive_here())).remote()

        @ray.remote(max_retries=-1, **AWAY)
        def make(value: int, runs: Any) -> Any:
            time.sleep(0.5)
            ray.get(runs.note.remote(("make", value)))
            return array(value)

        @ray.remote(max_retries=-1, **AWAY)
        def add(left: Any, right: Any) -> Any:
            time.sleep(0.5)
            return left + right

        @ray.remote(max_restarts=1, max_task_retries=0, **AWAY)
        class Echo:
            def say(self, value: int) -> int:
                time.sleep(0.2)
                return value

        echo = Echo.remote()
        made = [make.remote(value, runs) for value in range(24)]
        sums = []
        while world.now < 105:
            sums.append([add.remote(made[x], made[-x - 1]) for x in range(6)])
            assert ray.get([echo.say.remote(x) for x in range(5)]) == list(range(5)), "no call of the actor is lost"
            time.sleep(4)
        assert all(int(numpy.max(ray.get(ref))) == 23 for refs in sums for ref in refs)
        counts = ray.get(runs.counts.remote())
        assert set(counts.values()) == {1}, f"with {notice:g} s of notice no result is made twice: {counts}"


def alive_here() -> str:
    return str(ray.get_runtime_context().get_node_id())


class _Runs:
    def __init__(self) -> None:
        self.seen: dict[Any, int] = {}

    def note(self, what: Any) -> None:
        self.seen[what] = self.seen.get(what, 0) + 1

    def counts(self) -> dict[Any, int]:
        return self.seen


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lost_and_nothing_is_done_twice_when_the_notice_is_long_enough(seed: int) -> None:
    check_preempted(seed, notice=15.0)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_nothing_is_lost_over_many_seeds_of_preemption() -> None:
    for seed in range(100, 300):
        check_preempted(seed, notice=15.0)
