"""References, put, get, wait: what they accept, and what the errors say."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest

import thornback
from thornback.api.generators import wrap_dynamic
from thornback.core import serialization
from thornback.core.ids import return_id, task_id

if TYPE_CHECKING:
    from tests.api.conftest import FakeProcess


def test_put_and_get(process: FakeProcess) -> None:
    first, second = thornback.put(1), thornback.put(2)
    assert thornback.get(first) == 1
    assert thornback.get([second, first]) == [2, 1]
    assert thornback.get([]) == []


def test_wait_returns_the_references_themselves(process: FakeProcess) -> None:
    ready = thornback.put(1)
    pending: Any = thornback.ObjectRef(return_id(task_id(bytes(12), 99), 0), process.drop)
    done, rest = thornback.wait([pending, ready])
    assert done[0] is ready and rest[0] is pending
    assert thornback.wait([]) == ([], [])


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda ref: thornback.get(3), TypeError, "3 .*int"),
        (lambda ref: thornback.get(thornback.put), TypeError, "forget .remote"),
        (lambda ref: thornback.get([ref, 3]), TypeError, "item 1 is 3"),
        (lambda ref: thornback.get(ref, timeout=-1), ValueError, "timeout"),
        (lambda ref: thornback.get(ref, timeout="1"), TypeError, "timeout"),
        (thornback.put, TypeError, "reference already"),
        (thornback.wait, TypeError, "list of ObjectRefs"),
        (lambda ref: thornback.wait([3]), TypeError, "item 0 is 3"),
        (lambda ref: thornback.wait([ref, ref]), ValueError, "only once"),
        (lambda ref: thornback.wait([ref], num_returns=2), ValueError, "from 1 to 1"),
        (lambda ref: thornback.wait([ref], num_returns=0), ValueError, "from 1 to 1"),
        (lambda ref: thornback.wait([ref], num_returns=1.0), TypeError, "whole number"),
        (lambda ref: thornback.wait([ref], timeout=-1), ValueError, "timeout"),
        (lambda ref: thornback.cancel(3), TypeError, "ObjectRef"),
    ],
)
def test_errors_say_what_to_do(process: FakeProcess, call: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        call(thornback.put(0))


def test_references_of_another_session_are_refused(process: FakeProcess) -> None:
    ref = thornback.put(1)
    process.drop = [].append
    for call in (lambda: thornback.get(ref), lambda: thornback.get([ref]), lambda: thornback.wait([ref])):
        with pytest.raises(ValueError, match=r"shutdown\(\)"):
            call()


def test_references_compare_by_id_and_copy_to_themselves(process: FakeProcess) -> None:
    ref = thornback.put([1])
    assert copy.copy(ref) is ref and copy.deepcopy([ref])[0] is ref
    assert {ref: 1}[ref] == 1
    assert ref.hex() == ref.binary().hex() and ref.hex() in repr(ref)
    assert ref.task_id().binary() == ref.binary()[:20]
    assert not ref.is_nil()


def test_a_pickled_reference_is_noted_and_counted(process: FakeProcess) -> None:
    ref = thornback.put(1)
    serialized = serialization.dumps({"a": [ref]})
    assert serialized.contained == (ref.binary(),)
    assert serialization.loads(serialized.data) == {"a": [ref]}
    assert process.deserialized == [ref.binary()] and not process.exported


def test_a_reference_that_the_user_pickles_is_kept(process: FakeProcess) -> None:
    ref = thornback.put(1)
    assert pickle.loads(pickle.dumps(ref)) == ref
    assert process.exported == [ref.binary()]


def test_a_reference_means_nothing_without_a_cluster(process: FakeProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    from thornback.api import current

    data = pickle.dumps(thornback.put(1))
    monkeypatch.setattr(current, "runtime", None)
    with pytest.raises(RuntimeError, match="init"):
        pickle.loads(data)


def test_dynamic_generators(process: FakeProcess) -> None:
    ids = [return_id(task_id(bytes(12), 7), index) for index in (1, 2)]
    serialized = serialization.dumps(wrap_dynamic(ids))
    assert serialized.contained == tuple(ids)
    assert not process.dropped
    value = serialization.loads(serialized.data)
    assert isinstance(value, thornback.DynamicObjectRefGenerator)
    assert [ref.binary() for ref in value] == ids and len(value) == 2 and value[0] == next(iter(value))


def test_streaming_generators_cannot_be_passed_on(process: FakeProcess) -> None:
    generator: Any = thornback.ObjectRefGenerator(process.new_id(), process)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="items"):
        pickle.dumps(generator)


def test_concurrent_future(process: FakeProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    from thornback.api import lazy

    monkeypatch.setattr(lazy.blocking, "when_ready", lambda runtime, object_id, callback: callback())
    assert thornback.put(5).future().result(timeout=10) == 5


def test_awaiting(process: FakeProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    from thornback.api import lazy

    monkeypatch.setattr(lazy.blocking, "when_ready", lambda runtime, object_id, callback: callback())

    async def program() -> list[int]:
        return [await thornback.put(5), *await asyncio.gather(thornback.put(6), thornback.put(7))]

    assert asyncio.run(program()) == [5, 6, 7]
