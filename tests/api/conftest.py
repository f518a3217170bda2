"""A process without a cluster: records what the API asks of the core."""

from __future__ import annotations

import contextlib
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from thornback.api import current, lazy
from thornback.core.config import Config
from thornback.core.ids import return_id, task_id
from thornback.core.owner.sites import CallSites

WORKER = bytes(11) + b"\x01"


class FakeProcess:
    """Stands for a Runtime."""

    is_simulated = False

    def __init__(self) -> None:
        self.dropped: deque[bytes] = deque()
        self.drop = self.dropped.append
        self.turn = contextlib.nullcontext()
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.deserialized: list[bytes] = []
        self.exported: list[bytes] = []
        owner = SimpleNamespace(
            job_id=1,
            namespace="here",
            references_deserialized=self.deserialized.extend,
            reference_exported=self.exported.append,
            sites=CallSites(),
        )
        self.core = SimpleNamespace(
            owner=owner,
            worker_id=WORKER,
            node_id=WORKER[:8],
            is_driver=True,
            executor=None,
            config=Config(),
            blocked=SimpleNamespace(awaits={}, now=lambda: 0),
        )
        self.counter = 0
        self.values: dict[bytes, Any] = {}

    def new_id(self) -> bytes:
        self.counter += 1
        return task_id(WORKER, self.counter)

    def returns(self, num_returns: int) -> tuple[bytes, list[bytes]]:
        task = self.new_id()
        count = {-1: 0, -2: 1}.get(num_returns, num_returns)
        return task, [return_id(task, index) for index in range(count)]

    # --- What stands for thornback.core.blocking

    def put(self, runtime: Any, value: Any, owner_pin: bool = False, origin: str = "") -> bytes:
        object_id = return_id(self.new_id(), 0)
        self.values[object_id] = value
        return object_id

    def get(self, runtime: Any, ids: Any, timeout: float | None) -> list[Any]:
        return [self.values[object_id] for object_id in ids]

    def wait(self, runtime: Any, ids: Any, num_returns: int, timeout: float | None, fetch: bool) -> Any:
        return [position for position, object_id in enumerate(ids) if object_id in self.values][:num_returns]

    def submit(self, runtime: Any, template: Any, definition: Any, args: Any, kwargs: Any) -> Any:
        self.calls.append(("submit", (template, definition, args, kwargs)))
        return self.returns(template.num_returns)

    def call_actor(
        self,
        runtime: Any,
        actor_id: bytes,
        template: Any,
        args: Any,
        kwargs: Any,
        limit: int = -1,
        out_of_order: bool = False,
    ) -> Any:
        self.calls.append(("call_actor", (actor_id, template, args, kwargs, limit)))
        return self.returns(template.num_returns)

    def create_actor(self, runtime: Any, spec: Any, args: Any, kwargs: Any, get_if_exists: bool) -> Any:
        self.calls.append(("create_actor", (spec, args, kwargs, get_if_exists)))
        return self.new_id(), b""

    def last(self) -> tuple[Any, ...]:
        """Arguments of the last call."""
        return self.calls[-1][1]


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> FakeProcess:
    fake = FakeProcess()
    monkeypatch.setattr(current, "runtime", fake)
    for name in ("put", "get", "wait", "submit", "call_actor", "create_actor"):
        monkeypatch.setattr(lazy.blocking, name, getattr(fake, name))
    return fake
