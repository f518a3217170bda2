"""Actor classes and handles: creation, methods, pickling, errors."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

import thornback
from thornback.core.ids import return_id
from thornback.core.messages import STREAMING

if TYPE_CHECKING:
    from tests.api.conftest import FakeProcess


class Base:
    def inherited(self) -> int:
        return 1

    def replaced(self, a: int) -> None: ...


class Counter(Base):
    def __init__(self, start: int, *, step: int = 1) -> None:
        self.value = start

    def add(self, amount: int = 1) -> int:
        return self.value + amount

    replaced = None  # type: ignore[assignment]

    @property
    def not_a_method(self) -> int:
        return 1

    @staticmethod
    def static(a: int) -> int:
        return a

    @classmethod
    def of_class(cls, a: int) -> int:
        return a

    @thornback.method(num_returns=2, max_task_retries=4)
    def pair(self) -> tuple[int, int]:
        return 1, 2

    @thornback.method
    def items(self) -> Iterator[int]:
        yield 1


class Asynchronous:
    async def work(self) -> None: ...

    async def items(self) -> AsyncIterator[int]:
        yield 1


Remote = thornback.remote(Counter)


def test_creation(process: FakeProcess) -> None:
    handle = Remote.options(name="c", max_restarts=2, max_task_retries=3).remote(5, step=2)
    spec, args, kwargs, get_if_exists = process.last()
    assert isinstance(handle, thornback.ActorHandle)
    assert (args, kwargs, get_if_exists) == ((5,), {"step": 2}, False)
    assert (spec.name, spec.namespace, spec.max_restarts, spec.max_task_retries) == ("c", "", 2, 3)
    assert (spec.resources, spec.placement_resources) == ({}, {"CPU": 10_000})
    assert spec.definition.name == "Counter" and not spec.is_async and not spec.detached


def test_async_classes_are_recognized(process: FakeProcess) -> None:
    handle = thornback.remote(Asynchronous).remote()
    assert process.last()[0].is_async
    assert isinstance(handle.items.remote(), thornback.ObjectRefGenerator)


def test_calls(process: FakeProcess) -> None:
    handle = Remote.options(max_task_retries=3, max_pending_calls=9).remote(0)
    ref = handle.add.remote(2)
    actor_id, template, args, kwargs, limit = process.last()
    assert isinstance(ref, thornback.ObjectRef)
    assert actor_id == handle._actor_id and (args, kwargs, limit) == ((2,), {}, 9)
    assert (template.name, template.method, template.max_retries) == ("Counter.add", "add", 3)
    handle.add.remote(3)
    assert process.last()[1] is template
    assert len(handle.pair.remote()) == 2
    assert process.last()[1].max_retries == 4
    handle.items.remote()
    assert process.last()[1].num_returns == STREAMING
    assert handle.add.options(num_returns=0, name="sum").remote() is None
    assert process.last()[1].name == "sum"


def test_which_methods_there_are(process: FakeProcess) -> None:
    handle = Remote.remote(0)
    assert dir(handle) == ["add", "inherited", "items", "of_class", "pair", "static"]
    handle.static.remote(1)
    handle.of_class.remote(1)
    handle.inherited.remote()
    for builtin in ("__ray_ready__", "__ray_terminate__"):
        assert isinstance(getattr(handle, builtin).remote(), thornback.ObjectRef)
    with pytest.raises(AttributeError, match="did you mean 'add'"):
        _ = handle.ad
    with pytest.raises(AttributeError):
        _ = handle.not_a_method


def test_wrong_use_is_refused_with_advice(process: FakeProcess) -> None:
    handle = Remote.remote(0)
    with pytest.raises(TypeError, match=r"Counter\.remote\(\.\.\.\)"):
        Remote(0)
    with pytest.raises(TypeError, match=r"add\.remote\(\.\.\.\)"):
        handle.add()
    with pytest.raises(TypeError, match="misses the argument 'start'"):
        Remote.remote()
    with pytest.raises(TypeError, match=r"pair\(\) takes 0 positional"):
        handle.pair.remote(1)
    with pytest.raises(ValueError, match=r"cancel\(ref\)"):
        thornback.kill(handle.add.remote())
    with pytest.raises(ValueError, match="num_cpus"):
        handle.add.options(num_cpus=1)
    with pytest.raises(ValueError, match="num_return"):
        thornback.method(num_return=1)
    with pytest.raises(TypeError, match="name"):
        thornback.get_actor(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="name"):
        thornback.get_actor("")
    with pytest.raises(TypeError, match="not part of an actor"):
        thornback.actor.exit_actor()


def test_concurrency_groups_must_be_declared(process: FakeProcess) -> None:
    class Grouped:
        @thornback.method(concurrency_group="io")
        def read(self) -> None: ...

    with pytest.raises(ValueError, match=r"'read'.*'io'.*none"):
        thornback.remote(Grouped).remote()
    handle = thornback.remote(concurrency_groups={"io": 2})(Grouped).remote()
    handle.read.remote()
    assert process.last()[1].lane == "io"


def test_handles_are_counted(process: FakeProcess) -> None:
    handle = Remote.remote(0)
    hidden = return_id(handle._actor_id, 0)
    copy = cloudpickle.loads(cloudpickle.dumps(handle))
    assert copy == handle and hash(copy) == hash(handle) and dir(copy) == dir(handle)
    assert process.deserialized == [hidden]
    assert process.exported == [hidden]
    del handle, copy
    gc.collect()
    assert list(process.dropped).count(hidden) == 2


def test_handles_of_detached_actors_are_not_counted(process: FakeProcess) -> None:
    handle = Remote.options(lifetime="detached", name="d").remote(0)
    copy = cloudpickle.loads(cloudpickle.dumps(handle))
    del handle, copy
    gc.collect()
    assert not process.dropped and not process.deserialized


def test_a_method_keeps_the_actor(process: FakeProcess) -> None:
    method = Remote.remote(0).add
    gc.collect()
    assert not process.dropped
    del method
    gc.collect()
    assert len(process.dropped) == 1


def test_inheriting_from_an_actor_class() -> None:
    class More(Remote):  # type: ignore[misc, valid-type]
        pass

    assert issubclass(More, Counter)


def test_a_class_that_refers_to_itself_survives_pickling(process: FakeProcess) -> None:
    source = """
import thornback

@thornback.remote(max_restarts=1)
class Node:
    def child(self):
        return Node.remote()
"""
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(source, scope)
    copy = cloudpickle.loads(cloudpickle.dumps(scope["Node"]))
    assert copy._chosen == {"max_restarts": 1}
    assert isinstance(copy._cls().child(), thornback.ActorHandle)
