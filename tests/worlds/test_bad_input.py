"""Bad input gets a clear error that names the thing and says what to do; and nothing is lost."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import thornback as ray
from thornback.exceptions import ActorDiedError, TaskUnschedulableError


@pytest.fixture(autouse=True)
def nothing_is_lost(world: Any) -> Any:
    """After each bad input, work that was begun before it goes on, and new work is accepted."""

    @ray.remote
    def double(x: int) -> int:
        return 2 * x

    session = ray.get_runtime_context().get_worker_id()
    before = double.remote(1)
    yield
    if ray.is_initialized() and ray.get_runtime_context().get_worker_id() == session:
        assert ray.get([before, double.remote(2)], timeout=30) == [2, 4]


def test_an_unpicklable_argument_is_named(world: Any) -> None:
    @ray.remote
    def echo(value: Any) -> Any:
        return value

    with pytest.raises(TypeError, match=r"lock.*\['a'\]\[1\].*Make it inside the task"):
        echo.remote({"a": [0, threading.Lock()]})


def test_an_unpicklable_closure_is_named(world: Any) -> None:
    guard = threading.Lock()

    @ray.remote
    def locked() -> None:
        with guard:
            pass

    with pytest.raises(TypeError, match=r"lock.*closure variable 'guard'"):
        locked.remote()


def test_an_unpicklable_attribute_of_an_actor_class_is_named(world: Any) -> None:
    guard = threading.Lock()

    class Locked:
        def work(self) -> Any:
            return guard

    with pytest.raises(TypeError, match=r"lock.*guard"):
        ray.remote(Locked).remote()


def test_an_unpicklable_put_is_named(world: Any) -> None:
    with pytest.raises(TypeError, match=r"lock.*\[0\]"):
        ray.put([threading.Lock()])


def test_calling_a_remote_function_directly_says_how_to_call_it(world: Any) -> None:
    @ray.remote
    def work() -> None: ...

    with pytest.raises(TypeError, match=r"work\.remote\("):
        work()


def test_calling_an_actor_class_directly_says_how_to_call_it(world: Any) -> None:
    @ray.remote
    class Worker:
        def work(self) -> None: ...

    with pytest.raises(TypeError, match=r"Worker\.remote\("):
        Worker()
    worker = Worker.remote()
    with pytest.raises(TypeError, match=r"work\.remote\("):
        worker.work()


def test_an_unknown_option_is_named_with_a_proposal(world: Any) -> None:
    @ray.remote
    def work() -> None: ...

    with pytest.raises(ValueError, match=r"'num_cpu' of .*did you mean 'num_cpus'"):
        work.options(num_cpu=1)
    with pytest.raises(ValueError, match="'max_restarts' is an option of an actor class"):
        work.options(max_restarts=1)


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("num_cpus", -1, ">= 0"),
        ("num_cpus", "two", "number"),
        ("num_returns", "all", '"dynamic" or "streaming"'),
        ("max_retries", -2, "-1 for no limit"),
        ("resources", {"x": "y"}, "numbers >= 0"),
        ("retry_exceptions", [1], "exception classes"),
        ("scheduling_strategy", "ANYWHERE", '"SPREAD"'),
    ],
)
def test_a_bad_option_names_itself_and_what_is_allowed(world: Any, option: str, value: Any, allowed: str) -> None:
    @ray.remote
    def work() -> None: ...

    with pytest.raises((TypeError, ValueError)) as caught:
        work.options(**{option: value})
    text = str(caught.value)
    assert repr(option) in text and allowed in text and repr(value) in text


def test_wrong_arguments_are_refused_before_anything_is_sent(world: Any) -> None:
    @ray.remote
    def add(x: int, y: int) -> int:
        return x + y

    with pytest.raises(TypeError, match=r"add.*y"):
        add.remote(1)
    with pytest.raises(TypeError, match="add"):
        add.remote(1, 2, 3)
    with pytest.raises(TypeError, match=r"add.*z"):
        add.remote(1, y=2, z=3)


@pytest.mark.parametrize("thing", [5, "text", None, [1], {"a": 1}])
def test_get_of_something_that_is_no_reference_says_what_it_takes(world: Any, thing: Any) -> None:
    with pytest.raises(TypeError, match=r"get\(\).*ObjectRef"):
        ray.get(thing)


def test_wait_checks_what_it_is_given(world: Any) -> None:
    ref = ray.put(1)
    with pytest.raises(TypeError, match="list of ObjectRefs"):
        ray.wait(ref)
    with pytest.raises(TypeError, match=r"wait\(\)"):
        ray.wait([1])
    with pytest.raises(ValueError, match="num_returns must be from 1 to 1"):
        ray.wait([ref], num_returns=2)
    with pytest.raises(ValueError, match="num_returns"):
        ray.wait([ref], num_returns=0)
    with pytest.raises(ValueError, match="only once"):
        ray.wait([ref, ref])
    with pytest.raises(ValueError, match="timeout"):
        ray.wait([ref], timeout=-1)


def test_put_of_a_reference_is_refused(world: Any) -> None:
    with pytest.raises(TypeError, match="it is a reference already"):
        ray.put(ray.put(1))


def test_a_second_init_says_what_to_do(world: Any) -> None:
    with pytest.raises(RuntimeError, match=r"shutdown\(\).*ignore_reinit_error"):
        ray.init()
    assert ray.init(ignore_reinit_error=True) is not None


def test_an_actor_used_after_its_end_says_why_it_ended(world: Any) -> None:
    class Worker:
        def work(self) -> int:
            return 1

    worker = ray.remote(Worker).remote()
    ray.get(worker.work.remote())
    ray.kill(worker)
    with pytest.raises(ActorDiedError, match=r"Worker\.work.*kill"):
        ray.get(worker.work.remote())


@pytest.mark.parametrize(("count", "given"), [(2, 3), (3, 2), (2, 0)])
def test_a_function_with_the_wrong_number_of_values_says_both(world: Any, count: int, given: int) -> None:
    @ray.remote(num_returns=count)
    def values() -> Any:
        return tuple(range(given))

    for ref in values.remote():
        with pytest.raises(ValueError, match=f"values has num_returns={count} but returned {given} values"):
            ray.get(ref)


def test_a_function_that_returns_no_sequence_says_so(world: Any) -> None:
    @ray.remote(num_returns=2)
    def one() -> int:
        return 5

    with pytest.raises(ValueError, match="num_returns=2 but returned one int"):
        ray.get(one.remote()[0])


def test_fail_if_infeasible_is_a_flag(world: Any) -> None:
    for make in (
        lambda: ray.remote(fail_if_infeasible="yes")(len),
        lambda: ray.remote(fail_if_infeasible=1)(object),
        lambda: ray.util.placement_group([{"CPU": 1}], fail_if_infeasible="yes"),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match=r"fail_if_infeasible.* must be True or False, not"):
            make()


def test_an_infeasible_demand_gives_the_reason(world: Any) -> None:
    @ray.remote(num_cpus=1000, fail_if_infeasible=True)
    def huge() -> None: ...

    with pytest.raises(TaskUnschedulableError, match=r"huge needs \{CPU: 1000\}.*\{CPU: 4\}"):
        ray.get(huge.remote(), timeout=30)


def test_an_async_task_says_what_to_do_instead(world: Any) -> None:
    async def work() -> None: ...

    with pytest.raises(ValueError, match=r"work is 'async def'.*asyncio\.run"):
        ray.remote(work)


def test_something_that_is_no_function_cannot_be_remote(world: Any) -> None:
    with pytest.raises(TypeError, match="functions and classes"):
        ray.remote(5)


def test_a_stream_cannot_be_passed_on(world: Any) -> None:
    @ray.remote
    def count() -> Any:
        yield 1

    @ray.remote
    def read(stream: Any) -> None: ...

    with pytest.raises(TypeError, match="items"):
        read.remote(count.remote())


def test_a_reference_of_an_ended_session_is_recognized(world: Any) -> None:
    """A new session knows nothing of the objects of the last one."""
    ref = ray.put(1)
    ray.shutdown()
    ray.init(**({"num_cpus": 4, "log_to_driver": False} if world.is_real else {}))
    with pytest.raises((RuntimeError, ValueError, ray.exceptions.RayError), match=r"shutdown\(\)"):
        ray.get(ref, timeout=20)
    ray.shutdown()


def test_a_call_before_init_starts_a_cluster(world: Any) -> None:
    ray.shutdown()

    @ray.remote
    def work() -> int:
        return 5

    assert ray.get(work.remote()) == 5
    assert ray.is_initialized()
    ray.shutdown()
    ray.shutdown()


def test_init_checks_its_arguments(world: Any) -> None:
    ray.shutdown()
    with pytest.raises(ValueError, match=r"num_cpus must be a number >= 0, not -1"):
        ray.init(num_cpus=-1)
    with pytest.raises(TypeError, match=r"num_cpu.*did you mean 'num_cpus'"):
        ray.init(num_cpu=1)
    with pytest.raises(ValueError, match="give 'CPU' as argument 'num_cpus'"):
        ray.init(resources={"CPU": 1})
    with pytest.raises(ValueError, match="unknown setting 'speed'"):
        ray.init(_system_config={"speed": 1})
    assert not ray.is_initialized()


@pytest.mark.only("simulated")
def test_a_thread_in_a_simulated_program_is_refused(world: Any) -> None:
    """Real programs may start threads; in the simulation they would run outside of virtual time."""
    with pytest.raises(RuntimeError, match="thread"):
        threading.Thread(target=print).start()

    @ray.remote
    def start_thread() -> None:
        threading.Thread(target=print).start()

    with pytest.raises(RuntimeError, match="thread"):
        ray.get(start_thread.remote())


@pytest.mark.only("simulated")
def test_a_socket_in_a_simulated_program_is_refused(world: Any) -> None:
    """Real programs may open sockets; in the simulation nothing outside exists."""
    import socket

    with pytest.raises((RuntimeError, OSError), match="simulat"):
        socket.create_connection(("127.0.0.1", 9))
