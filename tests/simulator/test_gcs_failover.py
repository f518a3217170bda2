"""The GCS crashes after every message of every operation of several steps; all ends as if it had not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import thornback as ray
from thornback.api import current
from thornback.core import blocking
from thornback.core.messages import Message
from thornback.simulator import simulate
from thornback.simulator.process import GcsProcess
from thornback.simulator.world import World
from thornback.util import (
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from thornback.util.scheduling_strategies import PlacementGroupSchedulingStrategy as InGroup

RESTART = 200_000_000
"""Nanoseconds without GCS."""


class Crashes:
    """Crashes the GCS after the ``at``-th message that it handles while :meth:`watched`; 0: never, only count."""

    def __init__(self, world: World, at: int, keep_unsynced: bool) -> None:
        self.world = world
        self.at = at
        self.keep_unsynced = keep_unsynced
        self.seen = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Messages count within."""
        receive = GcsProcess.receive

        def one_by_one(process: GcsProcess, to: bytes, sender: bytes, messages: list[Message]) -> None:
            for message in messages:
                receive(process, to, sender, [message])
                self.seen += 1
                if self.seen == self.at:
                    self.world.nodes[0].crash_gcs(RESTART, self.keep_unsynced)
                    return

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(GcsProcess, "receive", one_by_one)
            yield


@ray.remote(num_cpus=1)
class Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        self.count += 1
        return self.count

    def where(self) -> tuple[str, int]:
        return ray.get_runtime_context().get_node_id(), os.getpid()


@ray.remote(num_cpus=1)
def node_of_task() -> str:
    return str(ray.get_runtime_context().get_node_id())


def actors() -> list[dict[str, Any]]:
    return blocking.query(current.require(), "actors")


def pid_of(counter: Any) -> int:
    return int(ray.get(counter.where.remote())[1])


def lose_worker(world: World, pid: int) -> None:
    process = world.process_with(pid)
    assert process is not None
    world.end_process(process, "killed")


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"within a minute: {what}"
        time.sleep(0.05)


# --- Operations. Each gets what to watch, and asserts its own end.


def create(world: World, crashes: Crashes) -> None:
    with crashes.watched():
        counter = Counter.options(name="c").remote()
        again = ray.get_actor("c")
        assert ray.get([counter.add.remote(), again.add.remote()]) == [1, 2]
        time.sleep(0.5)
    assert ray.get(ray.get_actor("c").add.remote()) == 3, "the actor that was made is the one that has the name"


def restart(world: World, crashes: Crashes) -> None:
    counter = Counter.options(max_restarts=1, max_task_retries=-1).remote()
    assert ray.get(counter.add.remote()) == 1
    pid = pid_of(counter)
    with crashes.watched():
        lose_worker(world, pid)
        assert ray.get(counter.add.remote()) == 1, "it was restarted"
        time.sleep(0.5)
    lose_worker(world, pid_of(counter))
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(counter.add.remote())


def kill(world: World, crashes: Crashes) -> None:
    counter = Counter.options(name="c").remote()
    assert ray.get(counter.add.remote()) == 1
    with crashes.watched():
        ray.kill(counter)
        with pytest.raises(ray.exceptions.ActorDiedError):
            ray.get(counter.add.remote())
        other = Counter.options(name="c").remote()
        assert ray.get(other.add.remote()) == 1, "the name of a killed actor is free"
        time.sleep(0.5)
    assert ray.get(ray.get_actor("c").add.remote()) == 2


def kill_and_restart(world: World, crashes: Crashes) -> None:
    counter = Counter.options(max_restarts=3, max_task_retries=-1).remote()
    assert ray.get([counter.add.remote(), counter.add.remote()]) == [1, 2]
    first = pid_of(counter)
    with crashes.watched():
        ray.kill(counter, no_restart=False)
        until(lambda: pid_of(counter) != first, "kill(no_restart=False) restarts the actor")
        time.sleep(0.5)
    restarts = [row["restarts"] for row in actors()]
    assert restarts == [1], f"one kill restarts once, not {restarts} times"


@ray.remote(num_cpus=0)
class Stranger:
    """Kills an actor that it has never called, and keeps no handle."""

    def kill(self, name: str) -> None:
        ray.kill(ray.get_actor(name), no_restart=False)


def kill_by_a_stranger(world: World, crashes: Crashes) -> None:
    counter = Counter.options(name="c", max_restarts=3, max_task_retries=-1).remote()
    stranger = Stranger.remote()
    first = pid_of(counter)
    with crashes.watched():
        ray.get(stranger.kill.remote("c"))
        until(lambda: pid_of(counter) != first, "kill(no_restart=False) restarts the actor")
        time.sleep(0.5)
    restarts = [row["restarts"] for row in actors() if row["class_name"] == "Counter"]
    assert restarts == [1], f"one kill restarts once, not {restarts} times"


def put(runtime: Any, value: bytes) -> bytes:
    """Set the key ``k``; what it is then."""
    with runtime.turn:
        waiter = runtime.core.owner.keys.put("k", value)
    runtime.block(waiter)
    return bytes(waiter.result.value)


@ray.remote(num_cpus=0)
class Writer:
    def write(self, value: bytes) -> bytes:
        return put(current.require(), value)


def keys(world: World, crashes: Crashes) -> None:
    runtime, writer = current.require(), Writer.options(scheduling_strategy="SPREAD").remote()
    ray.get(writer.write.remote(b"0"))
    with crashes.watched():
        for number in range(3):
            assert put(runtime, b"%d" % number) == b"%d" % number
            value = b"%d, later" % number
            assert ray.get(writer.write.remote(value)) == value
            time.sleep(0.3)
            assert world.nodes[0].gcs.core.tables.keys.table["k"] == value, "what was written last stays"


def out_of_scope(world: World, crashes: Crashes) -> None:
    with crashes.watched():
        counter = Counter.remote()
        refs = [counter.add.remote() for _ in range(3)]
        del counter
        assert ray.get(refs) == [1, 2, 3], "what was called before the last handle was gone is done"
        until(lambda: actors()[0]["state"] == "DEAD", "an actor without handles ends")


def exit_itself(world: World, crashes: Crashes) -> None:
    @ray.remote(max_restarts=5)
    class Leaver:
        def leave(self) -> None:
            ray.actor.exit_actor()

    leaver = Leaver.remote()
    ray.get(leaver.__ray_ready__.remote())
    with crashes.watched():
        with pytest.raises(ray.exceptions.ActorDiedError):
            ray.get(leaver.leave.remote())
        until(lambda: actors()[0]["state"] == "DEAD", "an actor that exits is dead")
    assert actors()[0]["restarts"] == 0, "an actor that exits by itself is not restarted"


def failed_constructor(world: World, crashes: Crashes) -> None:
    @ray.remote(max_restarts=2)
    class Broken:
        def __init__(self) -> None:
            raise ValueError("no")

        def call(self) -> None:
            pass

    with crashes.watched(), pytest.raises(ray.exceptions.ActorDiedError, match="no"):
        ray.get(Broken.remote().call.remote())


def group(world: World, crashes: Crashes) -> None:
    with crashes.watched():
        gang = placement_group([{"CPU": 1}] * 3, strategy="STRICT_SPREAD", name="gang")
        assert gang.wait(60)
        member = Counter.options(scheduling_strategy=InGroup(gang, 1)).remote()
        assert ray.get(member.add.remote()) == 1
        nodes = [node_of_task.options(scheduling_strategy=InGroup(gang, index)).remote() for index in (0, 2)]
        assert len(set(ray.get(nodes))) == 2, "each bundle is on a node of its own"
        assert get_placement_group("gang") == gang
        remove_placement_group(gang)
        until(lambda: placement_group_table(gang)["state"] == "REMOVED", "a group that was removed is")
        with pytest.raises(ray.exceptions.ActorPlacementGroupRemoved):
            ray.get(member.add.remote())
        time.sleep(0.5)


def node_death(world: World, crashes: Crashes) -> None:
    gang = placement_group([{"CPU": 1}] * 3, strategy="STRICT_SPREAD")
    assert gang.wait(60)
    member = Counter.options(scheduling_strategy=InGroup(gang, 1), max_restarts=1, max_task_retries=-1).remote()
    where = ray.get(member.where.remote())[0]
    lost = next(node.index for node in world.nodes if node.node_id.hex() == where)
    with crashes.watched():
        world.kill_node(lost or 1, reboot_after=1)
        time.sleep(20)
        assert ray.get(member.add.remote()) == 1
        states = [node["Alive"] for node in ray.nodes()]
        assert sorted(states) == [False, True, True, True], "one node has died, and came back as a new one"
    nodes = [node_of_task.options(scheduling_strategy=InGroup(gang, index)).remote() for index in (0, 2)]
    nodes.append(ray.put(ray.get(member.where.remote())[0]))
    assert len(set(ray.get(nodes))) == 3, "the group has its bundles again, each on a node of its own"
    remove_placement_group(gang)


def job_end(world: World, crashes: Crashes) -> None:
    Counter.options(name="stays", lifetime="detached", namespace="n").remote()
    mortal = Counter.options(name="goes", namespace="n").remote()
    assert ray.get(mortal.add.remote()) == 1
    with crashes.watched():
        ray.shutdown()
        time.sleep(1)
        ray.init(namespace="n")
        stays = ray.get_actor("stays")
        assert ray.get(stays.add.remote()) == 1

        def is_gone() -> bool:
            try:
                ray.get_actor("goes")
            except ValueError:
                return True
            return False

        until(is_gone, "what is not detached ends with its job")
    ray.kill(stays)


OPERATIONS: dict[str, Callable[[World, Crashes], None]] = {
    operation.__name__: operation
    for operation in (
        *(create, restart, kill, kill_and_restart, kill_by_a_stranger, out_of_scope, exit_itself, failed_constructor),
        *(group, node_death, job_end, keys),
    )
}


def run(name: str, crash_after: int = 0, keep_unsynced: bool = False, lossy: bool = False) -> int:
    """One run of an operation; returns how many messages the GCS handled while it was watched."""
    with simulate(nodes=3, cpus=2, seed=crash_after, lossy=lossy, time_limit=300) as world:
        ray.init()
        crashes = Crashes(world, crash_after, keep_unsynced)
        OPERATIONS[name](world, crashes)
        ray.shutdown()
        until(lambda: not _taken(world), f"nothing is taken when all is over, but {_taken(world)}")
        return crashes.seen


def _taken(world: World) -> list[str]:
    """Resources that are still taken, by node."""
    found = []
    for node in world.nodes:
        if node.alive and node.process is not None:
            grants = node.process.core.raylet.grants
            if any(grants.free.available[key] != units for key, units in node.process.core.raylet.leases.total.items()):
                found.append(f"{node.name}: {grants.free.available} and {list(grants.table)}")
    return found


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_survives_a_crash_of_the_gcs_after_any_message(name: str) -> None:
    count = run(name)
    assert count > 3, "the operation needs the GCS"
    for crash_after in range(1, count + 1):
        for keep_unsynced in (False, True):
            try:
                run(name, crash_after, keep_unsynced)
            except BaseException as error:
                error.add_note(f"{name}: crash after message {crash_after} of {count}, {keep_unsynced=}")
                raise
