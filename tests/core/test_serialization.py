"""Values to bytes and back; and when that cannot be, which part of them is to blame."""

from __future__ import annotations

import threading
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thornback.core import serialization
from thornback.core.errors import DeserializationError, SerializationError, TaskError, ThornbackError
from thornback.core.serialization import dumps, error_value, find_unpicklable, loads, loads_value

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3) | st.tuples(inner, inner)
    ),
    max_leaves=10,
)


@given(VALUES)
def test_values_come_back_equal(value: Any) -> None:
    serialized = dumps(value)
    assert loads(serialized.data, serialized.buffers) == value
    assert loads_value(serialized.to_value()) == value
    assert serialized.size == len(serialized.data) + sum(buffer.nbytes for buffer in serialized.buffers)


def test_arrays_travel_out_of_band() -> None:
    array = numpy.arange(100_000)
    serialized = dumps({"array": array, "strided": array[::2]})
    assert sum(buffer.nbytes for buffer in serialized.buffers) >= array.nbytes
    assert len(serialized.data) < array.nbytes / 4 + array[::2].nbytes
    assert numpy.array_equal(loads(serialized.data, serialized.buffers)["array"], array)


def test_arrays_in_every_memory_order_survive() -> None:
    table = numpy.arange(12).reshape(3, 4)
    for array in (table, numpy.asfortranarray(table), table.T, table[:, 1::2], numpy.zeros((0, 3)), numpy.array(7)):
        serialized = dumps(array)
        assert numpy.array_equal(loads(serialized.data, [bytes(each) for each in serialized.buffers]), array)


def wrap_in_list(value: Any) -> tuple[Any, str]:
    return [1, value], "[1]"


def wrap_in_tuple(value: Any) -> tuple[Any, str]:
    return (value, 2), "[0]"


def wrap_in_dict(value: Any) -> tuple[Any, str]:
    return {"a": 1, "key": value}, "['key']"


def wrap_in_object(value: Any) -> tuple[Any, str]:
    class Holder:
        def __init__(self) -> None:
            self.name, self.part = "holder", value

    return Holder(), ".part"


def wrap_in_closure(value: Any) -> tuple[Any, str]:
    def function() -> Any:
        return value

    return function, " closure variable 'value'"


WRAPPERS = [wrap_in_list, wrap_in_tuple, wrap_in_dict, wrap_in_object, wrap_in_closure]


@given(st.lists(st.sampled_from(WRAPPERS), max_size=4))
@settings(max_examples=40, deadline=None)
def test_the_culprit_is_named_with_the_path_to_it(wrappers: list[Any]) -> None:
    lock = threading.Lock()
    value, path = lock, ""
    for wrap in wrappers:
        value, step = wrap(value)
        path = step + path
    found_path, culprit = find_unpicklable(value)
    assert culprit is lock, f"the culprit is the lock at {path!r}, not {culprit!r} at {found_path!r}"
    assert found_path == path
    with pytest.raises(SerializationError) as caught:
        dumps(value)
    message = str(caught.value)
    assert "lock" in message and (path or "the value itself") in message
    assert "Make it inside the task" in message, "the message must say what to do"


def test_a_serialization_error_is_a_type_error_too() -> None:
    with pytest.raises(TypeError):
        dumps(threading.Lock())


def test_what_cannot_be_unpickled_says_why() -> None:
    class Stubborn:
        def __reduce__(self) -> Any:
            return _refuse, ()

    with pytest.raises(DeserializationError, match="not here"):
        serialized = dumps(Stubborn())
        loads(serialized.data, serialized.buffers)


def _refuse() -> None:
    raise LookupError("not here")


def test_an_error_that_cannot_be_pickled_keeps_its_text() -> None:
    class Bad(Exception):
        def __init__(self, text: str) -> None:
            super().__init__(text)
            self.lock = threading.Lock()

    value = error_value(TaskError("f", Bad("it broke"), "Traceback ...\nBad: it broke"))
    assert value.is_error
    error = loads_value(value)
    assert isinstance(error, TaskError) and error.cause is None
    assert "it broke" in str(error)
    plain = loads_value(error_value(Bad("it broke")))
    assert isinstance(plain, ThornbackError) and "it broke" in str(plain)


def test_a_function_has_the_same_id_after_it_has_travelled() -> None:
    offset = 3

    def add(x: int) -> int:
        return x + offset

    definition = serialization.define_function(add, "add")
    loaded = serialization.load_function(definition)
    assert loaded(4) == 7
    assert serialization.define_function(loaded, "add").function_id == definition.function_id


def test_a_function_that_has_travelled_names_its_file() -> None:
    def outer() -> Any:
        def inner() -> None: ...

        return inner

    arrived = loads(dumps(outer).data)
    assert arrived.__code__.co_filename == __file__, "tracebacks must lead to the file of the function"
    assert arrived().__code__.co_filename == __file__, "and so for functions inside of it"


CAUSES = [ValueError("a"), KeyError("k"), OSError(2, "gone", "file"), ZeroDivisionError()]


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: type(cause).__name__)
def test_a_task_error_is_an_instance_of_its_cause_also_after_travelling(cause: Exception) -> None:
    error = TaskError("f", cause, "Traceback").as_instance_of_cause()
    assert isinstance(error, type(cause)) and isinstance(error, TaskError)
    again = loads_value(error_value(error))
    assert isinstance(again, type(cause)) and isinstance(again, TaskError)
    assert again.traceback_text == "Traceback"
    assert getattr(again, "errno", None) == getattr(cause, "errno", None)


class _Odd(ValueError):
    """Can be pickled but not unpickled, as many exceptions of libraries."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")


def test_an_error_that_cannot_be_unpickled_keeps_its_traceback() -> None:
    error = loads_value(error_value(TaskError("f", _Odd(7, "odd"), "Traceback: 7: odd")))
    assert isinstance(error, TaskError)
    assert "7: odd" in str(error)
