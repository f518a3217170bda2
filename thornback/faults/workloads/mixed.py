"""Machines that differ: what needs GPUs, licences, much memory or a place runs where these are, and never too much."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import thornback as ray
from thornback.exceptions import TaskUnschedulableError
from thornback.faults.workloads.checks import CheckFailed, check, check_equal, eventually
from thornback.util import placement_group, remove_placement_group
from thornback.util.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
    PlacementGroupSchedulingStrategy,
)

GIB = 1 << 30
HEAD: dict[str, Any] = {"gpus": 2, "resources": {"licence": 2}, "labels": {"zone": "a", "disk": "ssd"}}
NODE = [
    {**HEAD, "cpus": 2, "memory": 4 * GIB},
    {"cpus": 4, "memory": 2 * GIB, "labels": {"zone": "b"}},
    {"cpus": 1, "memory": 1 * GIB, "gpus": 1, "labels": {"zone": "b", "disk": "ssd"}},
    {"cpus": 2, "memory": 8 * GIB, "gpus": 3, "resources": {"licence": 1}, "labels": {"zone": "c"}},
]
"""The head, which is never lost, has some of everything: whatever can be waited for, it could do alone."""
PATIENCE = 90.0
"""Seconds in which what was decided is known: longer than it takes to notice a dead node."""
AMOUNTS = ("GPU", "licence", "memory")
WANTS: tuple[dict[str, Any], ...] = (
    {"num_gpus": 0.5},
    {"num_gpus": 0.25, "resources": {"licence": 0.5}},
    {"num_gpus": 1, "memory": GIB // 2},
    {"resources": {"licence": 1}, "memory": GIB},
    {"memory": 2 * GIB},
    {"num_gpus": 0.3, "num_cpus": 1},
)


class Use(NamedTuple):
    """A stretch of time in which something had a part of a node."""

    node: str
    gpus: tuple[int, ...]
    amounts: dict[str, float]
    begin: float
    end: float


def use(amounts: dict[str, float], seconds: float) -> Use:
    """Keep what this task or actor has busy."""
    gpus = tuple(int(each) for each in ray.get_gpu_ids())
    begin = time.time()
    time.sleep(seconds)
    return Use(str(ray.get_runtime_context().get_node_id()), gpus, amounts, begin, time.time())


@ray.remote(num_cpus=0.2, max_retries=-1, fail_if_infeasible=True)
def work(amounts: dict[str, float], seconds: float) -> Use:
    """A task."""
    return use(amounts, seconds)


@ray.remote(num_cpus=0.1, num_gpus=0.5, resources={"licence": 0.5}, max_restarts=-1, max_task_retries=-1)
class Holder:
    """An actor that has its part as long as it lives."""

    def work(self, seconds: float) -> Use:
        """One call."""
        return use({"GPU": 0.5, "licence": 0.5}, seconds)


def amounts_of(options: Mapping[str, Any]) -> dict[str, float]:
    """The resources that options ask for, but for CPUs, which come back while a task waits."""
    found = {"GPU": options.get("num_gpus", 0), "memory": options.get("memory", 0), **options.get("resources", {})}
    return {name: amount for name, amount in found.items() if amount}


class Machines:
    """What is known of all nodes that were ever there."""

    def __init__(self) -> None:
        self.labels: dict[str, dict[str, str]] = {}
        self.amounts: dict[str, dict[str, float]] = {}
        self.gone: set[str] = set()
        self.look()

    def look(self) -> None:
        """Ask the cluster."""
        for node in ray.nodes():
            self.labels[node["NodeID"]] = node["Labels"]
            if node["Alive"]:
                self.amounts[node["NodeID"]] = node["Resources"]
            if not node["Alive"] or node["Draining"]:
                self.gone.add(node["NodeID"])

    def is_going(self, node: str) -> bool:
        """Whether a node is lost or leaves, as far as the cluster knows now."""
        self.look()
        return node in self.gone

    def check_uses(self, uses: list[Use]) -> None:
        """At no time is more of anything used on a node than it has; of each GPU, no more than one."""
        by_node: dict[str, list[Use]] = {}
        for each in uses:
            by_node.setdefault(each.node, []).append(each)
        for node, found in by_node.items():
            for each in found:
                at_once = [other for other in found if other.begin <= each.begin < other.end]
                if node in self.amounts:
                    check_amounts(node, at_once, self.amounts[node])
                for gpu in each.gpus:
                    load = sum(min(other.amounts["GPU"], 1) for other in at_once if gpu in other.gpus)
                    check(load <= 1.001, f"GPU {gpu} of node {node} may be used once at a time, and is {load:g} times")


def check_amounts(node: str, at_once: list[Use], has: Mapping[str, float]) -> None:
    """What goes on at the same time on a node needs no more than the node has."""
    for name in AMOUNTS:
        load, most = sum(each.amounts.get(name, 0) for each in at_once), has.get(name, 0)
        check(load <= most + 0.001, f"node {node} has {most:g} {name}, of which {load:g} are used at a time")


def check_gpus(what: str, found: Use) -> None:
    """What has a part of a GPU sees one, what has several sees all of them."""
    share = found.amounts.get("GPU", 0)
    check_equal(f"the number of GPUs of {what}, which needs {share:g}", len(set(found.gpus)), -int(-share // 1))


def crowd(machines: Machines, rounds: int) -> list[Use]:
    """Tasks with all kinds of wants, wherever there is room, while an actor holds its part."""
    holder: Any = Holder.options(scheduling_strategy=NodeLabelSchedulingStrategy({"disk": Exists()})).remote()
    wants = [WANTS[number % len(WANTS)] for number in range(rounds * len(WANTS))]
    refs = [
        work.options(**options).remote(amounts_of(options), 0.05 + number % 3 / 10)
        for number, options in enumerate(wants)
    ]
    calls = [holder.work.remote(0.05) for _ in range(10)]
    uses: list[Use] = ray.get([*refs, *calls])
    machines.look()
    for each in uses:
        check_gpus("a task or actor of a crowd", each)
    for each in uses[len(refs) :]:
        check("disk" in machines.labels.get(each.node, {"disk": ""}), "the actor must be on a node with a disk")
    ray.kill(holder)
    return uses


class Wish(NamedTuple):
    """Labels that a task must find, and labels that it prefers."""

    hard: dict[str, Any]
    soft: dict[str, Any]
    allows: Callable[[dict[str, str]], bool]


WISHES = (
    Wish({"disk": In("ssd", "nvme")}, {}, lambda labels: labels.get("disk") == "ssd"),
    Wish({"zone": NotIn("b")}, {"zone": In("c")}, lambda labels: labels.get("zone") != "b"),
    Wish({"rack": DoesNotExist(), "zone": Exists()}, {"zone": In("nowhere")}, lambda labels: "zone" in labels),
)
"""The head fulfils what must be, so that there is always a node."""


def by_labels(machines: Machines) -> list[Use]:
    """Tasks for nodes with labels run on such nodes; what is only preferred keeps none of them waiting."""
    wishes = [WISHES[number % len(WISHES)] for number in range(12)]
    refs = []
    for number, wish in enumerate(wishes):
        options: dict[str, Any] = {"num_gpus": 0.5} if number % 2 else {"resources": {"licence": 0.5}}
        where = NodeLabelSchedulingStrategy(wish.hard, wish.soft)
        refs.append(work.options(scheduling_strategy=where, **options).remote(amounts_of(options), 0.1))
    uses: list[Use] = ray.get(refs)
    machines.look()
    for each, wish in zip(uses, wishes, strict=True):
        labels = machines.labels.get(each.node)
        check(labels is None or wish.allows(labels), f"a task that needs {wish.hard} ran where there is {labels}")
    return uses


def on_nodes(machines: Machines) -> list[Use]:
    """Tasks bound to a node, and tasks that would rather be there: those may go elsewhere, the others only fail."""
    uses = []
    nodes = [node for node in machines.amounts if node not in machines.gone]
    bound = {node: work.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, False)) for node in nodes}
    drawn = {node: work.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, True)) for node in nodes}
    refs = [(node, task.remote({}, 0.2)) for node, task in bound.items() for _ in range(2)]
    soft = [task.remote({}, 0.2) for task in drawn.values() for _ in range(2)]
    for node, ref in refs:
        try:
            uses.append(ray.get(ref))
            check_equal("the node of a task that is bound to one", uses[-1].node, node)
        except TaskUnschedulableError:
            gone = partial(machines.is_going, node)
            eventually(f"node {node} refuses a task bound to it, so it must be lost", gone, PATIENCE)
    return uses + list(ray.get(soft))


def groups(machines: Machines) -> list[Use]:
    """Placement groups whose bundles need different things, of which some only some nodes have."""
    uses = []
    for strategy in ("PACK", "SPREAD", "STRICT_PACK"):
        bundles = [{"CPU": 0.5, "GPU": 1.0}, {"CPU": 0.5, "licence": 1.0}, {"CPU": 0.5, "memory": GIB}]
        labels = [{"disk": "ssd"}, {}, {}]
        group: Any = placement_group(bundles, strategy, bundle_label_selector=labels)
        inside = [PlacementGroupSchedulingStrategy(group, index) for index in range(len(bundles))]
        wants: list[dict[str, Any]] = [{"num_gpus": 0.5}, {"resources": {"licence": 1}}, {"memory": GIB}]
        refs = [
            work.options(scheduling_strategy=where, **options).remote(amounts_of(options), 0.1)
            for where, options in zip(inside, wants, strict=True)
            for _ in range(2)
        ]
        found: list[Use] = ray.get(refs)
        machines.look()
        for each in found[:2]:
            check_gpus(f"a task in a {strategy} group", each)
            disk = machines.labels.get(each.node, {"disk": "ssd"}).get("disk")
            check_equal("the disk of a bundle for nodes with an ssd", disk, "ssd")
        uses += found
        remove_placement_group(group)
    return uses


def refuse_the_impossible() -> None:
    """What no node could ever do is refused at once."""
    nowhere = NodeLabelSchedulingStrategy({"zone": In("nowhere")})
    for options in ({"num_gpus": 7}, {"resources": {"licence": 3}}, {"scheduling_strategy": nowhere}):
        try:
            ray.get(work.options(**options).remote({}, 0.0))
        except TaskUnschedulableError:
            continue
        raise CheckFailed(f"a task with {options} must be refused where no node could run it")


def is_free() -> bool:
    """Whether nobody uses anything that is scarce."""
    free, there = ray.available_resources(), ray.cluster_resources()
    return all(free.get(name, 0) == there.get(name, 0) for name in AMOUNTS)


def main(rounds: int = 5) -> None:
    """Crowds, places and groups; at the end everything is free."""
    own: dict[str, Any] = {
        "num_cpus": 2,
        "num_gpus": HEAD["gpus"],
        "resources": HEAD["resources"],
        "labels": HEAD["labels"],
    }
    ray.init(**own, ignore_reinit_error=True)
    machines = Machines()
    uses = crowd(machines, rounds) + by_labels(machines) + on_nodes(machines) + groups(machines)
    refuse_the_impossible()
    both = ray.get(work.options(num_gpus=2).remote({"GPU": 2.0}, 0.1))
    check_gpus("a task", both)
    machines.check_uses([*uses, both])
    eventually("all GPUs, licences and memory must be free at the end", is_free, PATIENCE)


if __name__ == "__main__":
    main()
