"""Faults with a figure do just what the figure says: no less, and no longer than they last."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest

import thornback as ray
from thornback.core.links import Frame
from thornback.faults import plan as p
from thornback.faults.plan import AnyFault, Plan
from thornback.simulator import compute, simulate
from thornback.simulator.links import UNRELIABLE, Endpoint, FrameArrival
from thornback.simulator.model import Model
from thornback.simulator.world import World
from thornback.util.scheduling_strategies import NodeAffinitySchedulingStrategy

BEGIN, END = 5.0, 10.0
"""When the faults of this file begin and end."""
LASTS: dict[str, Any] = {"at": BEGIN, "until": END}
MB = 1 << 20


@contextmanager
def cluster(*faults: AnyFault) -> Iterator[World]:
    """Two nodes with these faults, and a program that has just connected on the first."""
    with simulate(nodes=2, cpus=1, faults=Plan(faults=faults), time_limit=300) as world:
        ray.init()
        yield world
        ray.shutdown()


def sleep_until(world: World, moment: float) -> None:
    time.sleep(moment - world.now)


def placed(actor: Any, index: int, world: World) -> Any:
    """An actor that runs on that node."""
    where = NodeAffinitySchedulingStrategy(world.nodes[index].node_id.hex(), soft=False)
    made = actor.options(scheduling_strategy=where).remote()
    ray.get(made.clock.remote())
    return made


@ray.remote
class Machine:
    """Measures what happens on a node by its clock."""

    def clock(self) -> float:
        return time.time()

    def computing(self, seconds: float) -> float:
        begin = time.monotonic()
        compute(seconds)
        return time.monotonic() - begin

    def ticks(self, count: int, pause: float) -> list[float]:
        found = []
        for _ in range(count):
            time.sleep(pause)
            found.append(time.monotonic())
        return found

    def array(self, megabytes: int) -> np.ndarray:
        return np.ones(megabytes * MB, dtype=np.uint8)


def seconds_of(world: World, call: Any, *arguments: Any) -> float:
    """How long a call of an actor takes, from and to the first node."""
    begin = world.now
    ray.get(call.remote(*arguments))
    return world.now - begin


# --- Machines


def test_computing_takes_so_many_times_longer_on_a_slow_node_and_nowhere_else() -> None:
    with cluster(p.SlowNode(node=1, factor=4, **LASTS)) as world:
        here, there = (placed(Machine, index, world) for index in (0, 1))
        before = ray.get(there.computing.remote(1.0))
        sleep_until(world, BEGIN + 0.1)
        meanwhile = ray.get([here.computing.remote(1.0), there.computing.remote(1.0)])
        sleep_until(world, END + 0.1)
        after = ray.get(there.computing.remote(1.0))
    assert [before, *meanwhile, after] == pytest.approx([1, 1, 4, 1]), "the factor, on its node, while it lasts"


def test_processes_start_so_many_times_slower_on_a_slow_node() -> None:
    def start(*faults: AnyFault) -> float:
        with cluster(*faults) as world:
            sleep_until(world, BEGIN + 0.1)
            made = [Machine.options(num_cpus=0).remote() for _ in range(6)]
            return seconds_of(world, made[-1].clock)

    assert 0.015 < start() < 0.4
    assert start(p.SlowNode(node=0, factor=20, **LASTS), p.SlowNode(node=1, factor=20, **LASTS)) > 0.6


def test_nothing_happens_on_a_paused_node_until_the_pause_ends() -> None:
    with cluster(p.PauseNode(node=1, **LASTS)) as world:
        there = placed(Machine, 1, world)
        started = world.now
        moments = ray.get(there.ticks.remote(80, 0.1))
    passed = [started + moment - moments[0] for moment in moments]
    assert any(moment > END for moment in passed), "it goes on after the pause"
    assert not any(BEGIN + 0.2 < moment < END - 0.2 for moment in passed), "and does nothing meanwhile"


def test_a_worker_goes_on_when_the_last_of_its_pauses_and_those_of_its_node_has_ended() -> None:
    of_node = p.PauseNode(node=1, at=BEGIN, until=END)
    for inner, end in (
        (p.PauseWorker(node=1, at=BEGIN - 1, until=END - 2), END),
        (p.PauseWorker(node=1, at=BEGIN - 1, until=END + 2), END + 2),
        (p.PauseNode(node=1, at=BEGIN + 1, until=END - 2), END),
        (p.PauseNode(node=1, at=BEGIN + 1, until=END + 2), END + 2),
    ):
        with cluster(of_node, inner) as world:
            there = placed(Machine, 1, world)
            answer = there.computing.remote(BEGIN + 0.1)
            ray.get(answer)
            assert end <= world.now < end + 1, f"{inner} and {of_node} overlap: the later end counts"


def test_a_pause_ends_with_the_machine_that_was_paused() -> None:
    lost = p.CrashNode(node=1, at=BEGIN + 1, reboot_after=1)
    with cluster(p.PauseNode(node=1, **LASTS), lost, p.PauseNode(node=1, at=END - 1, until=END + 4)) as world:
        sleep_until(world, END - 1.1)
        assert not world.nodes[1].pauses, "the machine that has come back runs"
        sleep_until(world, END + 1)
        assert world.nodes[1].pauses, "and is paused as long as its own pause lasts"
        sleep_until(world, END + 5)
        assert not world.nodes[1].pauses


def test_faults_of_a_disk_that_overlap_end_each_by_itself() -> None:
    slow = [p.SlowDisk(node=1, factor=0.5, at=at, until=at + 2) for at in (1, 2)]
    failing = [p.SpillError(node=1, at=at, until=at + 2) for at in (1, 2)]
    with cluster(*slow, *failing) as world:
        disk = world.nodes[1].spill
        seen = []
        for moment in (0.9, 1.5, 2.5, 3.5, 4.5):
            sleep_until(world, moment)
            seen.append((disk.speed, bool(disk.refusal(1))))
    assert seen == [(1, False), (0.5, True), (0.25, True), (0.5, True), (1, False)]


def test_a_clock_drifts_by_so_many_parts_per_million() -> None:
    drift = 50_000
    with cluster(p.ClockDrift(node=1, parts_per_million=drift, at=BEGIN)) as world:
        here, there = (placed(Machine, index, world) for index in (0, 1))

        def ahead() -> float:
            there_now, here_now = ray.get([there.clock.remote(), here.clock.remote()])
            return float(there_now - here_now)

        before = ahead()
        sleep_until(world, BEGIN)
        at_begin = ahead()
        sleep_until(world, BEGIN + 20)
        assert at_begin - before == pytest.approx(0, abs=0.002), "it is right until then"
        assert ahead() - at_begin == pytest.approx(20 * drift / 1e6, abs=0.002)


# --- Links


def test_nothing_passes_a_cut_until_it_ends() -> None:
    with cluster(p.Cut(a=[0], b=[1], **LASTS)) as world:
        there = placed(Machine, 1, world)
        assert seconds_of(world, there.clock) < 0.01
        sleep_until(world, BEGIN + 0.5)
        started_at = world.now + seconds_of(world, there.clock)
        assert END <= started_at < END + 5, "what was sent meanwhile arrives afterwards"


def test_only_one_direction_passes_a_one_way_cut() -> None:
    with cluster(p.Cut(a=[1], b=[0], one_way=True, **LASTS)) as world:
        there = placed(Machine, 1, world)
        sleep_until(world, BEGIN + 0.5)
        (ran,) = ray.get(there.ticks.remote(1, 0.0))
        answered = time.monotonic()
        assert answered - ran > END - BEGIN - 1, "the request came through at once, the reply after the cut"


def test_messages_take_so_much_longer_in_each_direction() -> None:
    with cluster(p.Delay(a=[0], b=[1], seconds=0.2, jitter=0.1, **LASTS)) as world:
        there = placed(Machine, 1, world)
        usual = seconds_of(world, there.clock)
        sleep_until(world, BEGIN + 0.1)
        delayed = [seconds_of(world, there.clock) for _ in range(10)]
        sleep_until(world, END + 1)
        assert all(each - usual + 0.001 >= 0.4 and each <= 0.6 + 0.002 for each in delayed), delayed
        assert max(delayed) - min(delayed) > 0.02, "the jitter is random"
        assert seconds_of(world, there.clock) < 0.01


def test_a_transfer_takes_as_much_longer_as_there_is_less_bandwidth() -> None:
    factor, megabytes = 0.01, 32
    with cluster(p.Bandwidth(factor=factor, **LASTS)) as world:
        there = placed(Machine, 1, world)
        refs = [there.array.remote(megabytes) for _ in range(2)]
        ray.wait(refs, num_returns=2, fetch_local=False)
        durations = []
        for ref, moment in zip(refs, (world.now, BEGIN), strict=True):
            sleep_until(world, moment)
            begin = world.now
            assert ray.get(ref).nbytes == megabytes * MB
            durations.append(world.now - begin)
    wire = megabytes * MB / Model().bandwidth
    assert durations == pytest.approx([wire, wire / factor], rel=0.1), "the bytes, by the bandwidth that there is"


# --- Links that lose messages


class Frames(NamedTuple):
    """Frames with messages between two nodes; of each its sender, and its number among all transmissions."""

    sent: list[tuple[bytes, int]]
    """Repeated ones too."""
    arrived: list[tuple[bytes, int]]
    """In the order of arrival."""

    @property
    def overtaken(self) -> int:
        """How many have arrived after one that the same process sent later to the same one."""
        latest: Counter[bytes] = Counter()
        count = 0
        for sender, number in self.arrived:
            count += number < latest[sender]
            latest[sender] = max(number, latest[sender])
        return count


def frames_under(fault: AnyFault) -> Frames:
    """What 600 calls from the first node to the second, and their replies, go through."""
    frames = Frames([], [])
    numbers: dict[int, tuple[bytes, int]] = {}
    kept: list[Frame] = []
    transmit, arrive = Endpoint._transmit, FrameArrival.run

    def transmitting(end: Endpoint, frame: Frame) -> None:
        if frame.payload is not None and frame.number != UNRELIABLE:
            kept.append(frame)
            numbers[id(frame)] = end._process.address + end.peer.address, len(kept)
            frames.sent.append(numbers[id(frame)])
        transmit(end, frame)

    def arriving(arrival: FrameArrival) -> None:
        if id(arrival.frame) in numbers:
            frames.arrived.append(numbers[id(arrival.frame)])
        arrive(arrival)

    with cluster(fault) as world, pytest.MonkeyPatch.context() as patch:
        there = placed(Machine, 1, world)
        sleep_until(world, BEGIN + 0.1)
        patch.setattr(Endpoint, "_transmit", transmitting)
        patch.setattr(FrameArrival, "run", arriving)
        refs = []
        for _ in range(600):
            refs.append(there.clock.remote())
            time.sleep(0.002)
        moments = ray.get(refs)
        assert world.now < fault.end, "the calls were made while the fault lasted"
        time.sleep(0.5)
    assert moments == sorted(moments), "whatever happens to frames, calls run in order"
    assert len(frames.sent) > 600
    return frames


def test_messages_are_lost_at_the_rate_and_sent_again() -> None:
    frames = frames_under(p.Loss(rate=0.2, at=BEGIN, until=60))
    assert len(frames.arrived) / len(frames.sent) == pytest.approx(0.8, abs=0.04)


def test_messages_are_duplicated_at_the_rate() -> None:
    frames = frames_under(p.Duplicate(rate=0.3, **LASTS))
    assert len(frames.arrived) / len(frames.sent) == pytest.approx(1.3, abs=0.04)
    assert max(Counter(frames.arrived).values()) == 2


def test_messages_are_overtaken_at_the_rate() -> None:
    assert frames_under(p.Duplicate(rate=0.0, **LASTS)).overtaken == 0, "links keep the order"
    frames = frames_under(p.Reorder(rate=0.3, window=0.1, **LASTS))
    assert sorted(frames.arrived) == sorted(frames.sent), "none is lost, and none comes twice"
    assert 0.25 < frames.overtaken / len(frames.sent) < 0.34, "all that are held back, but for the last ones"
