"""What a task raises is what ``get`` raises, with the remote traceback, wherever it happens."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import pytest

import thornback as ray
from thornback.exceptions import ActorDiedError, GetTimeoutError, RayError, RayTaskError, TaskError


def test_an_error_is_an_instance_of_its_cause(world: Any) -> None:
    @ray.remote
    def fail() -> None:
        raise ValueError("a bad value")

    with pytest.raises(ValueError, match="a bad value") as caught:
        ray.get(fail.remote())
    assert isinstance(caught.value, TaskError)
    assert isinstance(caught.value, RayTaskError) and isinstance(caught.value, RayError)
    assert isinstance(caught.value.cause, ValueError)


def test_an_error_prints_the_remote_traceback(world: Any) -> None:
    @ray.remote
    def outer() -> None:
        def inner() -> None:
            raise KeyError("the missing key")

        inner()

    with pytest.raises(KeyError) as caught:
        ray.get(outer.remote())
    text = str(caught.value)
    assert "Traceback (most recent call last)" in text
    assert "in inner" in text and "in outer" in text and "the missing key" in text
    assert 'raise KeyError("the missing key")' in text, "the source line helps to find the place"
    assert "thornback/core" not in text, "the engine's own frames are noise"


def test_a_class_of_ones_own_keeps_its_attributes(world: Any) -> None:
    class QuotaError(RuntimeError):
        def __init__(self, message: str, used: int = 0) -> None:
            super().__init__(message)
            self.used = used

    @ray.remote
    def fail() -> None:
        raise QuotaError("too much", 7)

    with pytest.raises(RuntimeError, match="too much") as caught:
        ray.get(fail.remote())
    assert getattr(caught.value, "used", None) == 7


def test_an_error_of_the_system_keeps_its_number(world: Any) -> None:
    @ray.remote
    def read() -> None:
        open("/no/such/file").close()

    with pytest.raises(FileNotFoundError) as caught:
        ray.get(read.remote())
    assert caught.value.errno == 2


def test_an_error_passes_through_the_tasks_that_depend_on_it(world: Any) -> None:
    counter = world.counter()

    @ray.remote
    def fail() -> int:
        raise ZeroDivisionError("the first")

    @ray.remote
    def use(value: int) -> int:
        ray.get(counter.add.remote())
        return value

    ref = use.remote(use.remote(use.remote(fail.remote())))
    with pytest.raises(ZeroDivisionError, match="the first") as caught:
        ray.get(ref)
    assert "in fail" in str(caught.value)
    assert ray.get(counter.get.remote()) == 0, "a task whose argument failed does not start"


def test_an_error_that_a_task_fetches_can_be_caught_there(world: Any) -> None:
    @ray.remote
    def fail() -> None:
        raise ValueError("inside")

    @ray.remote
    def careful() -> str:
        try:
            ray.get(fail.remote())
        except ValueError as error:
            return f"caught {type(error.__class__).__name__}: {'inside' in str(error)}"
        return "nothing"

    assert ray.get(careful.remote()) == "caught type: True"


def test_an_error_that_a_task_does_not_catch_names_both_tasks(world: Any) -> None:
    @ray.remote
    def below() -> None:
        raise ValueError("deep down")

    @ray.remote
    def above() -> None:
        ray.get(below.remote())

    with pytest.raises(ValueError, match="deep down") as caught:
        ray.get(above.remote())
    text = str(caught.value)
    assert "in above" in text and "in below" in text


def test_an_error_shows_what_it_was_raised_from(world: Any) -> None:
    @ray.remote
    def fail() -> None:
        try:
            {}["key"]
        except KeyError as error:
            raise RuntimeError("a reason") from error

    with pytest.raises(RuntimeError) as caught:
        ray.get(fail.remote())
    assert "KeyError: 'key'" in str(caught.value) and "direct cause" in str(caught.value)


def test_get_of_many_raises_the_first_error_in_order(world: Any) -> None:
    @ray.remote
    def work(x: int) -> int:
        if x in (3, 5):
            raise ValueError(f"number {x}")
        return x

    refs = [work.remote(x) for x in range(8)]
    with pytest.raises(ValueError, match="number 3"):
        ray.get(refs)
    assert ray.get(refs[:3]) == [0, 1, 2]


def test_a_failed_task_counts_as_ready(world: Any) -> None:
    @ray.remote
    def fail() -> None:
        raise ValueError

    ready, rest = ray.wait([fail.remote()], timeout=20)
    assert len(ready) == 1 and not rest


def test_all_returns_of_a_failed_task_raise(world: Any) -> None:
    @ray.remote(num_returns=2)
    def fail() -> Any:
        raise ValueError("both")

    for ref in fail.remote():
        with pytest.raises(ValueError, match="both"):
            ray.get(ref)


def test_the_same_error_is_raised_each_time(world: Any) -> None:
    @ray.remote
    def fail() -> None:
        raise ValueError("again")

    ref = fail.remote()
    for _ in range(3):
        with pytest.raises(ValueError, match="again"):
            ray.get(ref)


def test_errors_can_be_pickled_by_the_program(world: Any) -> None:
    @ray.remote
    def fail() -> None:
        raise ValueError("travels")

    with pytest.raises(ValueError) as caught:
        ray.get(fail.remote())
    again = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(again, ValueError) and isinstance(again, TaskError) and "travels" in str(again)


def test_an_exception_that_cannot_be_pickled_still_says_what_happened(world: Any) -> None:
    import threading

    class Stuck(Exception):
        def __init__(self) -> None:
            super().__init__("it holds a lock")
            self.lock = threading.Lock()

    @ray.remote
    def fail() -> None:
        raise Stuck

    with pytest.raises(TaskError, match="it holds a lock"):
        ray.get(fail.remote())


def test_an_exception_that_cannot_be_unpickled_still_says_what_happened(world: Any) -> None:
    class Picky(Exception):
        def __init__(self, code: int, text: str) -> None:
            super().__init__(f"{code}: {text}")

    @ray.remote
    def fail() -> None:
        raise Picky(7, "seven")

    with pytest.raises(TaskError, match="7: seven"):
        ray.get(fail.remote())


def test_sys_exit_in_a_task_is_an_error_of_that_task_alone(world: Any) -> None:
    @ray.remote(max_retries=0)
    def leave() -> None:
        sys.exit(3)

    @ray.remote
    def stay() -> int:
        return 1

    with pytest.raises(RayError):
        ray.get(leave.remote())
    assert ray.get([stay.remote() for _ in range(10)]) == [1] * 10


def test_an_error_in_an_actor_method_leaves_the_actor_alive(world: Any) -> None:
    @ray.remote
    class Account:
        def __init__(self) -> None:
            self.balance = 5

        def take(self, amount: int) -> int:
            if amount > self.balance:
                raise ValueError(f"only {self.balance} left")
            self.balance -= amount
            return self.balance

    account = Account.remote()
    refs = [account.take.remote(3), account.take.remote(3), account.take.remote(2)]
    assert ray.get(refs[0]) == 2
    with pytest.raises(ValueError, match="only 2 left") as caught:
        ray.get(refs[1])
    assert "take" in str(caught.value)
    assert ray.get(refs[2]) == 0


def test_the_exception_classes_have_the_bases_that_programs_expect(world: Any) -> None:
    assert issubclass(GetTimeoutError, TimeoutError) and issubclass(GetTimeoutError, RayError)
    assert issubclass(ActorDiedError, ray.exceptions.RayActorError)
    assert issubclass(ray.exceptions.OwnerDiedError, ray.exceptions.ObjectLostError)
    assert issubclass(ray.exceptions.RayActorError, RayError)


def test_a_stop_iteration_does_not_confuse_anybody(world: Any) -> None:
    @ray.remote
    def stop() -> None:
        raise StopIteration("halt")

    with pytest.raises(TaskError, match="halt"):
        ray.get(stop.remote())
