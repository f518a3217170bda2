"""What each kind of fault does, and that what it broke works again."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import thornback as ray
from thornback.api import current
from thornback.faults import plan as p
from thornback.faults.plan import AnyFault, Plan, Trigger
from thornback.simulator import simulate
from thornback.simulator.attach import attach
from thornback.simulator.world import World

MB = 1 << 20
LOG: list[tuple[str, float]] = []
"""What tasks did and when."""


def note(what: str) -> None:
    """Add to the log of this module, which all simulated processes share."""
    log: list[tuple[str, float]] = sys.modules[__name__].LOG
    log.append((what, time.monotonic()))


@contextmanager
def cluster(*faults: AnyFault, nodes: int = 3, **options: Any) -> Iterator[World]:
    """A simulated cluster with these faults and a program that has just connected."""
    LOG.clear()
    with simulate(nodes=nodes, cpus=1, faults=Plan(faults=faults), time_limit=300, **options) as world:
        ray.init()
        yield world
        ray.shutdown()


def sleep_until(world: World, moment: float) -> None:
    time.sleep(max(0.0, moment - world.now))


def on(index: int, world: World) -> Any:
    """The scheduling strategy for one node."""
    return ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(world.nodes[index].node_id.hex(), soft=True)


@ray.remote
def work(seconds: float = 0.2) -> int:
    note("begin")
    time.sleep(seconds)
    note("end")
    return os.getpid()


@ray.remote(max_retries=-1)
def large(value: int, megabytes: int = 4) -> np.ndarray:
    return np.full(megabytes * MB // 8, value, dtype=np.int64)


@ray.remote
class Keeper:
    def put(self, value: Any) -> list[Any]:
        return [ray.put(value)]

    def read(self, refs: list[Any]) -> int:
        return int(ray.get(refs[0])[0])

    def ping(self) -> float:
        return time.time()

    def uptime(self) -> float:
        return time.monotonic()


def happened(what: str) -> int:
    return sum(kind == what for kind, _ in LOG)


# --- Processes


def test_a_task_whose_worker_dies_before_it_starts_runs_once_elsewhere() -> None:
    with cluster(p.CrashWorker(node=0, moment="before_running"), nodes=1):
        ray.get(work.options(max_retries=0).remote())
        assert (happened("begin"), happened("end")) == (1, 1)


def test_a_task_whose_worker_dies_while_it_runs_needs_a_retry() -> None:
    for retries in (0, 1):
        with cluster(p.CrashWorker(node=0, moment="running"), nodes=1):
            ref = work.options(max_retries=retries).remote()
            if retries:
                ray.get(ref)
            else:
                with pytest.raises(ray.exceptions.WorkerCrashedError):
                    ray.get(ref)
            assert (happened("begin"), happened("end")) == (1 + retries, retries)


def test_a_task_whose_worker_dies_before_the_reply_has_run_and_runs_again() -> None:
    with cluster(p.CrashWorker(node=0, moment="before_reply"), nodes=1):
        ray.get(work.options(max_retries=1).remote())
        assert (happened("begin"), happened("end")) == (2, 2)


def test_a_task_whose_worker_dies_after_the_reply_has_counted() -> None:
    with cluster(p.CrashWorker(node=0, moment="after_reply", nth=2), nodes=1):
        pids = [ray.get(work.options(max_retries=0).remote(0.01)) for _ in range(4)]
        assert happened("begin") == 4
        assert pids[0] == pids[1] != pids[2] == pids[3], "the worker died after its second reply"


def test_an_owner_that_dies_takes_its_objects_along() -> None:
    with cluster(p.CrashOwner(node=1, at=5)) as world:
        keeper = Keeper.options(scheduling_strategy=on(1, world), max_restarts=1).remote()
        (ref,) = ray.get(keeper.put.remote("x"))
        assert ray.get(ref) == "x"
        other = ray.get(keeper.put.remote(np.ones(MB)))
        sleep_until(world, 6)
        with pytest.raises(ray.exceptions.OwnerDiedError):
            ray.get(other[0])
        assert ray.get(keeper.ping.options(max_task_retries=3).remote()) > 0, "the actor was restarted"


def test_a_driver_that_dies_takes_its_job_along() -> None:
    with cluster(p.CrashDriver(at=5)) as world:
        mine, other = current.runtime, attach(namespace="other")
        next(each for each in world.nodes[0].drivers.values() if each.runtime is other).is_program = False
        current.runtime = other
        Keeper.options(name="detached", lifetime="detached", namespace="other").remote()
        mortal = Keeper.options(name="mortal", namespace="other").remote()
        ray.get(mortal.ping.remote())
        current.runtime = mine
        assert ray.get(ray.get_actor("mortal", "other").ping.remote())
        del mortal
        sleep_until(world, 7)
        with pytest.raises(ValueError, match="mortal"):
            ray.get_actor("mortal", "other")
        assert ray.get(ray.get_actor("detached", "other").ping.remote())
        assert ray.get(work.remote(0.1))
        ray.kill(ray.get_actor("detached", "other"))


def test_a_paused_worker_goes_on_as_if_nothing_had_happened() -> None:
    with cluster(p.PauseWorker(node=0, after=Trigger(event="task.started"), lasting=3), nodes=1):
        begin = time.monotonic()
        ray.get(work.options(max_retries=0).remote(0.5))
        assert 3 <= time.monotonic() - begin < 4
        assert happened("begin") == 1


def test_a_worker_is_ended_when_memory_is_short() -> None:
    fault = p.OutOfMemory(node=0, after=Trigger(event="task.started", delay=0.1))
    with cluster(fault, nodes=1), pytest.raises(ray.exceptions.OutOfMemoryError):
        ray.get(work.options(max_retries=0).remote())
    with cluster(fault, nodes=1):
        ray.get(work.options(max_retries=3).remote())
        assert happened("begin") == 2


def test_workers_start_slowly_and_fail_to_start() -> None:
    durations = []
    for faults in ((), (p.SlowStart(node=0, delay=2),), (p.FailedStart(node=0, count=3),)):
        with cluster(*faults, nodes=1, config={"prestart_workers": False}) as world:
            ray.get(work.remote(0))
            durations.append(time.monotonic())
            assert world.nodes[0].workers_started == 1, "those that failed were never up"
    usual, slow, failed = durations
    assert slow > usual + 1.9
    assert failed > usual + 3 * 0.02


# --- Machines


def alive(world: World) -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def test_orphans_of_a_raylet_run_on_for_a_moment_and_the_node_comes_back_as_another() -> None:
    with cluster(p.CrashRaylet(node=1, at=1, orphans_live=0.5, restart_after=2)) as world:
        before = alive(world)

        @ray.remote(scheduling_strategy=on(1, world), max_retries=-1)
        def tick() -> None:
            for _ in range(20):
                time.sleep(0.1)
                note("tick")

        sleep_until(world, 0.6)
        begin = time.monotonic()
        ray.get(tick.remote())
        ticks = [moment - begin for kind, moment in LOG if kind == "tick"]
        assert any(0.45 < moment < 0.95 for moment in ticks), "the orphan ran on without its raylet"
        assert not any(0.95 < moment < 1.5 for moment in ticks), "and ended"
        sleep_until(world, 25)
        assert len(alive(world)) == 3 and len(alive(world) & before) == 2


def test_a_rack_is_lost_and_comes_back() -> None:
    with cluster(p.CrashRack(nodes=[1, 2], at=1, spread=0.5, reboot_after=30)) as world:
        sleep_until(world, 1.2)
        assert [node.alive for node in world.nodes] == [True, False, True]
        sleep_until(world, 25)
        assert len(alive(world)) == 1
        sleep_until(world, 33)
        assert len(alive(world)) == 3


def test_a_node_is_preempted_after_its_notice() -> None:
    with cluster(p.PreemptNode(node=1, at=1, notice=5, reboot_after=2)) as world:
        process = world.nodes[1].process
        assert process is not None
        sleep_until(world, 9)
        assert process.ended and world.nodes[1].alive
        assert ray.get(work.remote(0.1))


def test_launched_nodes_come_late_and_fewer_than_asked_for() -> None:
    launch = p.LaunchNodes(at=1, count=3, arrive=2, delay=4, cpus=7)
    with cluster(launch, p.LaunchNodes(at=1, count=5, arrive=0)) as world:
        task = work.options(num_cpus=7).remote(0.1)
        sleep_until(world, 4)
        assert len(alive(world)) == 3
        assert ray.get(task)
        assert len(alive(world)) == 5
        assert ray.cluster_resources()["CPU"] == 3 + 2 * 7


def test_calls_go_on_while_the_gcs_is_away_and_new_actors_wait_for_it() -> None:
    with cluster(p.CrashGcs(at=2, restart_after=5)) as world:
        keeper = Keeper.remote()
        ray.get(keeper.ping.remote())
        sleep_until(world, 3)
        begin = time.monotonic()
        ray.get([keeper.ping.remote(), work.remote(0.1)])
        assert time.monotonic() - begin < 0.5, "neither tasks nor calls need the GCS"
        other = Keeper.options(name="new").remote()
        assert time.monotonic() - begin > 3, "the name is known to be free when the GCS is back"
        assert ray.get(other.ping.remote())


def test_commits_that_take_long_hold_up_answers() -> None:
    with cluster(p.SlowCommits(delay=1.5, until=20)):
        begin = time.monotonic()
        Keeper.options(name="slow").remote()
        assert time.monotonic() - begin >= 1.5


def test_a_node_whose_heartbeats_are_late_is_fenced_and_comes_back() -> None:
    with cluster(p.LateHeartbeats(node=1, at=1, until=30)) as world:
        zombie = world.nodes[1].process
        assert zombie is not None
        sleep_until(world, 28)
        assert len(alive(world)) == 2 and not zombie.ended, "it is well, and taken for dead"
        sleep_until(world, 60)
        assert zombie.ended, "it was told so when it spoke, and has ended"
        assert len(alive(world)) == 3


def test_a_clock_that_jumps_is_seen_by_programs_and_harms_nothing() -> None:
    with cluster(p.ClockStep(node=1, seconds=100, at=5)) as world:
        there = Keeper.options(scheduling_strategy=on(1, world)).remote()
        here = Keeper.options(scheduling_strategy=on(0, world)).remote()
        ray.get([there.ping.remote(), here.ping.remote()])
        sleep_until(world, 6)
        ahead, usual = ray.get([there.ping.remote(), here.ping.remote()])
        assert 99 < ahead - usual < 101
        unmoved, usual = ray.get([there.uptime.remote(), here.uptime.remote()])
        assert unmoved == pytest.approx(usual, abs=0.01), "what measures durations does not jump"
        sleep_until(world, 40)
        assert len(alive(world)) == 3


def deaths(world: World) -> list[str]:
    """Ids of the nodes that are declared dead from now on."""
    found: list[str] = []
    world.trace.listeners.append(lambda now, kind, who, _: found.append(who.hex()) if kind == "node.dead" else None)
    return found


@pytest.mark.parametrize("share", range(10))
def test_a_jump_of_the_clock_of_the_gcs_is_nobody_s_silence(share: int) -> None:
    period = 1.0
    jump = p.ClockStep(node=0, seconds=100, at=5 + share * period / 10)
    with cluster(jump, p.CrashNode(node=1, at=10), config={"heartbeat_period": int(period * 1e9)}) as world:
        dead, lost = deaths(world), world.nodes[1].node_id.hex()
        sleep_until(world, 10)
        assert not dead, "all were well, and had no chance to say so"
        sleep_until(world, 10 + 7 * period)
        assert dead == [lost], "and one that is lost is noticed in time"


@pytest.mark.parametrize("share", range(10))
def test_heartbeats_that_wait_for_a_gcs_that_was_stopped_count(share: int) -> None:
    with cluster(config={"heartbeat_period": 1_000_000_000}) as world:
        gcs, dead = world.nodes[0].gcs, deaths(world)
        assert gcs is not None
        sleep_until(world, 5 + share / 10)
        gcs.pause()
        sleep_until(world, 30)
        gcs.resume()
        sleep_until(world, 40)
        assert not dead and len(alive(world)) == 3


# --- Links


def test_a_lost_request_or_reply_is_sent_again() -> None:
    durations = []
    for fault in (
        p.LoseMessage(message="Heartbeat"),
        p.LoseMessage(message="RequestLease"),
        p.LoseMessage(message="LeaseGranted"),
    ):
        with cluster(fault) as world:
            begin = time.monotonic()
            ray.get(work.options(scheduling_strategy=on(1, world)).remote(0))
            durations.append(time.monotonic() - begin)
    usual, request, reply = durations
    assert usual < 0.1
    assert request > 0.2 and reply > 0.2, "sent again after resend_after"


def test_a_reset_in_the_middle_of_a_transfer_loses_nothing() -> None:
    fault = p.Reset(a=0, b=1, after=Trigger(message="ObjectChunk", node=0))
    with cluster(fault, config={"transfer_chunk": MB}) as world:
        value = ray.get(large.options(scheduling_strategy=on(1, world)).remote(7, 8))
        assert len(value) == MB and (value == 7).all()
        assert world.faults_injected == 1


def test_a_chunk_that_was_damaged_on_the_way_is_fetched_again() -> None:
    damaged: list[str] = []
    with cluster(p.CorruptChunk(node=1, count=2), config={"transfer_chunk": MB}) as world:
        world.trace.listeners.append(lambda now, kind, subject, detail: damaged.append(kind))
        value = ray.get(large.options(scheduling_strategy=on(1, world)).remote(7, 8))
        assert (value == 7).all()
        assert damaged.count("object.chunk_damaged") == 2


# --- Storage


def test_a_full_store_makes_puts_wait() -> None:
    with cluster(p.FillStore(node=0, at=1, until=4), nodes=1, object_store_memory=64 * MB) as world:
        sleep_until(world, 2)
        ref = ray.put(np.ones(MB))
        assert world.now >= 4, "there was no room before the fault ended"
        assert ray.get(ref).sum() == MB


def test_evicted_copies_are_fetched_again() -> None:
    with cluster(p.EvictCopies(node=1, at=5)) as world:
        ref = ray.put(np.full(MB, 3))
        keeper = Keeper.options(scheduling_strategy=on(1, world)).remote()
        assert ray.get(keeper.read.remote([ref])) == 3
        sleep_until(world, 4.9)
        held = world.nodes[1].memory.used
        sleep_until(world, 5.1)
        assert held > 0 and world.nodes[1].memory.used == 0
        assert ray.get(keeper.read.remote([ref])) == 3


def spill(world: World) -> list[Any]:
    """Task results, three times what the store can hold."""
    refs = [large.remote(value, 2) for value in range(24)]
    ray.wait(refs, num_returns=len(refs))
    return refs


def test_values_in_torn_and_corrupt_spill_files_are_made_again() -> None:
    for fault in (p.TornSpill(node=0, count=2), p.CorruptSpill(node=0, at=5)):
        unreadable: list[str] = []
        with cluster(fault, nodes=1, object_store_memory=16 * MB) as world:
            world.trace.listeners.append(lambda now, kind, *_, seen=unreadable: seen.append(kind))
            refs = spill(world)
            sleep_until(world, 6)
            assert [int(ray.get(ref)[5]) for ref in refs] == list(range(24))
            assert unreadable.count("object.unreadable") > 0, f"{fault} must have been noticed"


def test_spilling_waits_for_a_disk_that_fails_or_is_slow() -> None:
    durations = []
    faults = (p.SpillError(node=0, at=100, until=101), p.SpillError(node=0, until=4), p.SlowDisk(node=0, factor=0.01))
    for fault in faults:
        with cluster(fault, nodes=1, object_store_memory=16 * MB) as world:
            refs = spill(world)
            durations.append(world.now)
            assert [int(ray.get(ref)[5]) for ref in refs] == list(range(24))
    usual, failing, slow = durations
    assert usual < 4 <= failing
    assert slow > 5 * usual


# --- Triggers


def test_a_fault_follows_the_message_that_it_waits_for() -> None:
    fault = p.CrashNode(node=1, after=Trigger(message="PushTasks", node=0, count=2, delay=0.25))
    with cluster(fault) as world:
        moments: list[int] = []
        world.trace.listeners.append(lambda now, kind, *_: moments.append(now) if kind == "fault" else None)
        here = work.options(scheduling_strategy=on(0, world))
        ray.get(here.remote(0.01))
        time.sleep(1)
        assert not moments, "one message is not two"
        begin = world.now
        ray.get(here.remote(0.01))
        time.sleep(1)
        assert len(moments) == 1 and 0.25 <= moments[0] / 1e9 - begin < 0.26


def test_a_crash_during_recovery() -> None:
    fault = p.CrashNode(node=2, after=Trigger(event="task.rebuilding"))
    with cluster(fault, p.CrashNode(node=1, at=2)) as world:
        first = large.options(scheduling_strategy=on(1, world)).remote(1)
        second = large.options(scheduling_strategy=on(2, world)).remote(2)
        ray.wait([first, second], num_returns=2)
        sleep_until(world, 2.5)
        assert [int(ray.get(ref)[0]) for ref in (first, second)] == [1, 2]
        assert world.faults_injected == 2
