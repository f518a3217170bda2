"""How long does one placement decision take on a view of 1,000 nodes? Prints the median and the 99th percentile."""

from __future__ import annotations

import argparse
import random
import statistics
import time

from thornback.core.config import Config
from thornback.core.messages import NodeView, Strategy
from thornback.core.resources import UNIT
from thornback.core.scheduling.policies import place
from thornback.core.scheduling.request import PlacementRequest
from thornback.core.scheduling.view import ClusterView

GB = 1 << 30


def cluster(count: int, numbers: random.Random, most: int = 16) -> ClusterView:
    """Nodes of three sorts, in use at random (``most`` of 16 CPUs at most)."""
    view = ClusterView()
    for number in range(count):
        total = {"CPU": 16 * UNIT, "memory": 64 * GB, "object_store_memory": 16 * GB}
        if number % 10 == 0:
            total["GPU"] = 4 * UNIT
        used = numbers.randrange(most + 1)
        available = dict(total, CPU=(16 - used) * UNIT, memory=(64 - 4 * used) * GB)
        zone = {"zone": "abc"[number % 3]}
        view.apply(NodeView(number.to_bytes(8, "big"), 1, f"node-{number}", total, available, zone))
    return view


STRATEGIES = {
    "DEFAULT": Strategy(),
    "SPREAD": Strategy("SPREAD"),
    "RANDOM": Strategy("RANDOM"),
    "POWER_OF_TWO": Strategy("POWER_OF_TWO"),
    "MEMORY": Strategy("MEMORY"),
    "LABELS": Strategy("LABELS", hard=(("zone", "In", ("a", "b")),), preferred=(("zone", "In", ("b",)),)),
    "NODE": Strategy("NODE", node=(77).to_bytes(8, "big"), soft=True),
}


def measure(nodes: int, decisions: int, most: int = 16) -> dict[str, tuple[float, float, float]]:
    """Median and 99th percentile of a decision, and the median of the bookkeeping after it, in microseconds."""
    results = {}
    for name, strategy in STRATEGIES.items():
        numbers = random.Random(1)
        view = cluster(nodes, numbers, most)
        held: list[tuple[bytes, dict[str, int]]] = []
        times, updates = [], []
        for number in range(decisions):
            demand = {"CPU": (1 + number % 4) * UNIT}
            start = time.perf_counter_ns()
            chosen = place(PlacementRequest(demand, (5).to_bytes(8, "big"), strategy, Config(), numbers), view.alive())
            middle = time.perf_counter_ns()
            if chosen is not None:
                view.debit(chosen, demand)
                held.append((chosen, demand))
                updates.append((time.perf_counter_ns() - middle) / 1000)
            if len(held) > nodes or chosen is None:
                for node_id, amounts in held[: len(held) // 2]:
                    view.debit(node_id, {key: -amount for key, amount in amounts.items()})
                del held[: len(held) // 2]
            times.append((middle - start) / 1000)
        times.sort()
        results[name] = statistics.median(times), times[int(0.99 * len(times))], statistics.median(updates or [0.0])
    return results


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--decisions", type=int, default=3000)
    options = parser.parse_args()
    for title, most in (("half used", 16), ("nearly full", 0)):
        print(f"{options.nodes} nodes, {title}:  median   99 %   update  (us)")
        for name, row in measure(options.nodes, options.decisions, most).items():
            print(f"  {name:14}" + "".join(f"{value:9.1f}" for value in row))


if __name__ == "__main__":
    main()
