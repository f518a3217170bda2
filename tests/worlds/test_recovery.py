"""What is lost with a node, a worker or its memory is made again, as often as it may be; or the error says why not.

Every test runs over several seeds: the interleaving differs, the outcome may not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest

import thornback as ray
from thornback.exceptions import ObjectLostError, OutOfMemoryError, WorkerCrashedError
from thornback.faults.plan import CrashWorker, LoseMessage, OutOfMemory, Plan

SEEDS = range(5)
SIZE = 50_000
"""Numbers in an array that is too large to travel inside a message."""


@pytest.fixture(params=SEEDS)
def seed(request: pytest.FixtureRequest) -> Iterator[int]:
    yield request.param


AWAY: dict[str, Any] = {"resources": {"away": 1}, "scheduling_strategy": "SPREAD"}
"""Options of what runs on any node but the program's own."""


def cluster(seed: int, nodes: int = 3, **options: Any) -> Any:
    others = [{"resources": {"away": 8}}] * (nodes - 1)
    return ray.simulate(nodes=[{}, *others], cpus=4, seed=seed, **options)


def lose(world: Any, *nodes: int) -> None:
    """Crash nodes, by default all that have objects, which start again empty."""
    for index in nodes or holders(world):
        world.kill_node(index, reboot_after=2.0)


def eventually(condition: Callable[[], Any], expected: str) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"{expected}, within a minute")


def start(nodes: int = 3) -> list[str]:
    """Connect; the ids of all nodes but the program's own, in the order of their index."""
    ray.init()
    eventually(lambda: len([node for node in ray.nodes() if node["Alive"]]) == nodes, f"{nodes} nodes should come up")
    here = ray.get_runtime_context().get_node_id()
    others = sorted(node["NodeID"] for node in ray.nodes() if node["NodeID"] != here)

    @ray.remote
    def nothing() -> None:
        pass

    ray.get([nothing.options(scheduling_strategy=on(node)).remote() for node in others])
    return others


def on(node: str) -> Any:
    return ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)


def holders(world: Any) -> list[int]:
    """Nodes, but the program's own, that have objects in their shared memory."""
    found = [node.index for node in world.nodes[1:] if node.alive and node.process.core.raylet.store.entries]
    assert found, "the test is about objects that are on other nodes"
    return found


def array(value: int) -> Any:
    return numpy.full(SIZE, value)


# --- Lineage


def test_a_chain_is_rebuilt_to_its_root(seed: int) -> None:
    with cluster(seed) as world:
        start()

        @ray.remote(max_retries=-1)
        def root() -> Any:
            return array(1)

        @ray.remote(max_retries=-1)
        def add(values: Any) -> Any:
            return values + 1

        ref = root.options(**AWAY).remote()
        for _step in range(8):
            ref = add.options(**AWAY).remote(ref)
        ray.wait([ref], fetch_local=False)
        lose(world)
        assert int(ray.get(ref)[-1]) == 9, "every link of the chain was on a node that is gone"


def test_all_returns_of_a_task_are_rebuilt_and_those_in_use_keep_their_value(seed: int) -> None:
    with cluster(seed) as world:
        start()

        @ray.remote(num_returns=3, max_retries=-1)
        def three() -> Any:
            return array(1), array(2), array(3)

        first, second, third = three.options(**AWAY).remote()
        held = ray.get(second)
        del third
        lose(world)
        assert int(ray.get(first)[0]) == 1
        assert int(ray.get(second)[0]) == 2 == int(held[0])


@pytest.mark.parametrize("keep", [True, False])
def test_calls_that_need_lost_results_of_the_same_actor_wait_for_those_to_be_made_again(seed: int, keep: bool) -> None:
    with cluster(seed) as world:
        start()

        @ray.remote(max_restarts=-1, max_task_retries=-1, num_cpus=0, **AWAY)
        class Stage:
            def step(self, values: Any) -> Any:
                time.sleep(0.1)
                return array(0) if values is None else values + 1

        stage = Stage.remote()
        refs = [stage.step.remote(None)]
        for _step in range(8):
            refs.append(stage.step.remote(refs[-1]))
        ray.wait([refs[4]], fetch_local=False)
        last = refs[-1]
        if not keep:
            refs.clear()
        lose(world)
        assert int(ray.get(last)[0]) == 8, "each call needs the result of the one before, which was lost with the actor"


def test_a_return_that_was_let_go_is_not_kept_when_it_is_made_again_with_the_others(seed: int) -> None:
    with cluster(seed) as world:
        start()

        @ray.remote(num_returns=2, max_retries=-1)
        def two() -> Any:
            return array(1), array(2)

        @ray.remote(max_retries=-1)
        def read(values: Any) -> Any:
            return values + 1

        first, second = two.options(**AWAY).remote()
        here = on(ray.get_runtime_context().get_node_id())
        made_of_first = read.options(scheduling_strategy=here).remote(first)
        assert int(ray.get(made_of_first)[0]) == 2
        gone = first.binary()
        del first
        lose(world)
        assert int(ray.get(second)[0]) == 2
        time.sleep(1)
        stores = [node.process.core.raylet.store.entries for node in world.nodes if node.alive]
        assert not any(gone in entries for entries in stores), "nobody refers to the first return any more"
        assert int(ray.get(made_of_first)[0]) == 2


@pytest.mark.parametrize("taken", [0, 3, 6])
def test_items_of_a_generator_are_rebuilt_whether_taken_or_not(seed: int, taken: int) -> None:
    with cluster(seed) as world:
        start()

        @ray.remote(num_returns="streaming", max_retries=-1)
        def items() -> Any:
            for value in range(6):
                yield array(value)

        stream = items.options(**AWAY).remote()
        refs = [next(stream) for _ in range(taken)]
        ray.wait([stream.completed()])
        lose(world)
        refs += list(stream)
        assert [int(ray.get(ref)[0]) for ref in refs] == list(range(6))


def test_a_generator_whose_node_dies_in_the_middle_gives_each_item_once(seed: int) -> None:
    with cluster(seed) as world:
        start()

        @ray.remote(num_returns="streaming", max_retries=-1)
        def items() -> Any:
            for value in range(10):
                time.sleep(0.2)
                yield array(value)

        stream = items.options(**AWAY).remote()
        refs = [next(stream) for _ in range(4)]
        lose(world)
        refs += list(stream)
        assert [int(ray.get(ref)[0]) for ref in refs] == list(range(10))


def test_the_items_of_a_dynamic_generator_are_rebuilt(seed: int) -> None:
    with cluster(seed) as world:
        start()

        @ray.remote(num_returns="dynamic", max_retries=-1)
        def items() -> Any:
            for value in range(4):
                yield array(value)

        refs = list(ray.get(items.options(**AWAY).remote()))
        ray.wait(refs, num_returns=4, fetch_local=False)
        lose(world)
        assert [int(ray.get(ref)[0]) for ref in refs] == list(range(4))


def test_a_task_with_a_borrowed_argument_is_rebuilt(seed: int) -> None:
    """The task that is lost was submitted by another task, with an argument that belongs to the program."""
    with cluster(seed) as world:
        start()

        @ray.remote(max_retries=-1)
        def make(value: int) -> Any:
            return array(value)

        @ray.remote(max_retries=-1)
        def double(values: Any) -> Any:
            return values * 2

        @ray.remote(num_cpus=0)
        class Submitter:
            def submit(self, box: list[Any]) -> None:
                self.ref = double.options(**AWAY).remote(box[0])
                ray.wait([self.ref], fetch_local=False)

            def read(self) -> int:
                return int(ray.get(self.ref)[0])

        here = ray.get_runtime_context().get_node_id()
        submitter = Submitter.options(scheduling_strategy=on(here)).remote()
        made = make.options(**AWAY).remote(21)
        ray.get(submitter.submit.remote([made]))
        del made
        lose(world)
        assert ray.get(submitter.read.remote()) == 42


def test_losses_while_others_are_rebuilt_are_rebuilt_too(seed: int) -> None:
    with cluster(seed, nodes=5) as world:
        start(5)

        @ray.remote(max_retries=-1)
        def make(value: int) -> Any:
            time.sleep(0.5)
            return array(value)

        @ray.remote(max_retries=-1)
        def add(left: Any, right: Any) -> Any:
            time.sleep(0.5)
            return left + right

        leaves = [make.options(**AWAY).remote(x) for x in range(8)]
        while len(leaves) > 1:
            pairs = list(zip(leaves[::2], leaves[1::2], strict=True))
            leaves = [add.options(**AWAY).remote(*pair) for x, pair in enumerate(pairs)]
        ray.wait(leaves, fetch_local=False)
        for index in (1, 2, 3):
            lose(world, index)
            time.sleep(17 + seed * 0.3)
        assert int(ray.get(leaves[0])[0]) == sum(range(8))


def test_a_result_whose_lineage_was_evicted_says_so(seed: int) -> None:
    with cluster(seed, config={"lineage_limit": 1000}) as world:
        start()

        @ray.remote(max_retries=-1)
        def make(value: int, ballast: bytes) -> Any:
            return array(value)

        refs = [make.options(**AWAY).remote(x, bytes(400)) for x in range(4)]
        ray.wait(refs, num_returns=4, fetch_local=False)
        lose(world)
        outcomes = []
        for ref in refs:
            try:
                outcomes.append(int(ray.get(ref)[0]))
            except ObjectLostError as error:
                assert "the lineage of make was evicted (lineage_limit, 1,000 bytes" in str(error)
                outcomes.append(-1)
        assert outcomes.count(-1) == 3, f"1000 bytes keep the lineage of one task of 600, not {outcomes}"


@pytest.mark.parametrize(
    ("retries", "cause"),
    [(0, "make has max_retries=0"), (1, r"make has used up its retries \(max_retries=1\)")],
)
def test_a_result_whose_task_may_not_run_again_says_so(seed: int, retries: int, cause: str) -> None:
    with cluster(seed) as world:
        start()

        @ray.remote(max_retries=retries, **AWAY)
        def make() -> Any:
            return array(1)

        ref = make.remote()
        for _ in range(retries + 1):
            ray.wait([ref], fetch_local=False)
            lose(world)
            time.sleep(25)
        with pytest.raises(ObjectLostError, match=cause):
            ray.get(ref)


@pytest.mark.parametrize("kind", ["small result", "small put", "value"])
def test_small_arguments_that_nobody_else_keeps_are_there_when_their_task_runs_again(seed: int, kind: str) -> None:
    with cluster(seed) as world:
        start()

        @ray.remote
        def small() -> int:
            return 5

        @ray.remote(max_retries=-1)
        def make(value: int) -> Any:
            return array(value)

        argument = {"small result": small.remote, "small put": lambda: ray.put(5), "value": lambda: 5}[kind]()
        ref = make.options(**AWAY).remote(argument)
        del argument
        ray.wait([ref], fetch_local=False)
        lose(world)
        assert int(ray.get(ref)[0]) == 5


# --- Memory


def memory_runs_out(*times: float) -> Plan:
    return Plan(faults=tuple(OutOfMemory(node=0, at=at) for at in times))


def test_a_task_that_is_ended_for_want_of_memory_keeps_its_retries(seed: int) -> None:
    with cluster(seed, nodes=1, faults=memory_runs_out(1.5, 3.0, 4.5, 6.0)) as world:
        start(1)

        @ray.remote(max_retries=1)
        def hungry() -> int:
            time.sleep(2)
            return ray.get_runtime_context().get_attempt_number()

        ref = hungry.remote()
        time.sleep(6.5 - world.now)
        world.kill_worker(0)
        assert ray.get(ref) == 5, "four ends for want of memory and one crash: a single one counts as a retry"


def test_a_task_without_retries_is_not_run_again_when_memory_is_short(seed: int) -> None:
    with cluster(seed, nodes=1, faults=memory_runs_out(1.0)):
        start(1)

        @ray.remote(max_retries=0)
        def hungry() -> None:
            time.sleep(5)

        with pytest.raises(OutOfMemoryError, match="ended to save its node's memory"):
            ray.get(hungry.remote())


def test_the_budget_for_ends_for_want_of_memory_is_limited_on_request(seed: int) -> None:
    with cluster(seed, nodes=1, config={"oom_retries": 2}, faults=memory_runs_out(3.0, 6.0, 9.0)):
        start(1)

        @ray.remote(max_retries=5)
        def hungry() -> None:
            time.sleep(100)

        with pytest.raises(OutOfMemoryError):
            ray.get(hungry.remote())


# --- Backoff


def test_what_a_lost_worker_has_stored_is_not_taken_for_the_result_of_the_next_run(seed: int) -> None:
    lost_reply = (LoseMessage(at=0, message="TaskReplies"), CrashWorker(node=1, moment="after_reply", nth=1))
    with cluster(seed, nodes=2, faults=Plan(faults=lost_reply)):
        ray.init()

        @ray.remote(max_retries=3, **AWAY)
        def box() -> Any:
            return array(1), ray.put("inside")

        _values, inside = ray.get(box.remote())
        assert ray.get(inside) == "inside", "the first run's object has ended with its worker"


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_task_whose_worker_ends_before_it_starts_goes_elsewhere_whatever_ran_there_before(nth: int) -> None:
    crash = CrashWorker(node=0, moment="before_running", nth=nth)
    with ray.simulate(nodes=1, cpus=1, faults=Plan(faults=(crash,))):
        ray.init()

        @ray.remote(max_retries=0)
        def same(value: int) -> int:
            return value

        for value in range(4):
            assert ray.get(same.remote(value)) == value
            time.sleep(2)  # the worker is given back, and leased anew for the next task


def test_workers_that_do_not_come_up_are_started_ever_more_seldom(seed: int) -> None:
    with cluster(seed, nodes=1) as world:
        start(1)

        @ray.remote
        def work() -> int:
            return 7

        assert ray.get(work.remote()) == 7
        time.sleep(5)
        node = world.nodes[0]
        node.start_failures = 10**6
        for worker in [worker for worker in node.workers.values() if worker is not None]:
            world.end_process(worker, "killed (SIGKILL)")
        ref = work.remote()
        before = world.faults_injected
        time.sleep(30)
        assert 4 < world.faults_injected - before < 40, "within 30 s, with delays from 20 ms up to 5 s"
        node.start_failures = 0
        assert ray.get(ref) == 7


def test_an_actor_that_ends_at_once_each_time_is_started_ever_more_seldom(seed: int) -> None:
    import os

    with cluster(seed, nodes=1) as world:
        start(1)
        begun = world.now

        @ray.remote(max_restarts=12, max_task_retries=-1)
        class Fragile:
            def fall(self) -> None:
                os._exit(1)

        fragile = Fragile.remote()
        with pytest.raises(ray.exceptions.ActorDiedError):
            ray.get(fragile.fall.remote())
        assert world.now - begun > 8, "twelve restarts wait for 20 ms, 40 ms, ... and up to 5 s"


# --- Zombies


@pytest.mark.parametrize("how", ["pause", "cut"])
def test_what_comes_back_after_it_was_given_up_is_refused(seed: int, how: str) -> None:
    """An actor moves when its node is silent; the old incarnation, when it wakes, changes nothing any more."""
    with cluster(seed, lossy=True) as world:
        start()

        @ray.remote(max_restarts=-1, max_task_retries=0)
        class Ledger:
            def __init__(self) -> None:
                self.entries: list[int] = []

            def add(self, entry: int) -> list[int]:
                self.entries.append(entry)
                return list(self.entries)

            def where(self) -> str:
                return ray.get_runtime_context().get_node_id()

        ledger = Ledger.options(**AWAY).remote()
        home = ray.get(ledger.where.remote())
        assert ray.get(ledger.add.remote(1)) == [1]
        node = next(node for node in world.nodes if node.node_id.hex() == home)
        if how == "pause":
            node.pause()
        else:
            number = world.cut([index for index in range(3) if index != node.index], node.index)
        time.sleep(1)
        outstanding = [ledger.add.remote(entry) for entry in range(2, 6)]
        time.sleep(25)
        if how == "pause":
            node.resume()
        else:
            world.heal(number)
        results = []
        for ref in outstanding:
            try:
                results.append(ray.get(ref))
            except ray.exceptions.ActorError:
                results.append(None)
        assert all(result is None or result[0] != 1 for result in results), (
            f"the incarnation that was given up has answered: {results}"
        )
        assert ray.get(ledger.where.remote()) != home
        time.sleep(20)
        alive = [each for each in ray.nodes() if each["Alive"]]
        assert len(alive) == 3 and home not in [each["NodeID"] for each in alive], (
            "the node that was given up starts again under a new id"
        )


def test_late_heartbeats_do_not_bring_a_node_back(seed: int) -> None:
    with cluster(seed, lossy=True) as world:
        home = start()[0]

        @ray.remote(max_retries=0)
        def work() -> str:
            time.sleep(60)
            return "done by a zombie"

        ref = work.options(scheduling_strategy=on(home)).remote()
        time.sleep(1)
        number = world.cut([1], [0, 2], one_way=True)
        with pytest.raises(WorkerCrashedError, match="missed 5 heartbeats"):
            ray.get(ref)
        world.heal(number)
        time.sleep(90)
        with pytest.raises(WorkerCrashedError):
            ray.get(ref)
        assert home not in [each["NodeID"] for each in ray.nodes() if each["Alive"]]
