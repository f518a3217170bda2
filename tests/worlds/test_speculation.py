"""``@remote(speculative=True)``: a straggler runs a second time elsewhere, and the first result counts."""

from __future__ import annotations

import time
from typing import Any

import numpy
import pytest

import thornback as ray
from thornback.exceptions import RayTaskError, TaskCancelledError
from thornback.util.state import list_objects

SIMULATED = pytest.mark.only("simulated")
FAR = 25.0
"""Seconds that a straggler takes; no test waits for that."""


def all_up(world: Any, count: int) -> None:
    world.eventually(lambda: len([node for node in ray.nodes() if node["Alive"]]) == count, f"{count} nodes are up")
    time.sleep(1)


def logger() -> Any:
    """An actor that tasks tell what happens, and that says how often they have begun."""

    class Log:
        def __init__(self) -> None:
            self.lines: list[Any] = []

        def begin(self, number: int, where: str) -> int:
            self.lines.append((number, where))
            return self.count(number)

        def count(self, number: int) -> int:
            return sum(line[0] == number for line in self.lines)

        def note(self, line: Any) -> None:
            self.lines.append(line)

        def get(self) -> list[Any]:
            return self.lines

    return ray.remote(Log).options(num_cpus=0).remote()


def task(**options: Any) -> Any:
    """A task that takes 20 ms, but for the given runs of the given number: these take very long, or fail with another
    text as soon as the second run has begun."""

    def work(log: Any, number: int, odd: int = -1, runs: tuple[int, ...] = (1,), otherwise: str = "hang") -> Any:
        run = ray.get(log.begin.remote(number, ray.get_runtime_context().get_node_id()))
        try:
            if number != odd or (run not in runs and otherwise == "hang"):
                time.sleep(0.02)
            elif run not in runs:
                time.sleep(0.5)
            elif otherwise == "hang":
                for _ in range(round(FAR / 0.05)):
                    time.sleep(0.05)
            else:
                while ray.get(log.count.remote(number)) < 2:
                    time.sleep(0.5)  # a task that waits for others, as it does in between, is no straggler
                raise ValueError(otherwise)
        except BaseException as error:
            log.note.remote((type(error).__name__, run))
            raise
        return numpy.full(100_000, run) if otherwise == "large" else (number, run)

    return ray.remote(**{"speculative": True, **options})(work)


def warm_up(work: Any, log: Any) -> None:
    """Enough runs for the engine to know what is normal, and for four second runs to be few enough: on a busy machine,
    some of these are stragglers too."""
    ray.get([work.remote(log, 1000 + number) for number in range(60)])


def runs_of(log: Any, number: int) -> list[str]:
    return [where for first, where in ray.get(log.get.remote()) if first == number]


def test_a_straggler_runs_a_second_time_and_the_first_result_counts(world: Any) -> None:
    log = logger()
    work = task()
    warm_up(work, log)
    start = time.monotonic()
    assert ray.get([work.remote(log, number, odd=3) for number in range(8)], timeout=FAR / 2) == [
        (number, 2 if number == 3 else 1) for number in range(8)
    ]
    assert time.monotonic() - start < FAR / 2
    assert len(runs_of(log, 3)) == 2
    world.eventually(
        lambda: any(line[1] == 1 and isinstance(line[0], str) for line in ray.get(log.get.remote())),
        "the first run is stopped",
    )


def test_without_the_option_no_task_runs_twice(world: Any) -> None:
    log = logger()
    work = task(speculative=False)
    warm_up(work, log)
    ref = work.remote(log, 3, odd=3)
    assert ray.wait([ref], timeout=1.0)[0] == []
    assert len(runs_of(log, 3)) == 1
    ray.cancel(ref)


def test_the_option_can_be_given_per_call(world: Any) -> None:
    log = logger()
    work = task(speculative=False).options(speculative=True)
    warm_up(work, log)
    assert ray.get(work.remote(log, 3, odd=3), timeout=FAR / 2) == (3, 2)


def test_a_run_that_fails_leaves_the_result_to_the_other(world: Any) -> None:
    log = logger()
    work = task()
    warm_up(work, log)
    assert ray.get(work.remote(log, 3, odd=3, otherwise="the first run fails"), timeout=FAR / 2) == (3, 2)


def test_if_both_runs_fail_the_task_fails(world: Any) -> None:
    log = logger()
    work = task()
    warm_up(work, log)
    with pytest.raises(RayTaskError, match="both runs fail"):
        ray.get(work.remote(log, 3, odd=3, runs=(1, 2), otherwise="both runs fail"), timeout=FAR / 2)
    assert len(runs_of(log, 3)) == 2


def test_there_is_no_third_run_when_one_of_two_has_failed(world: Any) -> None:
    log = logger()

    @ray.remote(speculative=True)
    def work(log: Any, number: int) -> int:
        run: int = ray.get(log.begin.remote(number, ""))
        if number == 3 and run == 2:
            raise ValueError("the second run fails")
        time.sleep(1.5 if number == 3 and run == 1 else 0.02)
        return run

    warm_up(work, log)
    assert ray.get(work.remote(log, 3), timeout=FAR / 2) == 1
    assert len(runs_of(log, 3)) == 2


def test_a_task_that_is_tried_again_may_run_twice_again(world: Any) -> None:
    log = logger()

    @ray.remote(speculative=True, max_retries=1, retry_exceptions=[ValueError])
    def work(log: Any, number: int) -> int:
        run: int = ray.get(log.begin.remote(number, ""))
        if number == 3 and run == 1:
            while ray.get(log.count.remote(number)) < 2:
                time.sleep(0.5)
        if number == 3 and run <= 2:
            raise ValueError("both runs of the first attempt fail")
        time.sleep(FAR if number == 3 and run == 3 else 0.02)
        return run

    warm_up(work, log)
    assert ray.get(work.remote(log, 3), timeout=FAR / 2) == 4


def test_cancelling_a_task_stops_both_runs(world: Any) -> None:
    log = logger()
    work = task()
    warm_up(work, log)
    ref = work.remote(log, 3, odd=3, runs=(1, 2))
    world.eventually(lambda: len(runs_of(log, 3)) == 2, "the straggler runs a second time")
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=FAR / 2)

    def stopped() -> set[Any]:
        return {line[1] for line in ray.get(log.get.remote()) if isinstance(line[0], str)}

    world.eventually(lambda: stopped() == {1, 2}, "both runs are interrupted")


def test_large_results_of_the_winner_stay_and_nothing_else(world: Any) -> None:
    log = logger()
    work = task()
    warm_up(work, log)
    ref = work.remote(log, 3, odd=3, otherwise="hang")
    assert ray.get(ref, timeout=FAR / 2) == (3, 2)
    large = [work.remote(log, 100 + number, otherwise="large") for number in range(10)]
    assert all(int(ray.get(each, timeout=FAR / 2)[-1]) in (1, 2) for each in large)


def test_workers_of_losers_are_used_again(world: Any) -> None:
    """Otherwise a few stragglers would use up the cluster."""
    log = logger()
    work = task()
    warm_up(work, log)
    for number in range(6):
        assert ray.get(work.remote(log, number, odd=number), timeout=FAR / 2) == (number, 2)
        ray.get([work.remote(log, 2000 + 20 * number + each) for each in range(20)])
    world.eventually(lambda: ray.available_resources().get("CPU") == 4, "all CPUs are free in the end")


# --- Bad input


def test_a_task_that_must_not_start_twice_cannot_be_speculative(world: Any) -> None:
    with pytest.raises(ValueError, match=r"'speculative'=True .* 'max_retries'=0 forbids"):
        task(max_retries=0)
    with pytest.raises(ValueError, match=r"'speculative'=True .* 'max_retries'=0 forbids"):
        task(max_retries=0, speculative=False).options(speculative=True)


def test_a_generator_cannot_be_speculative(world: Any) -> None:
    def items() -> Any:
        yield 1

    with pytest.raises(ValueError, match="not for generators"):
        ray.remote(speculative=True)(items)
    with pytest.raises(ValueError, match="not for generators"):
        task(num_returns="dynamic")


def test_an_actor_cannot_be_speculative(world: Any) -> None:
    with pytest.raises(ValueError, match="'speculative' is an option of a remote function, not of an actor class"):

        @ray.remote(speculative=True)
        class Actor:
            pass


# --- Several nodes


@SIMULATED
@pytest.mark.cluster(nodes=3, cpus=4)
def test_the_second_run_is_on_another_node(world: Any) -> None:
    all_up(world, 3)
    log = logger()
    work = task()
    warm_up(work, log)
    assert ray.get(work.remote(log, 3, odd=3), timeout=FAR / 2) == (3, 2)
    first, second = runs_of(log, 3)
    assert first != second


def node_index(world: Any, node_id: str) -> int:
    return next(index for index, node in enumerate(world.simulation.nodes) if node.node_id.hex() == node_id)


def on_others() -> Any:
    """Any node but the program's own."""
    here = ray.get_runtime_context().get_node_id()
    labels = ray.util.scheduling_strategies
    return labels.NodeLabelSchedulingStrategy(hard={"ray.io/node-id": labels.NotIn(here)}), here


@SIMULATED
@pytest.mark.cluster(nodes=4, cpus=1, init={"resources": {"slot": 1}})
@pytest.mark.parametrize("dies", [0, 1], ids=["of the first run", "of the second run"])
def test_the_other_run_counts_when_the_node_of_one_dies(world: Any, dies: int) -> None:
    all_up(world, 4)
    log = logger()
    blocker = logger()
    here = ray.get_runtime_context().get_node_id()
    stay = ray.remote(num_cpus=1)(lambda: time.sleep(1000))
    stay.options(
        scheduling_strategy=ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
    ).remote()
    time.sleep(0.2)
    work = task()
    warm_up(work, log)
    runs = (1,) if dies == 0 else (1, 2)
    ref = work.remote(log, 3, odd=3, runs=runs)
    world.eventually(lambda: len(runs_of(log, 3)) == 2 or dies == 0, "the straggler runs a second time")
    while dies == 0 and not runs_of(log, 3):
        time.sleep(0.001)
    world.simulation.kill_node(node_index(world, runs_of(log, 3)[dies]))
    number, run = ray.get(ref, timeout=120)
    assert number == 3
    assert run == (2 if dies == 0 else 1) or run == 3, "a run that had not lost its node, or one after that"
    del blocker


@SIMULATED
@pytest.mark.cluster(nodes=4, cpus=2, lossy=True)
def test_each_task_has_one_result_when_messages_are_lost_doubled_and_late(world: Any) -> None:
    from thornback.simulator.conditions import Rule

    all_up(world, 4)
    log = logger()
    work = task()
    warm_up(work, log)
    rule = world.simulation.network.conditions.add(Rule(loss=0.1, duplicate=0.2, reorder=0.2, window=20_000_000))
    refs = [work.remote(log, number, odd=17) for number in range(60)]
    first = ray.get(refs, timeout=120)
    assert [number for number, _ in first] == list(range(60))
    time.sleep(5)
    assert ray.get(refs) == first, "a result never changes"
    world.simulation.network.conditions.remove(rule)
    world.eventually(lambda: ray.available_resources().get("CPU") == 8, "all CPUs are free in the end")


@SIMULATED
@pytest.mark.cluster(nodes=4, cpus=2)
@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.1, 0.3])
def test_runs_that_end_at_about_the_same_time_give_one_result(world: Any, seconds: float) -> None:
    """The first run takes about as long as it takes to notice it and to run it again, so that both results come."""
    all_up(world, 4)
    log = logger()

    @ray.remote(speculative=True)
    def work(number: int, odd: bool) -> Any:
        run = ray.get(log.begin.remote(number, ""))
        time.sleep(seconds * (3.2 if odd and run == 1 else 1.0))
        return numpy.full(50_000, run)

    ray.get([work.remote(number, False) for number in range(40)])
    refs = [work.remote(100 + number, number % 5 == 0) for number in range(40)]
    values = [int(ray.get(ref)[-1]) for ref in refs]
    assert set(values) <= {1, 2}
    time.sleep(3)
    assert [int(ray.get(ref)[0]) for ref in refs] == values, "a result never changes"
    del refs
    world.eventually(
        lambda: not [row for row in list_objects() if row["size"]], "no copy of a losing result stays behind"
    )
