"""Tasks on all nodes write the same few keys of the GCS, one after the other, and in competition."""

from __future__ import annotations

import time
from typing import Any

import thornback as ray
from thornback.api import current
from thornback.core.waits.thread import wait_for

KEYS = 3


def put(key: str, value: bytes | None, overwrite: bool = True) -> Any:
    """What the key is once the write is made."""
    runtime = current.require()
    with runtime.turn:
        waiter = runtime.core.owner.keys.put(key, value, overwrite)
    wait_for(runtime, waiter)
    return waiter.result.value


@ray.remote(max_retries=-1, num_cpus=0.5)
def write(writer: int, count: int) -> None:
    """Set keys to values that nobody else sets, delete some, claim one with others."""
    process = ray.get_runtime_context().get_worker_id()
    for number in range(count):
        value = f"{process} {writer} {number}".encode()
        found = put(f"key {(writer + number) % KEYS}", value)
        assert found == value, "a write says what it has written"
        mine = put("claim", value, overwrite=False)
        assert mine is not None, "somebody has the claim, if not this one"
        if mine == value:
            assert put("claim", None) is None, "who gives it up hears that it is free"
        time.sleep(0.02)


if __name__ == "__main__":
    ray.init()
    ray.get([write.remote(writer, 20) for writer in range(10)])
