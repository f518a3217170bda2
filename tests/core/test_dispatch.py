"""Every message has one handler, in each process that its docstring says it goes to, and nowhere else."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from thornback.core import ids
from thornback.core.config import Config
from thornback.core.dispatch import handlers_of, method_name
from thornback.core.messages import MESSAGES, Message
from thornback.core.node import GcsCore, NodeCore
from thornback.core.ports import NoTrace, Ports
from thornback.core.worker import WorkerCore

NODE = bytes(ids.NODE_ID_SIZE - 1) + b"\x01"
PROCESSES = frozenset({"worker", "driver"})

RECEIVERS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "gcs": (frozenset({"gcs"}), frozenset()),
    "raylet": (frozenset({"raylet"}), frozenset()),
    "raylets": (frozenset({"raylet"}), frozenset()),
    "owner": (PROCESSES, frozenset()),
    "borrower": (PROCESSES, frozenset()),
    "caller": (PROCESSES, frozenset()),
    "callers": (PROCESSES, frozenset()),
    "process": (PROCESSES, frozenset()),
    "processes": (PROCESSES, frozenset()),
    "sender": (PROCESSES, frozenset()),
    "holder": (PROCESSES | {"gcs"}, frozenset()),
    "asker": (PROCESSES, frozenset({"raylet"})),
    "those": (PROCESSES, frozenset({"raylet", "gcs"})),
    "worker": (frozenset({"worker"}), frozenset({"driver"})),
    "actor": (frozenset({"worker"}), frozenset()),
    "driver": (frozenset({"driver"}), frozenset({"worker"})),
}
"""From the word after "to" in a message's docstring: which processes must take it, and which others may."""

ELSEWHERE = {"StateRows": "asker"}
"""Messages whose docstring does not say to whom they go."""
WORLDS_OWN = {"DelayCommits", "EndGcs", "LogLines", "NodeEnds"}
"""Messages that the worlds handle themselves, outside of the core."""


class StoppedClock:
    def now(self) -> int:
        return 0

    def call_after(self, delay: int, call: Callable[[], None]) -> Any:
        return None


class Numbers:
    def stream(self, purpose: str) -> random.Random:
        return random.Random(purpose)


class Nowhere:
    capacity = 1 << 20

    def send(self, to: bytes, message: Message) -> None:
        raise AssertionError("nothing is sent while a process is made")

    def load(self) -> Sequence[Any]:
        return ()


def tables() -> dict[str, set[type[Message]]]:
    """What each kind of process handles."""
    nowhere: Any = Nowhere()
    ports = Ports(StoppedClock(), Numbers(), nowhere, NoTrace())
    worker = WorkerCore(ids.worker_id(NODE, 1), ports, nowhere, nowhere, Config())
    driver = WorkerCore(ids.worker_id(NODE, 2), ports, nowhere, None, Config())
    node = NodeCore(NODE, "head", ports, nowhere, nowhere, Config(), {"CPU": 10_000}, {})
    gcs = GcsCore(ports, nowhere, Config())
    return {
        "worker": set(worker._handlers),
        "driver": set(driver._handlers),
        "raylet": set(node._handlers),
        "gcs": set(gcs._handlers),
    }


TABLES = tables()


def receivers_of(message_type: type[Message]) -> list[str]:
    """The words after "to" in the first clause of the docstring."""
    name = message_type.__name__
    if name in ELSEWHERE:
        return [ELSEWHERE[name]]
    clause = re.split(r"[:.]", (message_type.__doc__ or "").strip())[0]
    words = re.findall(r"\b[Tt]o (?:(?:an?|the|its|leased) )*(\w+)", clause)
    return [word.lower() for word in words if word.lower() in RECEIVERS]


@pytest.mark.parametrize("message_type", MESSAGES, ids=lambda each: each.__name__)
def test_every_message_is_taken_where_its_docstring_says(message_type: type[Message]) -> None:
    name = message_type.__name__
    if name in WORLDS_OWN:
        assert not any(message_type in table for table in TABLES.values())
        return
    words = receivers_of(message_type)
    assert words, f"the docstring of {name} must begin with who says it to whom, as in 'Owner to raylet: ...'"
    must = frozenset().union(*(RECEIVERS[word][0] for word in words))
    may = must.union(*(RECEIVERS[word][1] for word in words))
    taken = {process for process, table in TABLES.items() if message_type in table}
    assert must <= taken, (
        f"{name} goes to {words}, but no {sorted(must - taken)} has a method {method_name(message_type)}"
    )
    assert taken <= may, f"{name} goes to {words}, but {sorted(taken - may)} would take it too"


def test_every_handler_of_a_component_is_for_a_message_that_exists() -> None:
    nowhere: Any = Nowhere()
    ports = Ports(StoppedClock(), Numbers(), nowhere, NoTrace())
    worker = WorkerCore(ids.worker_id(NODE, 1), ports, nowhere, nowhere, Config())
    node = NodeCore(NODE, "head", ports, nowhere, nowhere, Config(), {"CPU": 10_000}, {})
    gcs = GcsCore(ports, nowhere, Config())
    assert worker.executor is not None
    components = (worker, worker.owner, *worker.owner.parts, worker.executor, *worker.executor.parts)
    components += (node.raylet, *node.raylet.parts, gcs.tables, *gcs.tables.parts)
    known = {method_name(message_type) for message_type in MESSAGES}
    stray = {
        f"{type(component).__name__}.{name}"
        for component in components
        for name in dir(component)
        if name.startswith("on_") and callable(getattr(component, name)) and name not in known
    }
    assert not stray, f"no message is called like {sorted(stray)}"


def test_two_handlers_of_one_message_in_one_process_are_refused() -> None:
    class Taker:
        def on_heartbeat(self, sender: bytes, message: Message) -> None: ...

    with pytest.raises(TypeError, match="Heartbeat has two handlers"):
        handlers_of(Taker(), Taker())


def test_names_of_handlers_follow_from_names_of_messages() -> None:
    names = [method_name(message_type) for message_type in MESSAGES]
    assert len(set(names)) == len(names)
    assert "on_push_actor_tasks" in names
