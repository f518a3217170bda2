"""Actors: state in a process of its own, called in order, until its last handle is gone."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

import thornback as ray
from thornback.exceptions import ActorDiedError, ActorError, ActorUnavailableError, PendingCallsLimitExceeded


def counter_class() -> Any:
    """A class that travels by value."""

    class Counter:
        def __init__(self, start: int = 0) -> None:
            self.value = start

        def add(self, amount: int = 1) -> int:
            self.value += amount
            return self.value

        def get(self) -> int:
            return self.value

        def die(self) -> None:
            os._exit(1)

        def fail(self) -> None:
            raise ValueError("as asked")

        def worker(self) -> str:
            return ray.get_runtime_context().get_worker_id()

    return ray.remote(Counter)


def test_an_actor_keeps_its_state_between_calls(world: Any) -> None:
    counter = counter_class().remote(10)
    assert ray.get([counter.add.remote() for _ in range(5)]) == [11, 12, 13, 14, 15]
    assert ray.get(counter.add.remote(amount=5)) == 20


def test_calls_of_one_caller_run_in_the_order_of_their_submission(world: Any) -> None:
    @ray.remote
    class Log:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def note(self, x: int) -> None:
            self.seen.append(x)

        def all(self) -> list[int]:
            return self.seen

    log = Log.remote()
    for x in range(300):
        log.note.remote(x)
    assert ray.get(log.all.remote()) == list(range(300))


def test_a_call_waits_for_its_arguments_and_those_behind_it_wait_too(world: Any) -> None:
    gate = world.signal()

    @ray.remote
    def late() -> int:
        ray.get(gate.wait.remote())
        return 100

    counter = counter_class().remote()
    first, second = counter.add.remote(late.remote()), counter.add.remote(1)
    ready, _ = ray.wait([second], timeout=0.1)
    assert not ready, "the second call keeps its place behind the first, which waits for its argument"
    gate.send.remote()
    assert ray.get([first, second]) == [100, 101]


def test_two_actors_of_a_class_are_independent(world: Any) -> None:
    first, second = counter_class().remote(), counter_class().remote(100)
    ray.get([first.add.remote(), second.add.remote()])
    assert ray.get([first.get.remote(), second.get.remote()]) == [1, 101]
    assert ray.get(first.worker.remote()) != ray.get(second.worker.remote())


def test_a_constructor_gets_references_as_values(world: Any) -> None:
    @ray.remote
    def seven() -> int:
        return 7

    assert ray.get(counter_class().remote(seven.remote()).get.remote()) == 7


def test_a_constructor_that_raises_shows_at_each_call(world: Any) -> None:
    @ray.remote
    class Broken:
        def __init__(self) -> None:
            raise ValueError("cannot begin")

        def work(self) -> int:
            return 1

    broken = Broken.remote()
    for _ in range(2):
        with pytest.raises(ActorDiedError, match="cannot begin") as caught:
            ray.get(broken.work.remote())
    assert "__init__" in str(caught.value), "the traceback shows where the constructor failed"


def test_a_constructor_whose_argument_failed_shows_the_cause(world: Any) -> None:
    @ray.remote
    def fail() -> int:
        raise ValueError("the argument")

    with pytest.raises(ActorError, match="the argument"):
        ray.get(counter_class().remote(fail.remote()).get.remote())


@pytest.mark.parametrize("name", ["", "taken"])
def test_who_was_given_an_actor_whose_argument_failed_learns_the_cause(world: Any, name: str) -> None:
    @ray.remote
    def fail() -> int:
        raise ValueError("the argument")

    @ray.remote
    def use(actor: Any) -> None:
        with pytest.raises(ActorError, match="the argument"):
            ray.get(actor.get.remote(), timeout=20)

    options = {"name": name} if name else {}
    first = counter_class().options(**options).remote()
    assert ray.get(first.get.remote()) == 0
    actor = counter_class().options(**options).remote(fail.remote())
    ray.get([use.remote(actor), use.remote(actor)])
    assert ray.get(first.get.remote()) == 0


def test_handles_can_be_passed_to_tasks_and_actors(world: Any) -> None:
    @ray.remote
    def add_to(counter: Any, amount: int) -> int:
        return int(ray.get(counter.add.remote(amount)))

    @ray.remote
    class Proxy:
        def __init__(self, inner: Any) -> None:
            self.inner = inner["handle"]

        def add(self) -> int:
            return int(ray.get(self.inner.add.remote()))

    counter = counter_class().remote()
    assert sorted(ray.get([add_to.remote(counter, 1) for _ in range(4)])) == [1, 2, 3, 4]
    proxy = Proxy.remote({"handle": counter})
    assert ray.get(proxy.add.remote()) == 5
    assert ray.get(counter.get.remote()) == 5


def test_a_handle_can_be_returned_by_a_task(world: Any) -> None:
    kind = counter_class()

    @ray.remote
    class Maker:
        def make(self) -> Any:
            return kind.remote(5)

    maker = Maker.remote()
    counter = ray.get(maker.make.remote())
    assert ray.get(counter.add.remote()) == 6


def test_an_actor_can_call_itself_through_its_handle_given_by_others(world: Any) -> None:
    @ray.remote
    class Node:
        def __init__(self) -> None:
            self.next: Any = None

        def link(self, other: Any) -> None:
            self.next = other

        def hops(self, n: int) -> int:
            return 0 if n == 0 else 1 + int(ray.get(self.next.hops.remote(n - 1)))

    nodes = [Node.remote() for _ in range(3)]
    ray.get([nodes[n].link.remote(nodes[(n + 1) % 3]) for n in range(2)])
    assert ray.get(nodes[0].hops.remote(2)) == 2


def test_an_actor_ends_with_its_last_handle_after_the_calls_before(world: Any) -> None:
    witness = world.counter()

    @ray.remote
    class Mortal:
        def __init__(self, witness: Any) -> None:
            self.witness = witness

        def work(self, n: int) -> None:
            ray.get(self.witness.add.remote(n))

        def name(self) -> str:
            return ray.get_runtime_context().get_worker_id()

    mortal = Mortal.options(name="mortal").remote(witness)
    for n in range(20):
        mortal.work.remote(n)
    del mortal
    world.eventually(lambda: ray.get(witness.get.remote()) == 20, "all calls before the end of the handle have run")

    def gone() -> bool:
        try:
            ray.get_actor("mortal")
        except ValueError:
            return True
        return False

    world.eventually(gone, "the actor ends with its last handle")


def test_an_actor_whose_results_could_be_made_again_ends_with_its_last_handle_too(world: Any) -> None:
    @ray.remote(num_cpus=1, max_restarts=1, max_task_retries=1)
    class Maker:
        def make(self) -> bytes:
            return bytes(1_000_000)

    result = Maker.remote().make.remote()
    ray.wait([result])
    world.eventually(lambda: ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"], "it ends")
    assert len(ray.get(result)) == 1_000_000


def test_an_actor_lives_as_long_as_a_handle_anywhere(world: Any) -> None:
    @ray.remote
    class Keeper:
        def keep(self, handles: list[Any]) -> None:
            self.kept = handles[0]

        def ask(self) -> int:
            return int(ray.get(self.kept.add.remote()))

    keeper = Keeper.remote()
    counter = counter_class().remote()
    ray.get(keeper.keep.remote([counter]))
    del counter
    assert ray.get([keeper.ask.remote() for _ in range(5)]) == [1, 2, 3, 4, 5]


def test_a_temporary_handle_is_enough_for_one_call(world: Any) -> None:
    assert ray.get(counter_class().remote(41).add.remote()) == 42


def test_kill_ends_an_actor_at_once(world: Any) -> None:
    gate = world.signal()

    @ray.remote
    class Waiter:
        def wait(self) -> None:
            ray.get(gate.wait.remote())

        def ping(self) -> int:
            return 1

    waiter = Waiter.remote()
    assert ray.get(waiter.ping.remote()) == 1
    running, queued = waiter.wait.remote(), waiter.ping.remote()
    ray.kill(waiter)
    for ref in (running, queued, waiter.ping.remote()):
        with pytest.raises(ActorDiedError, match="kill"):
            ray.get(ref)


def test_kill_with_restart_gives_a_new_incarnation(world: Any) -> None:
    counter = counter_class().options(max_restarts=1, max_task_retries=-1).remote()
    assert ray.get(counter.add.remote(5)) == 5
    before = ray.get(counter.worker.remote())
    ray.kill(counter, no_restart=False)
    world.eventually(lambda: ray.get(counter.worker.remote()) != before, "another process takes over")
    assert ray.get(counter.get.remote()) == 0, "its state is that of a new actor"


def test_exit_actor_ends_the_actor_from_within(world: Any) -> None:
    @ray.remote
    class Worker:
        def leave(self) -> None:
            ray.actor.exit_actor()

        def ping(self) -> int:
            return 1

    worker = Worker.options(max_restarts=5).remote()
    assert ray.get(worker.ping.remote()) == 1
    with pytest.raises(ActorDiedError, match="exit_actor"):
        ray.get(worker.leave.remote())
    with pytest.raises(ActorDiedError, match="exit_actor"):
        ray.get(worker.ping.remote())


def test_terminate_ends_the_actor_after_the_calls_before(world: Any) -> None:
    counter = counter_class().remote()
    refs = [counter.add.remote() for _ in range(10)]
    counter.__ray_terminate__.remote()
    assert ray.get(refs) == list(range(1, 11))
    with pytest.raises(ActorDiedError):
        ray.get(counter.add.remote())


def test_a_crash_fails_calls_under_way_and_later_ones(world: Any) -> None:
    counter = counter_class().remote()
    ray.get(counter.add.remote())
    with pytest.raises(ActorDiedError, match="exit code 1"):
        ray.get(counter.die.remote())
    with pytest.raises(ActorDiedError, match="has ended"):
        ray.get(counter.add.remote())


def test_a_killed_process_is_restarted_up_to_max_restarts(world: Any) -> None:
    @ray.remote(max_restarts=2, max_task_retries=0)
    class Fragile:
        def pid(self) -> str:
            return ray.get_runtime_context().get_worker_id()

        def die(self) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    def works_again() -> Any:
        try:
            return ray.get(fragile.pid.remote())
        except ActorUnavailableError:
            return None

    fragile = Fragile.remote()
    workers = [ray.get(fragile.pid.remote())]
    for _ in range(2):
        with pytest.raises(ActorError):
            ray.get(fragile.die.remote())
        workers.append(world.eventually(works_again, "the actor is restarted"))
    assert len(set(workers)) == 3
    with pytest.raises(ActorDiedError):
        ray.get(fragile.die.remote())
    with pytest.raises(ActorDiedError, match="max_restarts"):
        ray.get(fragile.pid.remote())


def test_without_task_retries_a_method_starts_at_most_once(world: Any) -> None:
    witness = world.counter()

    @ray.remote(max_restarts=-1)
    class Fragile:
        def die(self) -> None:
            ray.get(witness.add.remote())
            os._exit(1)

    fragile = Fragile.remote()
    with pytest.raises(ActorUnavailableError):
        ray.get(fragile.die.remote())
    assert ray.get(witness.get.remote()) == 1


def test_with_task_retries_a_call_is_repeated_on_the_next_incarnation(world: Any) -> None:
    witness = world.counter()

    @ray.remote(max_restarts=-1, max_task_retries=3)
    class Fragile:
        def work(self) -> str:
            if ray.get(witness.add.remote()) <= 2:
                os._exit(1)
            return "done"

    fragile = Fragile.remote()
    assert ray.get(fragile.work.remote()) == "done"
    assert ray.get(witness.get.remote()) == 3


def test_calls_that_wait_survive_a_restart_in_their_order(world: Any) -> None:
    witness = world.counter()

    @ray.remote(max_restarts=1, max_task_retries=1)
    class Log:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def note(self, x: int) -> list[int]:
            if x == 5 and ray.get(witness.add.remote()) == 1:
                os._exit(1)
            self.seen.append(x)
            return list(self.seen)

    log = Log.remote()
    results = ray.get([log.note.remote(x) for x in range(10)])
    assert results[-1] == sorted(results[-1]), "calls run in their order, before and after the restart"
    assert results[-1][-5:] == [5, 6, 7, 8, 9]


def test_an_actor_knows_that_it_was_restarted(world: Any) -> None:
    @ray.remote(max_restarts=1, max_task_retries=1)
    class Curious:
        def ask(self) -> bool:
            return bool(ray.get_runtime_context().was_current_actor_reconstructed)

        def die(self) -> None:
            if not ray.get_runtime_context().was_current_actor_reconstructed:
                os._exit(1)

    curious = Curious.remote()
    assert ray.get(curious.ask.remote()) is False
    ray.get(curious.die.remote())
    assert ray.get(curious.ask.remote()) is True


def test_exceptions_of_methods_can_be_retried(world: Any) -> None:
    @ray.remote(max_task_retries=3)
    class Unsure:
        def __init__(self) -> None:
            self.calls = 0

        @ray.method(retry_exceptions=[ValueError])
        def work(self) -> int:
            self.calls += 1
            if self.calls < 3:
                raise ValueError("not yet")
            return self.calls

    assert ray.get(Unsure.remote().work.remote()) == 3


def test_a_named_actor_can_be_found(world: Any) -> None:
    counter = counter_class().options(name="the counter").remote(3)

    @ray.remote
    def find() -> int:
        return int(ray.get(ray.get_actor("the counter").add.remote()))

    assert ray.get(find.remote()) == 4
    assert ray.get(ray.get_actor("the counter").get.remote()) == 4
    with pytest.raises(ValueError, match="'no such actor'"):
        ray.get_actor("no such actor")
    del counter


def test_a_name_can_be_used_once_at_a_time(world: Any) -> None:
    kind = counter_class()
    first = kind.options(name="taken").remote(1)
    with pytest.raises(ValueError, match=r"'taken'.*get_if_exists"):
        kind.options(name="taken").remote(2)
    assert ray.get(first.get.remote()) == 1
    ray.kill(first)

    def again() -> Any:
        try:
            return kind.options(name="taken").remote(3)
        except ValueError:
            return None

    second = world.eventually(again, "the name is free after the end of its actor")
    assert ray.get(second.get.remote()) == 3


def test_get_if_exists_finds_or_makes(world: Any) -> None:
    kind = counter_class().options(name="shared", get_if_exists=True)
    first, second = kind.remote(5), kind.remote(100)
    assert ray.get(first.add.remote()) == 6
    assert ray.get(second.add.remote()) == 7, "the second handle is one of the same actor"

    @ray.remote
    def use() -> int:
        return int(ray.get(kind.remote(0).add.remote()))

    assert sorted(ray.get([use.remote() for _ in range(3)])) == [8, 9, 10]


def test_namespaces_keep_names_apart(world: Any) -> None:
    kind = counter_class()
    here = kind.options(name="same").remote(1)
    there = kind.options(name="same", namespace="elsewhere").remote(2)
    assert ray.get(ray.get_actor("same").get.remote()) == 1
    assert ray.get(ray.get_actor("same", namespace="elsewhere").get.remote()) == 2
    names = ray.util.list_named_actors(all_namespaces=True)
    assert {"name": "same", "namespace": "elsewhere"} in names
    assert "same" in ray.util.list_named_actors()
    del here, there


def test_a_detached_actor_needs_no_handle(world: Any) -> None:
    kind = counter_class()
    kind.options(name="detached", lifetime="detached").remote(7)

    @ray.remote
    def make() -> None:
        kind.options(name="made elsewhere", lifetime="detached").remote(8)

    ray.get(make.remote())
    assert ray.get(ray.get_actor("detached").get.remote()) == 7
    assert ray.get(ray.get_actor("made elsewhere").get.remote()) == 8
    for name in ("detached", "made elsewhere"):
        ray.kill(ray.get_actor(name))


def test_an_actor_that_a_task_made_ends_with_the_tasks_handle(world: Any) -> None:
    kind = counter_class()

    @ray.remote
    def make() -> int:
        return int(ray.get(kind.options(name="short-lived").remote(7).get.remote()))

    assert ray.get(make.remote()) == 7
    world.eventually(
        lambda: "short-lived" not in ray.util.list_named_actors(), "the actor ends when the task that made it is over"
    )


def test_max_pending_calls_refuses_more(world: Any) -> None:
    gate = world.signal()

    @ray.remote(max_pending_calls=3)
    class Busy:
        def wait(self) -> int:
            ray.get(gate.wait.remote())
            return 1

    busy = Busy.remote()
    refs = [busy.wait.remote() for _ in range(3)]
    with pytest.raises(PendingCallsLimitExceeded, match="max_pending_calls"):
        busy.wait.remote()
    gate.send.remote()
    assert ray.get(refs) == [1, 1, 1]
    assert ray.get(busy.wait.remote()) == 1


def test_methods_can_have_several_returns(world: Any) -> None:
    @ray.remote
    class Pair:
        @ray.method(num_returns=2)
        def both(self) -> Any:
            return 1, 2

    pair = Pair.remote()
    first, second = pair.both.remote()
    assert ray.get([first, second]) == [1, 2]
    assert ray.get(pair.both.options(num_returns=1).remote()) == (1, 2)


def test_actor_classes_can_inherit(world: Any) -> None:
    class Base:
        def name(self) -> str:
            return "base"

        def twice(self) -> str:
            return self.name() * 2

    @ray.remote
    class Derived(Base):
        def name(self) -> str:
            return "derived"

    assert ray.get(Derived.remote().twice.remote()) == "derivedderived"


def test_large_results_of_actors_come_back(world: Any) -> None:
    import numpy

    @ray.remote
    class Store:
        def __init__(self) -> None:
            self.array = numpy.arange(200_000)

        def all(self) -> Any:
            return self.array

        def add(self, other: Any) -> int:
            self.array = self.array + other
            return int(self.array[-1])

    store = Store.remote()
    array = ray.get(store.all.remote())
    assert array.shape == (200_000,)
    assert ray.get(store.add.remote(array)) == 2 * 199_999


def test_handles_of_one_actor_are_equal(world: Any) -> None:
    counter = counter_class().options(name="equal").remote()
    assert ray.get_actor("equal") == counter
    assert hash(ray.get_actor("equal")) == hash(counter)


def test_a_method_that_does_not_exist_is_refused_at_once(world: Any) -> None:
    counter = counter_class().remote()
    with pytest.raises(AttributeError, match="subtract"):
        counter.subtract.remote()


def test_calls_out_of_order_may_overtake_one_that_waits(world: Any) -> None:
    gate = world.signal()

    @ray.remote
    def late() -> int:
        ray.get(gate.wait.remote())
        return 100

    counter = counter_class().options(allow_out_of_order_execution=True).remote()
    first, second = counter.add.remote(late.remote()), counter.add.remote(1)
    assert ray.get(second) == 1, "its argument is there, so it does not wait for the call before"
    gate.send.remote()
    assert ray.get(first) == 101
