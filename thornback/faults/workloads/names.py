"""Named and detached actors: a name belongs to one actor at a time, and is free again when that has ended."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import thornback as ray
from thornback.exceptions import ActorDiedError, ActorUnavailableError, WorkerCrashedError
from thornback.faults.workloads.checks import check, check_equal, eventually, outcomes

PATIENCE = 90.0
"""Seconds in which what was asked for must have happened: longer than it takes to notice that a node has died."""


@ray.remote(num_cpus=0.1, max_restarts=-1, max_task_retries=-1)
class Member:
    """Knows who it is, in all its incarnations."""

    def identity(self) -> str:
        """Its id."""
        time.sleep(0.01)
        return str(ray.get_runtime_context().get_actor_id())


@ray.remote(num_cpus=0.1)
class Guest:
    """A named actor that ends with its last handle."""

    def identity(self) -> str:
        """Its id."""
        return str(ray.get_runtime_context().get_actor_id())


@ray.remote(max_retries=-1, num_cpus=0.5)
def join(name: str) -> str:
    """Find or make the member of that name; its id."""
    time.sleep(0.02)
    member = Member.options(name=name, lifetime="detached", get_if_exists=True).remote()
    return str(ray.get(member.identity.remote()))


@ray.remote(max_retries=0, num_cpus=0.5)
def claim(name: str) -> str:
    """Make the member of that name; its id, or nothing if there is one already."""
    try:
        member = Member.options(name=name, lifetime="detached").remote()
    except ValueError:
        return ""
    return str(ray.get(member.identity.remote()))


@ray.remote(max_retries=-1, num_cpus=0.5)
def look_up(name: str) -> str:
    """The id of the member of that name, which exists."""
    return str(ray.get(ray.get_actor(name).identity.remote()))


def is_free(name: str) -> bool:
    """Whether no actor has that name."""
    try:
        ray.get_actor(name)
    except ValueError:
        return True
    return False


def members(names: int, tasks: int) -> None:
    """Many tasks look for the same members at the same time."""
    joining = {number: [join.remote(f"member {number}") for _ in range(tasks)] for number in range(names)}
    for number, refs in joining.items():
        name = f"member {number}"
        found = ray.get(refs)
        check_equal(f"the ids of the actors named {name}", found, [found[0]] * tasks)
        check_equal(f"the id behind the name {name}, looked up by a task", ray.get(look_up.remote(name)), found[0])
    for number in range(names):
        name = f"member {number}"
        ray.kill(ray.get_actor(name))
        eventually(f"the name {name} must be free after its actor was killed", partial(is_free, name), PATIENCE)


def claims(names: int, tasks: int) -> None:
    """Of several that make an actor of the same name, one succeeds."""
    claiming = {number: [claim.remote(f"claim {number}") for _ in range(tasks)] for number in range(names)}
    for number, refs in claiming.items():
        found = outcomes(f"a claim of name {number}", refs, (WorkerCrashedError,))
        winners = [each for each in found if isinstance(each, str) and each]
        check(len(winners) <= 1, f"one of {tasks} tasks may have made the actor of name {number}; {winners} have")
        crashed = any(isinstance(each, WorkerCrashedError) for each in found)
        check(winners or crashed, f"one of {tasks} tasks must have made the actor of name {number}, and none has")
        if winners:
            ray.kill(ray.get_actor(f"claim {number}"))


def guests(count: int) -> None:
    """A name is free again when the last handle of its actor is gone."""
    for number in range(count):
        guest: Any = Guest.options(name="guest").remote()
        try:
            same = ray.get(ray.get_actor("guest").identity.remote())
            check_equal(f"the id of guest {number}", ray.get(guest.identity.remote()), same)
        except (ActorDiedError, ActorUnavailableError, ValueError):
            pass  # It has died, as it may: it has no restarts.
        del guest
        eventually(
            f"the name of guest {number} must be free after its last handle has gone",
            partial(is_free, "guest"),
            PATIENCE,
        )


def main(names: int = 4, tasks: int = 5) -> None:
    """All three, one after the other."""
    ray.init(ignore_reinit_error=True)
    members(names, tasks)
    claims(names, tasks)
    guests(6)


if __name__ == "__main__":
    main()
