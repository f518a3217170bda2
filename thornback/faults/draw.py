"""One random fault of each kind, with figures that hurt without making every run hopeless."""

from __future__ import annotations

import random
from collections.abc import Callable

from thornback.faults import plan as p
from thornback.faults.plan import AnyFault

TRIGGERS = (
    "ActorCreated",
    "BundlesReserved",
    "CreateActor",
    "Deaths",
    "LeaseGranted",
    "LeaseLost",
    "RegisterActor",
    "RegisterNode",
)
"""Messages in the middle of operations of several steps."""


class Draw:
    """Draws faults for a cluster of ``nodes`` nodes that begin and end within ``duration`` seconds."""

    def __init__(self, rng: random.Random, nodes: int, duration: float) -> None:
        self._rng = rng
        self._nodes = nodes
        self._duration = duration

    def fault(self, kind: str) -> AnyFault:
        """A fault of that kind, one of :data:`DRAWS`."""
        return DRAWS[kind](self)

    # --- Parts

    def _between(self, low: float, high: float) -> float:
        return round(low + (high - low) * self._rng.random(), 4)

    def _time(self, until: float = 1.0) -> float:
        return self._between(0, self._duration * until)

    def _interval(self) -> tuple[float, float]:
        begin = self._time(0.8)
        length = 0.01 + self._rng.random() * (self._duration - begin)
        return begin, round(min(begin + length, self._duration), 3) + 0.001

    def _short(self, most: float) -> tuple[float, float]:
        begin = self._time(0.8)
        return begin, round(min(begin + self._between(0.05, most), self._duration), 3) + 0.001

    def _any_node(self) -> int:
        return self._rng.randrange(self._nodes)

    def _other_node(self) -> int:
        return self._rng.randrange(1, self._nodes)

    def _groups(self) -> tuple[list[int], list[int]]:
        order = list(range(self._nodes))
        self._rng.shuffle(order)
        size = self._rng.randrange(1, self._nodes)
        return sorted(order[:size]), sorted(order[size:])

    def _reboot(self, never: float = 0.3) -> float | None:
        return None if self._rng.random() < never else self._between(0.1, self._duration)

    def _message(self) -> str:
        return self._rng.choice(TRIGGERS)

    # --- Processes

    def _crash_worker(self) -> AnyFault:
        if self._rng.random() < 0.4:
            return p.CrashWorker(node=self._any_node(), at=self._time())
        moment = self._rng.choice(("before_running", "running", "before_reply", "after_reply"))
        return p.CrashWorker(node=self._any_node(), moment=moment, nth=1 + self._rng.randrange(8))  # type: ignore[arg-type]

    def _crash_owner(self) -> AnyFault:
        return p.CrashOwner(node=self._any_node(), at=self._time())

    def _crash_driver(self) -> AnyFault:
        return p.CrashDriver(node=self._any_node(), at=self._time())

    def _pause_worker(self) -> AnyFault:
        begin, end = self._interval()
        return p.PauseWorker(node=self._any_node(), at=begin, until=end)

    def _out_of_memory(self) -> AnyFault:
        return p.OutOfMemory(node=self._any_node(), at=self._time())

    def _slow_start(self) -> AnyFault:
        begin, end = self._interval()
        return p.SlowStart(node=self._any_node(), delay=self._between(0, 3), at=begin, until=end)

    def _failed_start(self) -> AnyFault:
        return p.FailedStart(node=self._any_node(), count=1 + self._rng.randrange(3), at=self._time())

    # --- Machines

    def _crash_node(self) -> AnyFault:
        if self._rng.random() < 0.2:
            after = p.Trigger(event="task.rebuilding", delay=self._between(0, 0.1))
            return p.CrashNode(node=self._other_node(), after=after, reboot_after=self._reboot())
        return p.CrashNode(node=self._other_node(), at=self._time(), reboot_after=self._reboot())

    def _crash_raylet(self) -> AnyFault:
        restart = self._between(0.1, 3)
        return p.CrashRaylet(node=self._other_node(), at=self._time(), restart_after=restart)

    def _crash_rack(self) -> AnyFault:
        order = list(range(1, self._nodes))
        self._rng.shuffle(order)
        nodes = sorted(order[: 1 + self._rng.randrange(max(1, len(order) // 2))])
        return p.CrashRack(nodes=nodes, at=self._time(), spread=self._between(0, 0.2), reboot_after=self._reboot(0.2))

    def _preempt_node(self) -> AnyFault:
        notice = self._between(0.1, 5)
        return p.PreemptNode(node=self._other_node(), at=self._time(), notice=notice, reboot_after=self._reboot())

    def _launch_nodes(self) -> AnyFault:
        count = 1 + self._rng.randrange(3)
        arrive = self._rng.randrange(count + 1)
        return p.LaunchNodes(at=self._time(), count=count, arrive=arrive, delay=self._between(0, self._duration / 2))

    def _crash_gcs(self) -> AnyFault:
        restart = self._between(0.05, 3)
        unsynced = self._rng.choice(("lost", "kept"))
        if self._rng.random() < 0.5:
            after = p.Trigger(message=self._message(), count=1 + self._rng.randrange(6))
            return p.CrashGcs(after=after, restart_after=restart, unsynced=unsynced)  # type: ignore[arg-type]
        return p.CrashGcs(at=self._time(), restart_after=restart, unsynced=unsynced)  # type: ignore[arg-type]

    def _slow_commits(self) -> AnyFault:
        begin, end = self._interval()
        return p.SlowCommits(delay=self._between(0, 0.2), at=begin, until=end)

    def _late_heartbeats(self) -> AnyFault:
        begin, end = self._interval()
        return p.LateHeartbeats(node=self._other_node(), at=begin, until=end)

    def _pause_node(self) -> AnyFault:
        begin, end = self._interval()
        return p.PauseNode(node=self._other_node(), at=begin, until=end)

    def _pause_raylet(self) -> AnyFault:
        begin, end = self._interval()
        return p.PauseRaylet(node=self._any_node(), at=begin, until=end)

    def _slow_node(self) -> AnyFault:
        begin, end = self._interval()
        return p.SlowNode(node=self._any_node(), factor=self._between(1, 10), at=begin, until=end)

    def _clock_step(self) -> AnyFault:
        return p.ClockStep(node=self._any_node(), seconds=self._between(0, 2 * self._duration), at=self._time())

    def _clock_drift(self) -> AnyFault:
        drift = self._between(-50_000, 50_000)
        return p.ClockDrift(node=self._any_node(), parts_per_million=drift, at=self._time())

    # --- Links

    def _cut(self) -> AnyFault:
        a, b = self._groups()
        bridge = self._rng.random() < 0.25
        if bridge and len(a) > 1:
            a = a[1:]
        begin, end = self._interval()
        return p.Cut(a=a, b=b, one_way=not bridge and self._rng.random() < 0.3, at=begin, until=end)

    def _loss(self) -> AnyFault:
        begin, end = self._interval()
        return p.Loss(rate=self._between(0, 0.3), at=begin, until=end)

    def _duplicate(self) -> AnyFault:
        begin, end = self._interval()
        return p.Duplicate(rate=self._between(0, 0.3), at=begin, until=end)

    def _reorder(self) -> AnyFault:
        begin, end = self._interval()
        return p.Reorder(rate=self._between(0, 0.3), window=self._between(0, 0.05), at=begin, until=end)

    def _delay(self) -> AnyFault:
        a, b = self._groups()
        begin, end = self._interval()
        seconds = self._between(0, 0.2)
        return p.Delay(a=a, b=b, seconds=seconds, jitter=seconds, at=begin, until=end)

    def _bandwidth(self) -> AnyFault:
        begin, end = self._interval()
        return p.Bandwidth(factor=self._between(0.001, 0.1), at=begin, until=end)

    def _reset(self) -> AnyFault:
        a = self._any_node()
        b = (a + 1 + self._rng.randrange(self._nodes - 1)) % self._nodes
        if self._rng.random() < 0.3:
            return p.Reset(a=a, b=b, after=p.Trigger(message="ObjectChunk", count=1 + self._rng.randrange(4)))
        return p.Reset(a=a, b=b, at=self._time())

    def _lose_message(self) -> AnyFault:
        return p.LoseMessage(message=self._message(), count=1 + self._rng.randrange(3), at=self._time())

    # --- Links inside of nodes

    def _inside(self) -> tuple[list[int] | None, p.Within]:
        nodes = None if self._rng.random() < 0.3 else self._groups()[0] if self._nodes > 1 else [0]
        return nodes, self._rng.choice(("all", "driver_node", "worker_node", "owner_worker"))

    def _cut_within(self) -> AnyFault:
        nodes, within = self._inside()
        begin, end = self._interval()
        return p.Cut(a=nodes, within=within, at=begin, until=end)

    def _delay_within(self) -> AnyFault:
        nodes, within = self._inside()
        begin, end = self._interval()
        seconds = self._between(0, 0.05)
        return p.Delay(a=nodes, within=within, seconds=seconds, jitter=seconds, at=begin, until=end)

    def _bandwidth_within(self) -> AnyFault:
        nodes, within = self._inside()
        begin, end = self._interval()
        return p.Bandwidth(a=nodes, within=within, factor=self._between(0.001, 0.1), at=begin, until=end)

    # --- Storage

    def _fill_store(self) -> AnyFault:
        begin, end = self._short(3)
        return p.FillStore(node=self._any_node(), fraction=self._between(0.2, 1), at=begin, until=end)

    def _evict_copies(self) -> AnyFault:
        return p.EvictCopies(node=self._any_node(), at=self._time())

    def _spill_error(self) -> AnyFault:
        begin, end = self._short(3)
        return p.SpillError(node=self._any_node(), at=begin, until=end)

    def _torn_spill(self) -> AnyFault:
        return p.TornSpill(node=self._any_node(), count=1 + self._rng.randrange(2), at=self._time())

    def _corrupt_spill(self) -> AnyFault:
        return p.CorruptSpill(node=self._any_node(), at=self._time())

    def _slow_disk(self) -> AnyFault:
        begin, end = self._interval()
        return p.SlowDisk(node=self._any_node(), factor=self._between(0.01, 0.5), at=begin, until=end)

    def _corrupt_chunk(self) -> AnyFault:
        return p.CorruptChunk(node=self._any_node(), count=1 + self._rng.randrange(3), at=self._time())


WITHIN = ("cut_within", "delay_within", "bandwidth_within")
"""Faults of links that happen inside of nodes, as kinds of their own to draw from."""
DRAWS: dict[str, Callable[[Draw], AnyFault]] = {kind: getattr(Draw, f"_{kind}") for kind in (*p.KINDS, *WITHIN)}
"""How each kind is drawn."""
NEEDS_OTHERS = frozenset(
    kind
    for kind in p.KINDS
    if kind
    in (
        *("crash_node", "crash_raylet", "crash_rack", "preempt_node", "late_heartbeats", "pause_node"),
        *("cut", "loss", "duplicate", "reorder", "delay", "bandwidth", "reset", "lose_message", "corrupt_chunk"),
    )
)
"""Kinds that make no sense on a single node."""
