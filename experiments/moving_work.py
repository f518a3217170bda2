"""Does work find the idle nodes, the nodes that have its data, and a way around stragglers?

On simulated clusters: makespans of skewed queues against the ideal, bytes that move when tasks follow their arguments,
and task latencies with and without speculation.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy

import thornback as ray
from thornback.simulator import compute
from thornback.util.scheduling_strategies import NodeAffinitySchedulingStrategy

MB = 1_000_000


def wait_for_nodes(count: int) -> list[str]:
    """Ids of the nodes, once all of them and their workers are up."""
    while len([node for node in ray.nodes() if node["Alive"]]) < count:
        time.sleep(0.1)
    time.sleep(1)
    return [node["NodeID"] for node in ray.nodes()]


def on(node: str) -> Any:
    """The strategy that names a node."""
    return NodeAffinitySchedulingStrategy(node, soft=False)


@ray.remote
def work(seconds: float) -> None:
    """A task without arguments that have to be moved."""
    compute(seconds)


@ray.remote
def work_on(array: Any, seconds: float) -> None:
    """A task with a large argument."""
    compute(seconds)


@ray.remote
def make(size: int) -> Any:
    """An object of so many bytes."""
    return numpy.zeros(size, numpy.uint8)


@ray.remote
def submit(durations: list[float]) -> None:
    """A task that has others run, and waits for them."""
    ray.get([work.remote(seconds) for seconds in durations])


# --- Makespan


class Makespan(NamedTuple):
    """How long a batch took, in virtual seconds."""

    seconds: float
    ideal: float
    """All work divided by all CPUs, plus the longest task."""

    @property
    def ratio(self) -> float:
        """1 is the ideal."""
        return self.seconds / self.ideal


def mixed(count: int) -> list[float]:
    """Durations of very different lengths."""
    numbers = random.Random(5)
    return [numbers.choice([0.1, 0.2, 0.5, 2.0]) for _ in range(count)]


def equal(count: int) -> list[float]:
    """Durations of half a second."""
    return [0.5] * count


def through_one_node(nodes: list[str], durations: list[float]) -> list[Any]:
    """The driver submits everything."""
    return [work.remote(seconds) for seconds in durations]


def through_tasks_on_one_node(nodes: list[str], durations: list[float]) -> list[Any]:
    """Four tasks of one node submit everything."""
    placed = submit.options(scheduling_strategy=on(nodes[-1]))
    return [placed.remote(durations[start::4]) for start in range(4)]


def inputs_on(holders: int, size: int) -> Callable[[list[str], list[float]], list[Any]]:
    """All arguments are on a few nodes."""

    def start(nodes: list[str], durations: list[float]) -> list[Any]:
        inputs = [
            make.options(scheduling_strategy=on(nodes[1 + number % holders])).remote(size) for number in range(30)
        ]
        ray.wait(inputs, num_returns=len(inputs), fetch_local=False)
        return [work_on.remote(inputs[number % 30], seconds) for number, seconds in enumerate(durations)]

    return start


SKEWS: dict[str, tuple[Callable[[list[str], list[float]], list[Any]], Callable[[int], list[float]]]] = {
    "one submitter, equal tasks": (through_one_node, equal),
    "one submitter, mixed tasks": (through_one_node, mixed),
    "4 tasks of one node submit": (through_tasks_on_one_node, mixed),
    "1 MB inputs on 3 nodes, equal": (inputs_on(3, MB), equal),
    "1 MB inputs on 3 nodes, mixed": (inputs_on(3, MB), mixed),
    "5 MB inputs on 1 node, equal": (inputs_on(1, 5 * MB), equal),
}


def makespan(skew: str, nodes: int = 100, cpus: int = 4, tasks: int = 4000, seed: int = 1) -> Makespan:
    """Run one of :data:`SKEWS`."""
    start, draw = SKEWS[skew]
    durations = draw(tasks)
    with ray.simulate(nodes=nodes, cpus=cpus, seed=seed):
        ray.init()
        ids = wait_for_nodes(nodes)
        refs = start(ids, durations)
        begin = time.monotonic()
        ray.get(refs)
        took = time.monotonic() - begin
        ray.shutdown()
    return Makespan(took, sum(durations) / (nodes * cpus) + max(durations))


# --- Locality


def moved(strategy: str, nodes: int = 10, size: int = 100 * MB, scale: int = 1, seed: int = 1) -> tuple[int, float]:
    """Bytes that go from node to node while tasks of 0.1 to 0.3 s read one object each, four on every node of two
    CPUs, and how long that takes in virtual seconds.

    Args:
        strategy: of the tasks that read.
        size: of each object.
        scale: make objects, stores and bandwidth smaller by this factor, for a quicker run of the same course.
    """
    from thornback.simulator.model import Model

    numbers = random.Random(seed)
    model = Model(bandwidth=1.25e9 / scale)
    config = {"link_bandwidth": 1_250_000_000 // scale, "transfer_chunk": max(5 * MB // scale, 64 << 10)}
    store = 12 * size // scale
    with ray.simulate(nodes=nodes, cpus=2, seed=seed, object_store_memory=store, model=model, config=config) as world:
        ray.init()
        ids = wait_for_nodes(nodes)
        total, took = 0, 0.0
        for _ in range(3):
            inputs = [make.options(scheduling_strategy=on(node)).remote(size // scale) for node in ids * 4]
            ray.wait(inputs, num_returns=len(inputs), fetch_local=False)
            numbers.shuffle(inputs)
            time.sleep(1)
            before, begin = world.network.payload, time.monotonic()
            placed = work_on.options(scheduling_strategy=strategy)
            readers = [placed.remote(reference, numbers.uniform(0.1, 0.3)) for reference in inputs]
            del inputs
            ray.get(readers)
            took += time.monotonic() - begin
            total += world.network.payload - before
        ray.shutdown()
    return total * scale, took


# --- Stragglers


class Latencies(NamedTuple):
    """Of tasks that arrive one by one, in virtual seconds."""

    median: float
    p99: float
    runs: int
    """Executions, second ones included."""
    busy: float
    """Seconds that workers computed, until cancelled where they were."""


@ray.remote
def sometimes_slow() -> None:
    """A task of 0.1 s, of which 3 % of the runs take 1 s."""
    compute(1.0 if random.random() < 0.03 else random.uniform(0.08, 0.12))


def latencies(speculative: bool, tasks: int = 1000, seed: int = 1) -> Latencies:
    """Keep half of the CPUs of 20 nodes busy with tasks of which some are stragglers."""
    with ray.simulate(nodes=20, cpus=4, seed=seed):
        ray.init()
        wait_for_nodes(20)
        task = sometimes_slow.options(speculative=speculative)
        pending: dict[Any, float] = {}
        taken: list[float] = []

        def collect(seconds: float) -> None:
            ready, _ = ray.wait(list(pending), num_returns=len(pending), timeout=seconds)
            taken.extend(time.monotonic() - pending.pop(reference) for reference in ready)

        for _ in range(tasks):
            pending[task.remote()] = time.monotonic()
            collect(0.0032)
        while pending:
            collect(0.01)
        time.sleep(3)
        runs = ray.timeline() or []
        ray.shutdown()
    taken.sort()
    return Latencies(
        taken[tasks // 2], taken[int(0.99 * tasks)], len(runs), sum(run["dur"] for run in runs) / 1_000_000
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[[], *TABLES], help="all by default")
    for name in parser.parse_args().what or TABLES:
        TABLES[name]()
        print()


def print_makespans() -> None:
    """One row per skew."""
    print("100 nodes of 4 CPUs, 4,000 tasks              seconds   ideal   ratio")
    for skew in SKEWS:
        result = makespan(skew)
        print(f"  {skew:40} {result.seconds:10.2f} {result.ideal:7.2f} {result.ratio:7.2f}")


def print_locality() -> None:
    """One row per strategy."""
    print("10 nodes, 120 tasks, each reads 100 MB         GB moved   seconds")
    for strategy in ("DEFAULT", "RANDOM"):
        size, took = moved(strategy)
        print(f"  {strategy:40} {size / 1e9:12.2f} {took:9.2f}")


def print_speculation() -> None:
    """With and without."""
    print("1,000 tasks of 0.1 s, 3 % of the runs 1 s     median    p99   runs   busy (s)")
    for speculative in (False, True):
        row = latencies(speculative)
        print(f"  speculative={speculative!s:28} {row.median:8.3f} {row.p99:7.3f} {row.runs:6} {row.busy:9.1f}")


TABLES: dict[str, Callable[[], None]] = {
    "makespan": print_makespans,
    "locality": print_locality,
    "speculation": print_speculation,
}


if __name__ == "__main__":
    main()
