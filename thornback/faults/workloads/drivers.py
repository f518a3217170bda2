"""One program after another on the same cluster: what a program leaves behind ends with it, what is detached stays."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import thornback as ray
from thornback.faults.workloads.checks import CheckFailed, check, check_equal, outcome

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


def tally(program: int) -> Any:
    """The actor of this program, under a name that the program before has used."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return Tally.options(name="tally").remote()
        except ValueError:
            if time.monotonic() > end:
                raise CheckFailed(f"the named actor of program {program - 1} must end with its program") from None
            time.sleep(0.1)


def one_program(program: int) -> str:
    """What one program does; much of it is under way when it ends. Returns the id of the detached actor."""
    with ray.init(namespace=NAMESPACE):
        mine = tally(program)
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


def main(programs: int = 8) -> None:
    """One program after the other; leaves the program that called, if one is connected."""
    ray.shutdown()
    alone = is_alone()
    first = one_program(0)
    for program in range(1, programs):
        identity = one_program(program)
        check(alone or identity == first, "the detached actor must outlive programs and crashes, and is another one")
    ray.init(namespace=NAMESPACE, ignore_reinit_error=True)


if __name__ == "__main__":
    main()
