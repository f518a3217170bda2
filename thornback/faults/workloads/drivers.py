"""Programs on the same cluster: what a program leaves behind ends with it, what is detached stays.

First one after the other, each of which leaves with much under way. Then several at the same time, of which some are
killed at any moment; a storm may kill the others.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import thornback as ray
from thornback.exceptions import OwnerDiedError, SessionEndedError
from thornback.faults.workloads.checks import CheckFailed, check, check_equal, eventually, outcome
from thornback.faults.workloads.programs import Program, start
from thornback.util import get_placement_group, placement_group
from thornback.util.scheduling_strategies import PlacementGroupSchedulingStrategy

FAULTS = ("crash_driver",)
"""See :func:`thornback.faults.workloads.faults_of`."""
NAMESPACE = "driver churn"
PATIENCE = 90.0
"""Seconds in which what ends with a program has ended: longer than it takes to notice that a node has died."""


@ray.remote(max_retries=-1)
def square(number: int) -> int:
    """Some work."""
    time.sleep(0.05)
    return number * number


@ray.remote(max_retries=-1)
def forever(data: np.ndarray) -> None:
    """Work that the program does not wait for."""
    time.sleep(10_000)


@ray.remote(num_cpus=0.5, max_restarts=-1, max_task_retries=-1)
class Tally:
    """Counts the programs that it has met."""

    def __init__(self) -> None:
        self.met: set[int] = set()

    def meet(self, program: int) -> int:
        """A program says hello."""
        self.met.add(program)
        return len(self.met)

    def identity(self) -> str:
        """Its id, the same in all incarnations."""
        return str(ray.get_runtime_context().get_actor_id())


def tally(name: str) -> Any:
    """The actor of this program, under a name that a program before has used."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return Tally.options(name=name).remote()
        except ValueError:
            if time.monotonic() > end:
                raise CheckFailed(f"the actor named {name!r} must end with the program that has made it") from None
            time.sleep(0.1)


def one_program(program: int) -> str:
    """What one program does; much of it is under way when it ends. Returns the id of the detached actor."""
    with ray.init(namespace=NAMESPACE):
        mine = tally("tally")
        check_equal(f"how many programs the actor of program {program} has met", ray.get(mine.meet.remote(program)), 1)
        shared: Any = Tally.options(name="shared", lifetime="detached", get_if_exists=True).remote()
        identity: str = outcome("a call to the detached actor", shared.identity.remote(), ())
        count = outcome("a call to the detached actor", shared.meet.remote(program), ())
        check(1 <= count <= program + 1, f"the detached actor has met 1 to {program + 1} programs, not {count}")
        refs = [square.remote(number) for number in range(12)]
        data = ray.put(np.zeros(40_000))
        left: list[Any] = [forever.remote(data) for _ in range(3)] + [square.remote(number) for number in range(100)]
        check_equal(f"the squares of program {program}", ray.get(refs), [number * number for number in range(12)])
        del refs, data, left
    return identity


def is_alone() -> bool:
    """Whether each program starts a cluster of its own, which ends with it: on this machine, not in a simulation."""
    with ray.init():
        first = ray.get_runtime_context().get_node_id()
    with ray.init():
        return bool(ray.get_runtime_context().get_node_id() != first)


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Keeper:
    """Keeps references that programs leave with it; forgets them when it dies."""

    def __init__(self) -> None:
        self.kept: dict[int, list[Any]] = {}

    def keep(self, program: int, refs: list[Any]) -> None:
        """Borrow objects of a program."""
        self.kept[program] = refs

    def knows(self, program: int) -> bool:
        """Whether the program has left something here."""
        return program in self.kept

    def can_read(self, program: int) -> bool:
        """Whether the objects of the program are still there."""
        try:
            ray.get(self.kept.get(program, []))
        except OwnerDiedError:
            return False
        return program in self.kept


def life(number: int, address: str | None) -> None:
    """A program that may be killed at any moment; what it makes is its own, but for one detached actor."""
    with ray.init(address=address, namespace=NAMESPACE):
        keeper: Any = ray.get_actor("keeper")
        mine = tally(f"mortal {number % 2}")
        check_equal(f"how many programs the actor of program {number} has met", ray.get(mine.meet.remote(number)), 1)
        heir: Any = Tally.options(name=f"heir {number}", lifetime="detached").remote()
        ray.get(heir.meet.remote(number))
        group = placement_group([{"CPU": 0.5}], name=f"group {number}")
        inside = PlacementGroupSchedulingStrategy(group, 0)
        member: Any = Tally.options(scheduling_strategy=inside).remote()
        data = ray.put(np.zeros(40_000))
        ray.get(keeper.keep.remote(number, [data]))
        left = [forever.remote(data), member.meet.remote(number), *(square.remote(index) for index in range(20))]
        time.sleep(random.uniform(0.2, 1.0))
        del left


def is_gone(find: Callable[[str], Any], name: str) -> bool:
    """Whether nothing of that name is found."""
    try:
        find(name)
    except ValueError:
        return True
    return False


def lives(count: int, address: str | None) -> None:
    """Several programs at the same time, of which every other one is killed at some moment of its life. One whose node
    is given up, or loses its node process, is told that its session has ended, which is as good an end."""
    keeper: Any = Keeper.options(name="keeper").remote()
    ray.get(keeper.knows.remote(0))
    programs: list[Program] = []
    for number in range(count):
        programs.append(start(life, number, address, node=number))
        time.sleep(random.uniform(0.0, 0.8))
        if number % 2:
            programs[-1].kill()
    for number, program in enumerate(programs):
        program.wait()
        if program.error is not None and not isinstance(program.error, SessionEndedError):
            raise program.error
        check_what_is_left(keeper, number)


def check_what_is_left(keeper: Any, number: int) -> None:
    """After the end of a program: nothing but what is detached."""
    eventually(
        f"the group of program {number} must end with it",
        lambda: is_gone(get_placement_group, f"group {number}"),
        PATIENCE,
    )
    eventually(
        f"what program {number} has put must be gone for those who have references",
        lambda: not ray.get(keeper.can_read.remote(number)),
        PATIENCE,
    )
    if ray.get(keeper.knows.remote(number)):
        heir: Any = ray.get_actor(f"heir {number}")
        met = outcome(f"a call to the detached actor of program {number}", heir.meet.remote(number), ())
        check_equal(f"how many programs the detached actor of program {number} has met", met, 1)
    if not is_gone(ray.get_actor, f"heir {number}"):
        ray.kill(ray.get_actor(f"heir {number}"))


def main(programs: int = 8, mortals: int = 6) -> None:
    """One program after the other, then several at a time; leaves the program that called, if one is connected."""
    ray.shutdown()
    alone = is_alone()
    first = one_program(0)
    for program in range(1, programs):
        identity = one_program(program)
        check(alone or identity == first, "the detached actor must outlive programs and crashes, and is another one")
    context = ray.init(namespace=NAMESPACE, ignore_reinit_error=True)
    lives(mortals, context["session_dir"] if alone else None)
    for name in ("mortal 0", "mortal 1"):
        eventually(f"the name {name!r} must be free", partial(is_gone, ray.get_actor, name), PATIENCE)


if __name__ == "__main__":
    main()
