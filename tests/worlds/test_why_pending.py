"""``why_pending``: one sentence about what something waits for, down to its root."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import numpy
import pytest

import thornback as ray
from thornback.util import placement_group, remove_placement_group, why_pending
from thornback.util.scheduling_strategies import NodeAffinitySchedulingStrategy as NodeAffinity
from thornback.util.scheduling_strategies import PlacementGroupSchedulingStrategy as InGroup

pytestmark = [pytest.mark.cluster(cpus=2)]


def says(world: Any, ref: Any, pattern: str) -> str:
    """Wait until the sentence about ``ref`` is as expected, and return it."""
    return str(
        world.eventually(
            lambda: (lambda text: text if re.search(pattern, text) else None)(why_pending(ref)),
            f"why_pending() says {pattern!r} rather than {why_pending(ref)!r}",
        )
    )


def test_a_task_that_runs_says_where_and_for_how_long(world: Any) -> None:
    signal = world.signal()

    @ray.remote
    def work() -> None:
        time.sleep(0.5)
        ray.get(signal.wait.remote())

    ref = work.remote()
    text = says(world, ref, r"^\S*work \(\S+\) runs on \S+ in process \d+ for 0\.[1-9] s$")
    assert "\n" not in text
    ray.get(signal.send.remote())
    ray.get(ref)
    says(world, ref, r"work.* is done$|is done$")


def test_a_task_that_waits_in_get_says_at_which_line_and_for_whom(world: Any) -> None:
    signal = world.signal()

    @ray.remote
    def inner() -> None:
        ray.get(signal.wait.remote())

    @ray.remote
    def outer() -> None:
        ray.get(inner.remote())

    ref = outer.remote()
    says(
        world,
        ref,
        r"outer .*runs on \S+ and waits.* in get\(\) at \S*test_why_pending.py:\d+ outer for \S*inner .*"
        r"\.remote\(\) at \S*test_why_pending.py:\d+ outer\), which runs on .* waits.* in get\(\) at "
        r"\S+test_why_pending.py:\d+ inner for Signal.wait .*which runs on",
    )
    ray.get(signal.send.remote())
    ray.get(ref)


def test_an_argument_is_followed_to_the_task_that_makes_it(world: Any) -> None:
    signal = world.signal()

    @ray.remote
    def make() -> int:
        ray.get(signal.wait.remote())
        return 1

    @ray.remote
    def add(one: int, other: int) -> int:
        return one + other

    made = [make.remote(), make.remote()]
    says(
        world, add.remote(made[0], made[1]), r"add .* waits for 2 of its 2 arguments, first for \S*make .*, which runs"
    )
    text = says(world, add.remote(add.remote(made[0], 1), 2), r"add .* waits for its argument \S*add")
    assert text.count("waits for its argument") == 2 and "make" in text
    ray.get(signal.send.remote())
    ray.get(made)


def test_a_task_without_room_says_what_it_needs_and_who_has_it(world: Any) -> None:
    @ray.remote
    class Holder:
        def ping(self) -> None: ...

    holders = [Holder.options(num_cpus=1).remote() for _ in range(2)]
    ray.get([holder.ping.remote() for holder in holders])

    @ray.remote
    def big() -> None: ...

    ref = big.options(num_cpus=2).remote()
    text = says(world, ref, r"big .*waits until \{CPU: 2\} is free: \S+ has \{CPU: 0\} of \{CPU: 2\} free; held by")
    assert re.search(r"held by actor \S*Holder \{CPU: 2\} of job \d+$", text), text
    assert "done" not in text
    holders.clear()
    ray.get(ref)


def test_a_demand_that_no_node_has_says_what_the_largest_one_has(world: Any) -> None:
    @ray.remote(num_cpus=64)
    def huge() -> None: ...

    ref = huge.remote()
    says(world, ref, r"huge .*can never run on the present nodes: .*\{CPU: 64\}, but the most CPU .* is \{CPU: 2\}")
    ray.cancel(ref)


def test_a_call_waits_for_the_creation_of_its_actor(world: Any) -> None:
    signal = world.signal()

    @ray.remote
    class Slow:
        def __init__(self) -> None:
            ray.get(signal.wait.remote())

        def ping(self) -> int:
            return 1

    actor = Slow.remote()
    ref = actor.ping.remote()
    says(world, ref, r"Slow.ping .* waits for actor \S*Slow .*, which is being made and runs on .* waits.* in get\(\)")
    says(world, actor, r"^actor \S*Slow \(\S+\) is being made and runs on")
    ray.get(signal.send.remote())
    assert ray.get(ref) == 1
    says(world, actor, "is alive and waits for calls$")
    ray.kill(actor)
    says(world, actor, r"has ended: it was killed with kill\(\)")


def test_a_call_waits_in_the_queue_of_its_actor(world: Any) -> None:
    signal = world.signal()

    @ray.remote
    class Single:
        def block(self) -> None:
            ray.get(signal.wait.remote())

        def ping(self) -> int:
            return 1

    actor = Single.remote()
    actor.block.remote()
    ref = actor.ping.remote()
    says(world, ref, r"Single.ping .* runs one call at a time, behind \S*Single.block .*, which runs on .* waits")
    ray.get(signal.send.remote())
    assert ray.get(ref) == 1


def test_a_call_waits_for_an_earlier_one_whose_argument_is_missing(world: Any) -> None:
    signal = world.signal()

    @ray.remote
    class Echo:
        def echo(self, value: Any) -> Any:
            return value

    actor = Echo.remote()
    ray.get(actor.echo.remote(0))
    first = actor.echo.remote(signal.wait.remote())
    second = actor.echo.remote(2)
    says(world, second, r"Echo.echo .* waits until the earlier call .*, which waits for its argument Signal.wait")
    ray.get(signal.send.remote())
    assert ray.get([first, second]) == [None, 2]


def test_a_group_without_room_says_which_bundle_fits_nowhere(world: Any) -> None:
    first = placement_group([{"CPU": 2}])
    first.wait(20)
    second = placement_group([{"CPU": 1}], name="second")
    says(world, second, r"placement group second waits for room: bundle 0 needs \{CPU: 1\}, but the node .* \{CPU: 0\}")
    says(world, second.ready(), r"waits for the place of placement group second, which waits for room: bundle 0")

    @ray.remote
    def inside() -> int:
        return 1

    ref = inside.options(scheduling_strategy=InGroup(second)).remote()
    says(world, ref, r"inside .* waits for the place of placement group second, which waits for room: bundle 0")
    remove_placement_group(first)
    assert ray.get(ref) == 1
    says(world, second, "has its place on")
    remove_placement_group(second)


def test_a_group_that_can_never_be_placed(world: Any) -> None:
    group = placement_group([{"CPU": 1}, {"CPU": 64}])
    says(world, group, r"can never run on the present nodes: bundle 1 needs \{CPU: 64\}, but the largest node .*CPU: 2")
    remove_placement_group(group)
    says(world, group, "has ended: it was removed")


def test_a_task_asks_about_a_reference_that_it_borrows(world: Any) -> None:
    signal = world.signal()

    @ray.remote(num_cpus=0)
    def work() -> None:
        ray.get(signal.wait.remote())

    @ray.remote(num_cpus=0)
    def ask(refs: list[Any]) -> str:
        return why_pending(refs[0])

    ref = work.remote()
    says(world, ref, "work .* waits")
    assert re.search(r"work .* waits.* in get\(\)", ray.get(ask.remote([ref])))
    ray.get(signal.send.remote())


def test_a_generator_and_a_failed_task(world: Any) -> None:
    signal = world.signal()

    @ray.remote
    def items() -> Any:
        yield 1
        ray.get(signal.wait.remote())

    generator = items.remote()
    says(world, generator, r"items .* waits.* in get\(\)")
    ray.get(signal.send.remote())
    list(generator)

    @ray.remote
    def fails() -> None:
        raise ValueError

    ref = fails.remote()
    ray.wait([ref])
    assert why_pending(ref).endswith("has failed; get() raises its error")


def test_something_else_is_refused_with_the_choices(world: Any) -> None:
    with pytest.raises(TypeError, match=r"an ObjectRef, an ObjectRefGenerator, an actor handle or .* not 7 \(int\)"):
        why_pending(7)  # type: ignore[arg-type]


@pytest.mark.only("simulated")
@pytest.mark.cluster(cpus=2, nodes=3)
def test_in_a_cluster_the_node_with_most_room_is_named(world: Any) -> None:
    world.eventually(lambda: len(ray.nodes()) == 3, "three nodes are up")

    @ray.remote
    def hold(seconds: float) -> None:
        time.sleep(seconds)

    busy = [hold.options(num_cpus=2).remote(5) for _ in range(2)] + [hold.options(num_cpus=1).remote(5)]
    time.sleep(2)
    ref = hold.options(num_cpus=2).remote(0)
    says(
        world,
        ref,
        r"hold .* until \{CPU: 2\} is free: node-\d has \{CPU: \d\} of \{CPU: 2\} free, and of the 2 other nodes none "
        r"has more than \{CPU: [01]\} \(node-\d\); held by hold",
    )
    ray.get([ref, *busy])


@pytest.mark.only("simulated")
@pytest.mark.cluster(cpus=1, nodes=2)
def test_a_lost_value_is_made_again(world: Any) -> None:
    world.eventually(lambda: len(ray.nodes()) == 2, "two nodes are up")
    here = ray.get_runtime_context().get_node_id()
    other = next(node["NodeID"] for node in ray.nodes() if node["NodeID"] != here)

    @ray.remote(scheduling_strategy=NodeAffinity(other, soft=True))
    def make() -> Any:
        time.sleep(2)
        return numpy.zeros(1_000_000)

    ref = make.remote()
    ray.wait([ref], fetch_local=False)
    says(world, ref, r"is done; its 8,000,\d+ bytes are on node-1$")
    world.simulation.kill_node(1)
    says(world, ref, r"make .* is made again, since its value was lost, and runs on node-0")
    assert len(ray.get(ref)) == 1_000_000


@pytest.mark.only("simulated")
@pytest.mark.cluster(cpus=1, nodes=2)
def test_a_large_value_on_its_way_says_how_much_has_come(world: Any) -> None:
    world.eventually(lambda: len(ray.nodes()) == 2, "two nodes are up")
    here = ray.get_runtime_context().get_node_id()
    other = next(node["NodeID"] for node in ray.nodes() if node["NodeID"] != here)

    @ray.remote(scheduling_strategy=NodeAffinity(other, soft=False))
    def make() -> Any:
        return numpy.zeros(100_000_000)

    @ray.remote(num_cpus=0, scheduling_strategy=NodeAffinity(here, soft=False))
    def read(array: Any) -> int:
        return len(array)

    ref = make.remote()
    ray.wait([ref], fetch_local=False)
    result = read.remote(ref)
    text = says(world, ref, r"bytes are on node-1 and is on its way to node-0, where [\d,]+ of 800,000,\d+ bytes have")
    assert text.startswith("make")
    assert ray.get(result) == 100_000_000


@pytest.mark.only("simulated")
@pytest.mark.cluster(
    cpus=1, nodes=1, init={"_system_config": {"prestart_workers": False, "retry_backoff": 3_000_000_000}}
)
def test_a_failed_attempt_and_the_start_of_a_worker(world: Any) -> None:
    world.simulation.nodes[0].start_delay = 2_000_000_000

    @ray.remote(max_retries=3)
    def work() -> None:
        time.sleep(1)

    ref = work.remote()
    says(world, ref, r"work .* has its resources on node-0, where a worker process starts")
    says(world, ref, r"work .* runs on node-0")
    world.simulation.kill_worker(0)
    says(world, ref, r"work .* has failed and starts again by itself in a moment, as attempt 2")
    ray.get(ref)


def test_a_coroutine_says_what_it_awaits(world: Any) -> None:
    signal = world.signal()

    @ray.remote(num_cpus=0)
    class Front:
        async def ask(self) -> None:
            await signal.wait.remote()

        async def give_up(self) -> str:
            try:
                await asyncio.wait_for(asyncio.shield(signal.wait.remote().as_future()), 0.2)
            except TimeoutError:
                await asyncio.sleep(2)
            return "gave up"

    front = Front.remote()
    ref, other = front.ask.remote(), front.give_up.remote()
    says(
        world, ref, r"Front.ask .* runs on \S+ and waits.* in await for Signal.wait .*\(\.remote\(\) at .*which runs on"
    )
    assert ray.get(other) == "gave up"
    ray.get(signal.send.remote())
    assert ray.get(ref) is None
