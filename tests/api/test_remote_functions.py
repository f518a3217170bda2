"""Remote functions: calling, pickling, errors."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

import thornback
from thornback.core.messages import STREAMING

if TYPE_CHECKING:
    from tests.api.conftest import FakeProcess


@thornback.remote
def add(x: int, y: int = 1) -> int:
    """Add."""
    return x + y


def test_a_call_submits_and_returns_a_reference(process: FakeProcess) -> None:
    ref = add.remote(1, y=2)
    template, definition, args, kwargs = process.last()
    assert isinstance(ref, thornback.ObjectRef)
    assert (args, kwargs) == ((1,), {"y": 2})
    assert template.name == "add" and template.num_returns == 1 and template.max_retries == 3
    assert template.function_id == definition.function_id
    assert template.resources == {"CPU": 10_000}


def test_templates_are_made_once(process: FakeProcess) -> None:
    add.remote(1)
    first = process.last()[0]
    add.remote(2)
    assert process.last()[0] is first
    other = add.options(num_cpus=2)
    other.remote(1)
    assert process.last()[0].key != first.key
    assert process.last()[1].function_id == first.function_id


def test_another_session_gets_a_definition_of_its_own(process: FakeProcess) -> None:
    add.remote(1)
    first = process.last()[1]
    process.drop = [].append
    add.remote(1)
    assert process.last()[1] is not first


def test_what_remote_returns_depends_on_num_returns(process: FakeProcess) -> None:
    def items() -> Any:
        yield 1

    assert add.options(num_returns=0).remote(1) is None
    assert len(add.options(num_returns=3).remote(1)) == 3
    assert isinstance(add.options(num_returns="dynamic").remote(1), thornback.ObjectRef)
    assert isinstance(add.options(num_returns="streaming").remote(1), thornback.ObjectRefGenerator)
    assert isinstance(thornback.remote(items).remote(), thornback.ObjectRefGenerator)
    assert process.last()[0].num_returns == STREAMING


def test_references_are_dropped_when_collected(process: FakeProcess) -> None:
    ref = add.remote(1)
    object_id = ref.binary()
    assert not process.dropped
    del ref
    gc.collect()
    assert list(process.dropped) == [object_id]


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, "misses the argument 'x'"),
        ((1, 2, 3), {}, "takes 2 positional arguments but 3 were given"),
        ((1,), {"z": 1}, "unexpected argument 'z'"),
        ((1,), {"x": 1}, "two values for argument 'x'"),
    ],
)
def test_wrong_arguments_are_refused_at_the_call(process: FakeProcess, args: Any, kwargs: Any, words: str) -> None:
    with pytest.raises(TypeError, match=r"add\(\) .*" + words + r".*\(x, y=\.\.\.\)"):
        add.remote(*args, **kwargs)
    assert not process.calls


def test_calling_directly_is_refused_with_advice() -> None:
    with pytest.raises(TypeError, match=r"add\.remote\(\.\.\.\)"):
        add(1)
    assert add._function(1, 2) == 3
    assert add.__doc__ == "Add." and add.__name__ == "add"


def test_what_cannot_be_remote() -> None:
    async def coroutine() -> None: ...

    with pytest.raises(ValueError, match="async def"):
        thornback.remote(coroutine)
    with pytest.raises(TypeError, match="functions and classes"):
        thornback.remote(3)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"\.options"):
        thornback.remote(add)
    with pytest.raises(TypeError, match="without parentheses"):
        thornback.remote()
    with pytest.raises(TypeError, match="by name"):
        thornback.remote(add._function, num_cpus=1)  # type: ignore[call-overload]


def test_a_function_that_calls_itself_survives_pickling(process: FakeProcess) -> None:
    source = """
import thornback

@thornback.remote(num_cpus=2)
def fibonacci(n):
    return n if n < 2 else (fibonacci.remote(n - 1), fibonacci.remote(n - 2))
"""
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(source, scope)
    original = scope["fibonacci"]
    copy = cloudpickle.loads(cloudpickle.dumps(original))
    assert copy._chosen == {"num_cpus": 2}
    assert copy._function.__globals__["fibonacci"]._function is copy._function
    body = cloudpickle.loads(cloudpickle.dumps(original._function))
    left, right = body(5)
    assert process.last()[2] == (3,) and left != right


def test_plain_functions_travel_by_content(process: FakeProcess) -> None:
    add.remote(1)
    first = process.last()[1]
    thornback.remote(add._function).remote(1)
    assert process.last()[1] == first


def test_unpicklable_closures_are_named(process: FakeProcess) -> None:
    import threading

    the_lock = threading.Lock()

    @thornback.remote
    def locked() -> None:
        the_lock.acquire()

    with pytest.raises(TypeError, match="the_lock"):
        locked.remote()
