"""What goes into a task and what comes back: values, references, large values in shared memory."""

from __future__ import annotations

import threading
from typing import Any

import numpy
import pytest

import thornback as ray

LARGE = 300_000
"""Elements of an array that is far too large to travel inside a message."""


def test_a_reference_as_argument_arrives_as_its_value(world: Any) -> None:
    @ray.remote
    def add(x: int, y: int) -> int:
        return x + y

    assert ray.get(add.remote(ray.put(1), add.remote(2, ray.put(3)))) == 6


def test_a_reference_as_keyword_argument_arrives_as_its_value(world: Any) -> None:
    @ray.remote
    def subtract(x: int, *, y: int) -> int:
        return x - y

    assert ray.get(subtract.remote(y=ray.put(1), x=subtract.remote(5, y=2))) == 2


def test_the_same_reference_may_be_given_twice(world: Any) -> None:
    @ray.remote
    def compare(x: Any, y: Any) -> bool:
        return bool(x == y)

    ref = ray.put("value")
    assert ray.get(compare.remote(ref, ref))


@pytest.mark.parametrize("wrap", ["list", "dict", "tuple", "object"])
def test_a_reference_inside_a_container_stays_a_reference(world: Any, wrap: str) -> None:
    class Holder:
        def __init__(self, ref: Any) -> None:
            self.ref = ref

    @ray.remote
    def open_it(container: Any) -> Any:
        inner = container.ref if isinstance(container, Holder) else container["ref" if wrap == "dict" else 0]
        return isinstance(inner, ray.ObjectRef), ray.get(inner)

    ref = ray.put("inside")
    container = {"list": [ref], "dict": {"ref": ref}, "tuple": (ref,), "object": Holder(ref)}[wrap]
    assert ray.get(open_it.remote(container)) == (True, "inside")


def test_references_of_unfinished_tasks_can_be_passed_in_containers(world: Any) -> None:
    signal = world.signal()

    @ray.remote
    def later() -> str:
        ray.get(signal.wait.remote())
        return "done"

    @ray.remote
    def fetch(refs: list[Any]) -> Any:
        return ray.get(refs)

    ref = fetch.remote([later.remote(), later.remote()])
    ready, _ = ray.wait([ref], timeout=0.1)
    assert not ready, "the tasks that it fetches from have not been allowed to finish"
    signal.send.remote()
    assert ray.get(ref) == ["done", "done"]


def test_a_reference_to_a_reference_is_opened_one_layer_at_a_time(world: Any) -> None:
    @ray.remote
    def open_once(inner: Any) -> Any:
        return type(inner[0]).__name__, ray.get(ray.get(inner[0])[0])

    innermost = ray.put("core")
    middle = ray.put([innermost])
    outer = ray.put([middle])
    assert ray.get(open_once.remote(outer)) == ("ObjectRef", "core")
    assert ray.get(ray.get(ray.get(outer)[0])[0]) == "core"


def test_a_function_can_capture_references(world: Any) -> None:
    ref = ray.put([1, 2, 3])

    @ray.remote
    def total() -> int:
        return sum(ray.get(ref))

    assert ray.get([total.remote() for _ in range(5)]) == [6] * 5


def test_small_values_are_copies(world: Any) -> None:
    values = {"list": [1, 2]}

    @ray.remote
    def change(given: dict[str, list[int]]) -> dict[str, list[int]]:
        given["list"].append(3)
        return given

    assert ray.get(change.remote(values)) == {"list": [1, 2, 3]}
    assert values == {"list": [1, 2]}


def test_large_arrays_travel_both_ways_unharmed(world: Any) -> None:
    @ray.remote
    def double(array: Any) -> Any:
        return array * 2

    array = numpy.arange(LARGE)
    assert numpy.array_equal(ray.get(double.remote(array)), array * 2)
    assert numpy.array_equal(ray.get(double.remote(ray.put(array))), array * 2)
    assert numpy.array_equal(ray.get(double.remote(double.remote(array=array))), array * 4)


def test_large_arrays_are_read_only_views_of_shared_memory(world: Any) -> None:
    ref = ray.put(numpy.arange(LARGE))

    @ray.remote
    def look(array: Any) -> tuple[bool, bool]:
        return array.flags.writeable, array.flags.owndata

    assert ray.get(look.remote(ref)) == (False, False)
    first, second = ray.get(ref), ray.get(ref)
    assert not first.flags.writeable
    assert numpy.shares_memory(first, second), "both are views of the one copy in shared memory"
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1


def test_large_arrays_can_be_read_after_their_reference_is_gone(world: Any) -> None:
    array = ray.get(ray.put(numpy.arange(LARGE)))
    others = [ray.get(ray.put(numpy.zeros(LARGE))) for _ in range(5)]
    assert array[-1] == LARGE - 1 and int(array.sum()) == LARGE * (LARGE - 1) // 2
    assert all(not other.any() for other in others)


@pytest.mark.parametrize("size", [0, 1, 100, 102_300, 102_400, 102_500, 5_000_000])
def test_values_of_every_size_come_back(world: Any, size: int) -> None:
    @ray.remote
    def echo(value: Any) -> Any:
        return value

    value = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert ray.get(echo.remote(value)) == value
    assert ray.get(ray.put(value)) == value


def test_several_large_values_come_back_from_one_task(world: Any) -> None:
    @ray.remote(num_returns=3)
    def make() -> Any:
        return numpy.zeros(LARGE), "small", numpy.ones(LARGE)

    zeros, small, ones = ray.get(make.remote())
    assert not zeros.any() and small == "small" and ones.all()


def test_a_large_value_can_be_read_by_many_tasks(world: Any) -> None:
    @ray.remote
    def total(array: Any, start: int) -> int:
        return int(array[start::10].sum())

    ref = ray.put(numpy.arange(LARGE))
    assert sum(ray.get([total.remote(ref, start) for start in range(10)])) == LARGE * (LARGE - 1) // 2


def test_functions_and_classes_can_be_arguments_and_results(world: Any) -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    @ray.remote
    def build(kind: Any, change: Any) -> Any:
        return kind(change(1)), lambda y: y * 10

    point, function = ray.get(build.remote(Point, lambda x: x + 1))
    assert (point.x, function(4)) == (2, 40)


def test_a_list_of_a_thousand_references_is_fetched(world: Any) -> None:
    @ray.remote
    def total(refs: list[Any]) -> int:
        return sum(ray.get(refs))

    assert ray.get(total.remote([ray.put(x) for x in range(1000)])) == 499_500


def test_a_put_value_can_be_fetched_many_times_and_is_a_new_copy_each_time(world: Any) -> None:
    ref = ray.put([1])
    first = ray.get(ref)
    first.append(2)
    assert ray.get(ref) == [1]


def test_an_argument_that_cannot_be_pickled_is_named_and_nothing_else_is_lost(world: Any) -> None:
    @ray.remote
    def echo(value: Any) -> Any:
        return value

    before = echo.remote(1)
    with pytest.raises(TypeError, match=r"lock.*\['inner'\]") as caught:
        echo.remote({"inner": threading.Lock()})
    assert isinstance(caught.value, ray.exceptions.ThornbackError)
    assert ray.get([before, echo.remote(2)]) == [1, 2]


def test_a_result_that_cannot_be_pickled_is_an_error_of_the_task(world: Any) -> None:
    @ray.remote
    def stream() -> Any:
        return iter(x for x in range(3))

    with pytest.raises(TypeError, match="generator"):
        ray.get(stream.remote())


def test_an_object_that_cannot_be_unpickled_is_an_error_of_the_reader(world: Any) -> None:
    class Stubborn:
        def __reduce__(self) -> Any:
            return int, ("not a number",)

    ref = ray.put(Stubborn())
    with pytest.raises(ray.exceptions.ThornbackError, match="not a number"):
        ray.get(ref)

    @ray.remote
    def take(value: Any) -> None: ...

    with pytest.raises(ray.exceptions.ThornbackError, match="not a number"):
        ray.get(take.remote(ref))
    assert ray.get(ray.put(1)) == 1
