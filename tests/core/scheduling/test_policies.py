"""Placement policies never choose a node that they must not, and choose what they promise."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from thornback.core.config import Config
from thornback.core.messages import NodeView, Strategy
from thornback.core.resources import UNIT, fits
from thornback.core.scheduling import registry
from thornback.core.scheduling.feasibility import allowed, is_feasible, why_infeasible
from thornback.core.scheduling.labels import matches
from thornback.core.scheduling.policies import hybrid, labels, place, spread, utilization
from thornback.core.scheduling.request import PlacementRequest
from thornback.core.scheduling.view import ClusterView

CONFIG = Config()
LABEL_VALUES = st.sampled_from(["a", "b", "c"])
AMOUNTS = st.integers(0, 4).map(lambda count: count * UNIT // 2)


ANYWHERE = Strategy()


def asking(
    demand: dict[str, int], local: bytes = b"", strategy: Strategy = ANYWHERE, seed: int = 1
) -> PlacementRequest:
    return PlacementRequest(demand, local, strategy, CONFIG, random.Random(seed))


@st.composite
def node_views(draw: st.DrawFn, number: int = 0) -> NodeView:
    total = {"CPU": draw(AMOUNTS), "GPU": draw(AMOUNTS), "license": draw(AMOUNTS)}
    total = {name: count for name, count in total.items() if count}
    available = {name: draw(st.integers(0, count)) for name, count in total.items()}
    return NodeView(
        number.to_bytes(8, "big"),
        draw(st.integers(0, 5)),
        f"node-{number}",
        total,
        available,
        draw(st.dictionaries(st.sampled_from(["zone", "disk"]), LABEL_VALUES)),
        alive=draw(st.booleans() | st.just(True)),
        draining=draw(st.sampled_from([False, False, False, True])),
    )


@st.composite
def clusters(draw: st.DrawFn, most: int = 6) -> list[NodeView]:
    return [draw(node_views(number)) for number in range(draw(st.integers(0, most)))]


SELECTORS = st.lists(
    st.tuples(
        st.sampled_from(["zone", "disk"]),
        st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
        st.lists(LABEL_VALUES, min_size=1, max_size=2).map(tuple),
    ),
    max_size=2,
).map(tuple)
DEMANDS = st.dictionaries(st.sampled_from(["CPU", "GPU", "license"]), st.integers(1, 2 * UNIT), max_size=2)


@st.composite
def strategies(draw: st.DrawFn) -> Strategy:
    kind = draw(st.sampled_from(["DEFAULT", "SPREAD", "NODE", "LABELS", "RANDOM", "POWER_OF_TWO", "MEMORY"]))
    node = draw(st.integers(0, 6)).to_bytes(8, "big") if kind == "NODE" else b""
    hard = draw(SELECTORS) if kind == "LABELS" else ()
    preferred = draw(SELECTORS) if kind == "LABELS" else ()
    return Strategy(kind, node, draw(st.booleans()), hard, preferred)


@given(DEMANDS, clusters(), strategies(), st.integers())
@settings(max_examples=400, deadline=None)
def test_no_policy_chooses_a_node_without_room_or_permission(
    demand: dict[str, int], nodes: list[NodeView], strategy: Strategy, seed: int
) -> None:
    chosen = place(asking(demand, (0).to_bytes(8, "big"), strategy, seed), nodes)
    open_to_it = [node for node in nodes if allowed(node, strategy) and fits(demand, node.available)]
    if chosen is None:
        if strategy.kind != "NODE":
            assert not open_to_it, f"{strategy.kind} chose none of {[node.name for node in open_to_it]}"
        return
    node = next(node for node in nodes if node.node_id == chosen)
    assert node in open_to_it, f"{strategy.kind} chose {node}, which has no room or must not be used"


@given(DEMANDS, clusters(), strategies(), st.integers())
@settings(deadline=None)
def test_equal_random_numbers_give_equal_choices(
    demand: dict[str, int], nodes: list[NodeView], strategy: Strategy, seed: int
) -> None:
    local = (0).to_bytes(8, "big")
    choices = {place(asking(demand, local, strategy, seed), nodes) for _ in range(3)}
    assert len(choices) == 1


@given(DEMANDS, clusters(), st.integers())
@settings(deadline=None)
def test_spread_chooses_a_least_used_node(demand: dict[str, int], nodes: list[NodeView], seed: int) -> None:
    strategy = Strategy("SPREAD")
    chosen = spread(asking(demand, b"", strategy, seed), nodes)
    fitting = [node for node in nodes if allowed(node, strategy) and fits(demand, node.available)]
    if not fitting:
        assert chosen is None
        return
    least = min(utilization(demand, node) for node in fitting)
    assert chosen in [node.node_id for node in fitting if utilization(demand, node) == least]


def cluster_of(count: int, cpus: int = 4) -> list[NodeView]:
    amounts = {"CPU": cpus * UNIT}
    return [NodeView(number.to_bytes(8, "big"), 1, f"node-{number}", amounts, amounts, {}) for number in range(count)]


@given(st.integers(2, 300), st.integers())
@settings(max_examples=50, deadline=None)
def test_spread_reaches_every_node_of_a_cluster_of_equals(count: int, seed: int) -> None:
    view = ClusterView()
    for node in cluster_of(count):
        view.apply(node)
    asked = asking({"CPU": UNIT}, b"", Strategy("SPREAD"), seed)
    used: dict[bytes, int] = {}
    for _ in range(count):
        chosen = spread(asked, view.alive())
        assert chosen is not None
        used[chosen] = used.get(chosen, 0) + 1
        view.debit(chosen, {"CPU": UNIT})
    assert max(used.values()) <= 2 if count > 64 else max(used.values()) == 1


def test_the_default_packs_the_local_node_first_and_then_the_others() -> None:
    view = ClusterView()
    for node in cluster_of(3):
        view.apply(node)
    local = (1).to_bytes(8, "big")
    chosen = []
    for _ in range(6):
        node_id = hybrid(asking({"CPU": UNIT}, local), view.alive())
        assert node_id is not None
        chosen.append(node_id)
        view.debit(node_id, {"CPU": UNIT})
    assert chosen[:2] == [local, local], "up to the threshold of one half, tasks stay here"
    assert sorted(set(chosen[2:])) == [(0).to_bytes(8, "big"), (2).to_bytes(8, "big")]


def test_work_without_gpus_avoids_nodes_that_have_some() -> None:
    gpu = NodeView(b"gpu-node", 1, "gpu", {"CPU": UNIT, "GPU": UNIT}, {"CPU": UNIT, "GPU": UNIT}, {})
    plain = NodeView(b"cpu-node", 1, "cpu", {"CPU": UNIT}, {"CPU": UNIT}, {})
    assert hybrid(asking({"CPU": UNIT}, b"gpu-node"), [gpu, plain]) == b"cpu-node"
    assert hybrid(asking({"GPU": UNIT}, b"cpu-node"), [plain, gpu]) == b"gpu-node"


def test_preferred_labels_win_while_they_have_room() -> None:
    preferred = (("zone", "In", ("a",)),)
    near = NodeView(b"node-one", 1, "near", {"CPU": UNIT}, {"CPU": UNIT}, {"zone": "a"})
    far = NodeView(b"node-two", 1, "far", {"CPU": UNIT}, {"CPU": UNIT}, {"zone": "b"})
    strategy = Strategy("LABELS", preferred=preferred)
    assert labels(asking({"CPU": UNIT}, b"node-two", strategy), [far, near]) == b"node-one"
    full = NodeView(b"node-one", 2, "near", {"CPU": UNIT}, {}, {"zone": "a"})
    assert labels(asking({"CPU": UNIT}, b"node-two", strategy), [far, full]) == b"node-two"


def test_label_operators_mean_what_they_say() -> None:
    here = {"zone": "a"}
    cases: list[tuple[Any, bool]] = [
        (("zone", "In", ("a", "b")), True),
        (("zone", "In", ("b",)), False),
        (("zone", "NotIn", ("a",)), False),
        (("disk", "NotIn", ("a",)), True),
        (("zone", "Exists", ()), True),
        (("disk", "Exists", ()), False),
        (("disk", "DoesNotExist", ()), True),
        (("zone", "DoesNotExist", ()), False),
    ]
    for selector, expected in cases:
        assert matches(here, [selector]) is expected, selector


@given(DEMANDS, clusters(), strategies(), st.integers())
@settings(deadline=None)
def test_what_is_placed_was_feasible(
    demand: dict[str, int], nodes: list[NodeView], strategy: Strategy, seed: int
) -> None:
    if place(asking(demand, b"", strategy, seed), nodes) is not None:
        assert is_feasible(demand, nodes, strategy)


def test_an_infeasible_demand_is_explained_with_numbers() -> None:
    text = why_infeasible("task f", {"CPU": 9 * UNIT}, cluster_of(2), ANYWHERE)
    assert "task f needs {CPU: 9}" in text and "{CPU: 4}" in text
    text = why_infeasible("task f", {"TPU": UNIT}, cluster_of(2), ANYWHERE)
    assert "TPU" in text and "{TPU: 0}" in text


def test_a_dead_node_stays_dead_whatever_arrives_late() -> None:
    view = ClusterView()
    (node,) = cluster_of(1)
    view.apply(node)
    view.died(node.node_id)
    assert not view.apply(NodeView(node.node_id, 99, node.name, node.total, node.total, {}))
    assert view.alive() == []


def test_stale_news_of_a_node_is_ignored() -> None:
    view = ClusterView()
    (node,) = cluster_of(1)
    newer = NodeView(node.node_id, 5, node.name, node.total, {}, {})
    assert view.apply(newer)
    assert not view.apply(node)
    assert view.alive() == [newer]


def test_power_of_two_takes_the_less_used_of_what_it_draws() -> None:
    free, busy = cluster_of(2)
    busy = NodeView(busy.node_id, 1, "busy", busy.total, {"CPU": UNIT}, {})
    chosen = [place(asking({"CPU": UNIT}, b"", Strategy("POWER_OF_TWO"), seed), [busy, free]) for seed in range(200)]
    assert chosen.count(free.node_id) > chosen.count(busy.node_id) > 0


def test_memory_aware_placement_takes_the_node_with_most_memory_free() -> None:
    nodes = []
    for number, memory in enumerate([10, 30, 20]):
        amounts = {"CPU": UNIT, "memory": memory}
        nodes.append(NodeView(number.to_bytes(8, "big"), 1, f"node-{number}", amounts, amounts, {}))
    strategy = Strategy("MEMORY")
    assert place(asking({"memory": 5}, b"", strategy), nodes) == nodes[1].node_id
    assert place(asking({"memory": 40}, b"", strategy), nodes) is None


def test_a_policy_of_the_user_sees_the_nodes_with_room_and_is_obeyed_only_among_them() -> None:
    nodes = cluster_of(3)
    full = NodeView(nodes[2].node_id, 2, "full", nodes[2].total, {}, {})
    seen: list[list[str]] = []

    def last(demand: dict[str, float], shown: list[dict[str, Any]], numbers: Any) -> Any:
        seen.append([node["name"] for node in shown])
        return shown[-1]

    registry.register("last", last)
    registry.register("stubborn", lambda demand, shown, numbers: full.node_id.hex())
    registry.register("broken", lambda demand, shown, numbers: 1 / 0)
    views = [nodes[0], nodes[1], full]
    assert place(asking({"CPU": UNIT}, b"", Strategy("last")), views) == nodes[1].node_id
    assert seen == [["node-0", "node-1"]]
    for name in ("stubborn", "broken"):
        chosen = place(asking({"CPU": UNIT}, b"", Strategy(name)), views)
        assert chosen == nodes[0].node_id, f"policy {name!r} gives no usable answer: the first node with room is taken"


class Time:
    def __init__(self) -> None:
        self.now = 0


def test_what_was_sent_to_a_node_is_missing_in_reports_that_were_made_before() -> None:
    time = Time()
    view = ClusterView(lambda: time.now, delay=20, patience=300)
    (node,) = cluster_of(1)
    view.apply(node)
    view.debit(node.node_id, {"CPU": UNIT})
    time.now = 10
    view.apply(NodeView(node.node_id, 2, node.name, node.total, node.total, {}))
    assert view.alive()[0].available == {"CPU": 3 * UNIT}, "the report is too young to show what was sent"
    time.now = 30
    view.apply(NodeView(node.node_id, 3, node.name, node.total, {"CPU": 3 * UNIT}, {}))
    assert view.alive()[0].available == {"CPU": 3 * UNIT}, "it is not deducted twice"
    time.now = 1000
    assert view.alive()[0].available == {"CPU": 3 * UNIT}


def test_what_was_sent_and_never_arrived_is_given_up() -> None:
    time = Time()
    view = ClusterView(lambda: time.now, delay=20, patience=300)
    (node,) = cluster_of(1)
    view.apply(node)
    view.debit(node.node_id, {"CPU": UNIT})
    time.now = 200
    assert view.alive()[0].available == {"CPU": 3 * UNIT}
    time.now = 301
    assert view.alive()[0].available == {"CPU": 4 * UNIT}, "nobody reported it: it has gone elsewhere"
    view.debit(node.node_id, {"CPU": UNIT})
    view.apply(NodeView(node.node_id, 2, node.name, node.total, node.total, {}), is_own=True)
    assert view.alive()[0].available == {"CPU": 4 * UNIT}, "a node knows best what is free on it"


def test_what_comes_free_is_counted_once() -> None:
    time = Time()
    view = ClusterView(lambda: time.now, delay=20, patience=300)
    (node,) = cluster_of(1)
    view.apply(node)
    view.debit(node.node_id, {"CPU": UNIT})
    view.credit(node.node_id, {"CPU": UNIT})
    assert view.alive()[0].available == {"CPU": 4 * UNIT}
    view.apply(NodeView(node.node_id, 2, node.name, node.total, node.total, {}))
    assert view.alive()[0].available == {"CPU": 4 * UNIT}, "neither what was sent nor what came back is outstanding"
    time.now = 1000
    assert view.alive()[0].available == {"CPU": 4 * UNIT}
