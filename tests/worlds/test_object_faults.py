"""Writers, readers and disks that fail: nothing leaks, nothing torn can be read, and what is lost is made again."""

from __future__ import annotations

import glob
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thornback as ray
from tests.worlds.conftest import World
from tests.worlds.test_objects import MIB, array, settle
from thornback.api import current
from thornback.util import state

SPILLS = pytest.mark.cluster(
    cpus=2, init={"object_store_memory": 80 * MIB, "_system_config": {"spill_file_size": 16 * MIB}}
)


def test_a_worker_that_dies_while_it_holds_objects_leaves_none(world: World) -> None:
    @ray.remote(max_retries=0)
    def die(box: Any, when: int) -> Any:
        value = ray.get(box[0])
        own = [ray.put(array(1)) for _ in range(3)]
        if when == 0:
            os._exit(1)
        return value, own

    ref = ray.put(array(3))
    for _ in range(3):
        with pytest.raises(ray.exceptions.WorkerCrashedError):
            ray.get(die.remote([ref], 0))
    assert ray.get(ref)[0] == 1
    del ref
    settle(world)


@pytest.mark.only("real")
def test_writers_killed_at_any_point_leave_no_leak(world: World) -> None:
    started = world.counter()

    @ray.remote(max_retries=0)
    def write_for_ever() -> Any:
        ray.get(started.add.remote(os.getpid()))
        while True:
            refs = [ray.put(array(8)) for _ in range(3)]
            del refs

    for number, delay in enumerate((0.05, 0.11, 0.17, 0.23)):
        ref = write_for_ever.remote()
        world.eventually(lambda count=number: ray.get(started.get.remote()) > count, "the writer should run")
        time.sleep(delay)
        os.kill(ray.get(started.log.remote())[-1], signal.SIGKILL)
        with pytest.raises(ray.exceptions.WorkerCrashedError):
            ray.get(ref)
        del ref
    settle(world)


KILL_POINTS = {
    "before its block is allocated": ("thornback.core.owner.writing.Writing.allocate", "before"),
    "with a block that is not written": ("thornback.transports.arena.Arena.write", "before"),
    "with a block that is half written": ("thornback.transports.arena.Arena.write", "half"),
    "with a block that is written and not sealed": ("thornback.core.owner.writing.Writing.seal", "before"),
    "with a block that is sealed and not announced": ("thornback.core.owner.writing.Writing.seal", "after"),
}
READER_KILL_POINTS = {
    "before it asks for a pin": ("thornback.core.owner.blocks.Blocks._pin", "before"),
    "when it has asked for a pin": ("thornback.core.owner.blocks.Blocks._pin", "after"),
    "when it has the pin": ("thornback.core.owner.blocks.Blocks.adopt", "after"),
    "with a view": ("thornback.transports.arena.Arena.read", "after"),
}


def die_at(point: tuple[str, str]) -> None:
    """In a worker: SIGKILL this process when it comes to that point."""
    import importlib
    import os
    import signal
    import time

    name, when = point
    module, _, method = name.rpartition(".")
    module, _, kind = module.rpartition(".")
    owner = getattr(importlib.import_module(module), kind)
    original = getattr(owner, method)

    def replacement(self: Any, *args: Any, **kwargs: Any) -> Any:
        if when == "half":
            offset, parts = args
            whole = [memoryview(part).cast("B") for part in parts]
            original(self, offset, [*whole[:-1], whole[-1][: len(whole[-1]) // 2]])
        elif when == "after":
            original(self, *args, **kwargs)
            self_runtime = importlib.import_module("thornback.api.current").require()
            self_runtime.links.flush()
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(10)

    setattr(owner, method, replacement)


@pytest.mark.only("real")
@pytest.mark.parametrize("point", KILL_POINTS.values(), ids=KILL_POINTS)
def test_a_writer_that_is_killed_leaves_no_leak_and_nothing_torn(world: World, point: tuple[str, str]) -> None:
    @ray.remote(max_retries=0)
    def write_and_die(kill_at: Any) -> Any:
        kill_at(point)
        return array(8, 3)

    ref = write_and_die.remote(die_at)
    try:
        value = ray.get(ref)
    except ray.exceptions.WorkerCrashedError:
        pass
    else:
        assert value.nbytes == 8 * MIB and (value == 3).all(), "what can be read must be whole"
        del value
    del ref
    settle(world)


@pytest.mark.only("real")
@pytest.mark.parametrize("point", READER_KILL_POINTS.values(), ids=READER_KILL_POINTS)
def test_a_reader_that_is_killed_leaves_no_pin(world: World, point: tuple[str, str]) -> None:
    @ray.remote(max_retries=0)
    def read_and_die(box: Any, kill_at: Any) -> int:
        kill_at(point)
        return int(ray.get(box[0])[0])

    ref = ray.put(array(8, 3))
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(read_and_die.remote([ref], die_at))

    def unpinned() -> bool:
        return all(store["pinned"] == 0 for store in state.list_stores())

    world.eventually(unpinned, "pins of a dead reader should go")
    assert (ray.get(ref) == 3).all()
    del ref
    settle(world)


@SPILLS
@pytest.mark.only("real")
def test_a_corrupt_spill_file_is_a_lost_copy(world: World) -> None:
    @ray.remote
    def make(seed: int) -> Any:
        return np.random.default_rng(seed).integers(0, 255, 20 * MIB, dtype=np.uint8)

    made = make.remote(1)
    put = ray.put(np.random.default_rng(2).integers(0, 255, 20 * MIB, dtype=np.uint8))
    ray.wait([made])
    others = [ray.put(array(20, index)) for index in range(5)]
    rows = {row["object_id"]: row for row in state.list_objects()}
    assert rows[made.hex()]["memory_bytes"] == 0 == rows[put.hex()]["memory_bytes"]
    directory = current.require().directory  # type: ignore[attr-defined]
    for name in glob.glob(f"{directory}/spill/*.spill"):
        with open(name, "r+b") as file:
            for at in range(0, os.path.getsize(name), MIB):
                file.seek(at)
                file.write(b"garbage")
    assert np.array_equal(ray.get(made), np.random.default_rng(1).integers(0, 255, 20 * MIB, dtype=np.uint8))
    with pytest.raises(ray.exceptions.ObjectLostError, match=r"corrupt.*cannot be made again"):
        ray.get(put)
    del made, put, others
    settle(world)


@pytest.mark.only("real")
def test_a_spill_directory_that_cannot_be_written_is_named_at_start(world: World, tmp_path: Path) -> None:
    ray.shutdown()
    blocker = tmp_path / "file"
    blocker.write_text("not a directory")
    with pytest.raises(ValueError, match=f"spilled to '{blocker}'"):
        ray.init(num_cpus=1, _system_config={"spill_directories": [str(blocker)]})
    with pytest.raises(ValueError, match="spill_codec"):
        ray.init(num_cpus=1, _system_config={"spill_codec": "rar"})
    assert not ray.is_initialized()


PROGRAM = """
import numpy as np, thornback as ray, os, signal, sys
ray.init(num_cpus=1, object_store_memory=80 << 20,
         _system_config={"spill_directories": sys.argv[1:], "spill_file_size": 16 << 20})
refs = [ray.put(np.full(10 << 20, i, np.uint8)) for i in range(20)]
for i, ref in enumerate(refs):
    assert ray.get(ref)[0] == i
print(sum(len(files) for place in sys.argv[1:] if "://" not in place for _, _, files in os.walk(place)), flush=True)
if os.environ.get("CRASH"):
    from thornback.api import current
    os.kill(current.require()._node[0].pid, signal.SIGKILL)
    os._exit(0)
ray.shutdown()
"""


@pytest.mark.only("real")
def test_files_lie_in_all_directories_and_go_with_the_session(tmp_path: Path) -> None:
    places = [tmp_path / "one", tmp_path / "two"]
    names = [str(places[0]), places[1].as_uri()]

    def run(**environment: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *names],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return int(done.stdout)

    assert run() > 0
    assert [list(place.rglob("*.spill")) for place in places] == [[], []]
    run(CRASH="1")
    assert list(places[0].rglob("*.spill")), "the crash should have left files for the next start to remove"
    run()
    assert list(places[0].rglob("*.spill")) == []
