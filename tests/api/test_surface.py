"""Names, import time, identifiers, connection."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import thornback
from thornback.api import current, lazy
from thornback.api.ids import BaseID

if TYPE_CHECKING:
    from tests.api.conftest import FakeProcess

HEAVY = ("numpy", "grpc", "pyarrow", "simpy", "greenlet", "asyncio", "rich", "typer", "cloudpickle")


def test_every_name_is_there() -> None:
    for name in thornback.__all__:
        if name != "simulate":
            assert getattr(thornback, name) is not None
    for name in thornback.util.__all__:
        assert getattr(thornback.util, name) is not None
    for name in thornback.exceptions.__all__:
        assert issubclass(getattr(thornback.exceptions, name), Exception)
    with pytest.raises(AttributeError):
        _ = thornback.nothing


def test_import_loads_nothing_heavy() -> None:
    code = f"import thornback, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", BaseID.__subclasses__())
def test_ids(kind: type[BaseID]) -> None:
    made = kind(bytes(range(kind.SIZE)))
    assert kind.from_hex(made.hex()) == made == kind.from_binary(made.binary())
    assert pickle.loads(pickle.dumps(made)) == made
    assert len({made, kind.nil()}) == 2 and kind.nil().is_nil() and not made.is_nil()
    with pytest.raises(ValueError, match=str(kind.SIZE)):
        kind(b"")
    with pytest.raises(TypeError):
        kind(made.hex())  # type: ignore[arg-type]


def test_a_second_init_is_refused(process: FakeProcess) -> None:
    with pytest.raises(RuntimeError, match=r"shutdown\(\).*ignore_reinit_error"):
        thornback.init()
    assert isinstance(thornback.init(ignore_reinit_error=True), thornback.Context)
    assert thornback.is_initialized()


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"num_cpus": "4"}, TypeError, "num_cpus"),
        ({"num_cpus": -1}, ValueError, "num_cpus"),
        ({"num_cpu": 1}, TypeError, "did you mean 'num_cpus'"),
        ({"resources": {"CPU": 1}}, ValueError, "num_cpus"),
        ({"resources": {"a": "b"}}, TypeError, r"resources\['a'\]"),
        ({"labels": {"a": 1}}, TypeError, "labels"),
        ({"namespace": ""}, ValueError, "namespace"),
        ({"namespace": 1}, TypeError, "namespace"),
        ({"logging_config": "INFO"}, TypeError, "LoggingConfig"),
        ({"_system_config": {"zzz": 1}}, ValueError, "zzz"),
        ({"address": "ray://somewhere:10001"}, ValueError, "somewhere"),
    ],
)
def test_bad_init_arguments(given: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        thornback.init(**given)
    assert not thornback.is_initialized()


def test_shutdown_ends_the_job_and_closes(process: FakeProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(lazy.blocking, "end_job", lambda runtime: done.append("job"))
    process.close = lambda: done.append("closed")  # type: ignore[attr-defined]
    thornback.shutdown()
    thornback.shutdown()
    assert done == ["job", "closed"] and current.runtime is None


def test_logging_config() -> None:
    assert thornback.LoggingConfig(encoding="JSON").log_level == "INFO"
    with pytest.raises(ValueError, match="XML"):
        thornback.LoggingConfig(encoding="XML")
    with pytest.raises(ValueError, match="LOUD"):
        thornback.LoggingConfig(log_level="LOUD")


def test_runtime_context_of_a_driver(process: FakeProcess) -> None:
    context = thornback.get_runtime_context()
    assert context.get_node_id() == process.core.node_id.hex()
    assert context.get_job_id() == "01000000"
    assert context.get_task_id() is None and context.get_actor_id() is None
    assert context.get_assigned_resources() == {} and context.get_accelerator_ids() == {"GPU": []}
    assert not context.is_canceled() and thornback.get_gpu_ids() == []
    with pytest.raises(RuntimeError, match="actor"):
        _ = context.current_actor


def test_nodes_and_resources(process: FakeProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    from thornback.core.messages import NodeView

    views = [
        NodeView(bytes(7) + b"\x01", 1, "a", {"CPU": 20_000, "memory": 5}, {"CPU": 0, "memory": 5}, {"zone": "x"}),
        NodeView(bytes(7) + b"\x02", 1, "b", {"CPU": 10_000}, {"CPU": 10_000}, {}, alive=False),
    ]
    monkeypatch.setattr(lazy.blocking, "view", lambda runtime: views)
    first, second = thornback.nodes()
    assert first["NodeID"] == "0000000000000001" and first["Alive"] and first["Labels"] == {"zone": "x"}
    assert first["Resources"] == {"CPU": 2.0, "memory": 5.0} and not second["Alive"]
    assert thornback.cluster_resources() == {"CPU": 2.0, "memory": 5.0}
    assert thornback.available_resources() == {"memory": 5.0}


def test_timeline(process: FakeProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    import json

    row = {"name": "f", "worker_id": "00" * 12, "start": 1000, "end": 3000, "task_id": "aa", "attempt": 0}
    monkeypatch.setattr(lazy.blocking, "query", lambda runtime, table: [row])
    events = thornback.timeline()
    assert events is not None and events[0]["ts"] == 1.0 and events[0]["dur"] == 2.0 and events[0]["name"] == "f"
    assert thornback.timeline(str(tmp_path / "t.json")) is None
    assert json.loads((tmp_path / "t.json").read_text()) == events


def test_inspect_serializability() -> None:
    lock = threading.Lock()

    def function() -> Any:
        return lock

    out = io.StringIO()
    sound, failures = thornback.util.inspect_serializability(function, print_file=out)
    assert not sound and [failure.name for failure in failures] == ["lock"]
    assert "lock" in out.getvalue()
    assert thornback.util.inspect_serializability(3, print_file=out) == (True, set())


class Opaque:
    def __init__(self, value: int) -> None:
        self.value = value
        self.lock = threading.Lock()


def test_register_serializer() -> None:
    import cloudpickle

    thornback.util.register_serializer(Opaque, serializer=lambda each: each.value, deserializer=Opaque)
    try:
        assert cloudpickle.loads(cloudpickle.dumps(Opaque(7))).value == 7
    finally:
        thornback.util.deregister_serializer(Opaque)
    with pytest.raises(TypeError):
        cloudpickle.dumps(Opaque(7))
    with pytest.raises(TypeError, match="class"):
        thornback.util.register_serializer(3, serializer=str, deserializer=int)  # type: ignore[arg-type]
