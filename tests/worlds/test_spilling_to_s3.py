"""Spilling to an S3 server: every byte comes back, nothing stays there, and a server that is gone is a lost copy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from pyarrow import fs

import thornback as ray
from tests.worlds.test_objects import MIB
from thornback.util import state

PATIENCE = 60.0
"""Seconds; Arrow's S3 client gives up a server that does not answer after about six."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadedMotoServer]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def bucket(server: ThreadedMotoServer) -> Iterator[tuple[Any, str]]:
    """A bucket, and a cluster with a store of 80 MiB that spills to it."""
    options = f"endpoint_override=127.0.0.1:{server.get_host_and_port()[1]}&scheme=http"
    files, _ = fs.FileSystem.from_uri(f"s3://bucket?{options}&allow_bucket_creation=true")
    files.create_dir("bucket")
    ray.shutdown()
    ray.init(
        num_cpus=2,
        log_to_driver=False,
        object_store_memory=80 * MIB,
        _system_config={"spill_directories": [f"s3://bucket/prefix?{options}"], "spill_file_size": 16 * MIB},
    )
    yield files, "bucket/prefix"
    ray.shutdown()


def names(files: Any, path: str) -> list[str]:
    found = files.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    return [info.path for info in found if info.is_file]


def noise(seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 255, 12 * MIB, dtype=np.uint8)


def eventually(condition: Any, expected: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, expected
        time.sleep(0.05)


@pytest.mark.timeout(120)
def test_every_byte_goes_to_s3_and_comes_back(bucket: tuple[Any, str]) -> None:
    files, path = bucket
    refs = [ray.put(noise(seed)) for seed in range(14)]
    assert names(files, path), "more than the store holds should lie in the bucket"
    for seed, ref in enumerate(refs):
        assert np.array_equal(ray.get(ref), noise(seed)), f"object {seed} should be what was put"
    del ref, refs
    eventually(lambda: not names(files, path), "objects that nobody refers to should leave no file in the bucket")


@pytest.mark.timeout(120)
def test_a_server_that_is_gone_is_a_lost_copy_and_no_hang(bucket: tuple[Any, str], server: ThreadedMotoServer) -> None:
    @ray.remote
    def make(seed: int) -> Any:
        return noise(seed)

    made, put = make.remote(1), ray.put(noise(2))
    ray.wait([made])
    others = [ray.put(noise(seed), _pin_memory=True) for seed in range(4)]

    def both_spilled() -> bool:
        rows = {row["object_id"]: row for row in state.list_objects()}
        return all(rows[ref.hex()]["disk_bytes"] and not rows[ref.hex()]["memory_bytes"] for ref in (made, put))

    more = []
    while not both_spilled():
        more.append(ray.put(noise(len(more))))
        assert len(more) < 20, "the least recently used objects should be spilled first"
    del more
    server.stop()
    assert np.array_equal(ray.get(made, timeout=PATIENCE), noise(1)), "it should have been made again"
    with pytest.raises(ray.exceptions.ObjectLostError, match=r"cannot be made again"):
        ray.get(put, timeout=PATIENCE)
    del others
