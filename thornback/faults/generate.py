"""Random plans: storms of faults that end, so that what comes after must work again."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from thornback.faults import plan as p
from thornback.faults.plan import AnyFault, Plan


class _Storm:
    """Draws faults for a cluster of ``nodes`` nodes that begin and end within ``duration`` seconds."""

    def __init__(self, rng: random.Random, nodes: int, duration: float) -> None:
        self._rng = rng
        self._nodes = nodes
        self._duration = duration

    def _time(self, until: float = 1.0) -> float:
        return round(self._rng.random() * self._duration * until, 3)

    def _interval(self) -> tuple[float, float]:
        begin = self._time(0.8)
        length = 0.01 + self._rng.random() * (self._duration - begin)
        return begin, round(min(begin + length, self._duration), 3) + 0.001

    def _any_node(self) -> int:
        return self._rng.randrange(self._nodes)

    def _other_node(self) -> int:
        return self._rng.randrange(1, self._nodes)

    def _groups(self) -> tuple[list[int], list[int]]:
        order = list(range(self._nodes))
        self._rng.shuffle(order)
        size = self._rng.randrange(1, self._nodes)
        return sorted(order[:size]), sorted(order[size:])

    def crash_worker(self) -> AnyFault:
        if self._rng.random() < 0.5:
            return p.CrashWorker(node=self._any_node(), at=self._time())
        worker, replies = self._rng.randrange(4), self._rng.randrange(6)
        return p.CrashWorker(node=self._any_node(), worker=worker, after_replies=replies)

    def crash_node(self) -> AnyFault:
        reboot = None if self._rng.random() < 0.3 else round(0.1 + self._rng.random() * self._duration, 3)
        return p.CrashNode(node=self._other_node(), at=self._time(), reboot_after=reboot)

    def pause_node(self) -> AnyFault:
        begin, end = self._interval()
        return p.PauseNode(node=self._other_node(), at=begin, until=end)

    def slow_node(self) -> AnyFault:
        begin, end = self._interval()
        factor = round(1 + 9 * self._rng.random(), 2)
        return p.SlowNode(node=self._any_node(), factor=factor, at=begin, until=end)

    def slow_start(self) -> AnyFault:
        begin, end = self._interval()
        return p.SlowStart(node=self._any_node(), delay=round(3 * self._rng.random(), 3), at=begin, until=end)

    def failed_start(self) -> AnyFault:
        return p.FailedStart(node=self._any_node(), count=1 + self._rng.randrange(3), at=self._time())

    def cut(self) -> AnyFault:
        a, b = self._groups()
        begin, end = self._interval()
        return p.Cut(a=a, b=b, one_way=self._rng.random() < 0.3, at=begin, until=end)

    def loss(self) -> AnyFault:
        begin, end = self._interval()
        return p.Loss(rate=round(0.3 * self._rng.random(), 3), at=begin, until=end)

    def duplicate(self) -> AnyFault:
        begin, end = self._interval()
        return p.Duplicate(rate=round(0.3 * self._rng.random(), 3), at=begin, until=end)

    def reorder(self) -> AnyFault:
        begin, end = self._interval()
        window = round(0.05 * self._rng.random(), 4)
        return p.Reorder(rate=round(0.3 * self._rng.random(), 3), window=window, at=begin, until=end)

    def delay(self) -> AnyFault:
        a, b = self._groups()
        begin, end = self._interval()
        seconds = round(0.2 * self._rng.random(), 4)
        return p.Delay(a=a, b=b, seconds=seconds, jitter=seconds, at=begin, until=end)

    def bandwidth(self) -> AnyFault:
        begin, end = self._interval()
        return p.Bandwidth(factor=round(0.001 + 0.1 * self._rng.random(), 4), at=begin, until=end)

    def reset(self) -> AnyFault:
        a = self._any_node()
        b = (a + 1 + self._rng.randrange(self._nodes - 1)) % self._nodes
        return p.Reset(a=a, b=b, at=self._time())


ALONE = ("crash_worker", "slow_node", "slow_start", "failed_start")
"""Kinds that make sense on a single node."""
KINDS = (
    *ALONE,
    "crash_node",
    "pause_node",
    "cut",
    "loss",
    "duplicate",
    "reorder",
    "delay",
    "bandwidth",
    "reset",
)
"""Kinds that :func:`random_plan` draws from."""


def random_plan(
    seed: int | random.Random,
    nodes: int,
    duration: float = 20.0,
    faults: int = 6,
    kinds: Sequence[str] | None = None,
) -> Plan:
    """A random plan; equal arguments give an equal plan. The head (node 0) is never crashed or paused.

    Args:
        nodes: of the cluster.
        duration: seconds within which all faults that can end have ended.
        faults: most faults in the plan.
        kinds: what to draw from (by default all of :data:`KINDS` that the cluster is large enough for).

    Raises:
        ValueError: a kind is unknown or needs more nodes.
    """
    rng = seed if isinstance(seed, random.Random) else random.Random(seed)
    possible = ALONE if nodes < 2 else KINDS
    chosen = list(possible if kinds is None else kinds)
    wrong = [kind for kind in chosen if kind not in possible]
    if wrong:
        raise ValueError(f"no random fault {wrong[0]!r} for {nodes} nodes; there are {', '.join(possible)}")
    storm = _Storm(rng, nodes, duration)
    draws: list[Callable[[], AnyFault]] = [getattr(storm, rng.choice(chosen)) for _ in range(1 + rng.randrange(faults))]
    return Plan(faults=tuple(draw() for draw in draws), name=f"storm {seed}" if isinstance(seed, int) else "storm")
