"""When work had better go to another node than the one that has its arguments: pure functions of times and sizes.

A task that waits for a busy node pays with waiting, one that goes elsewhere pays with moving its arguments. Where the
waiting time is known, the smaller price is paid. Where it is not, a task waits as long as moving would take, and then
moves: so it never pays more than twice what would have been best (the rent-or-buy argument; as *delay scheduling*,
Zaharia et al., EuroSys 2010, section 3, where the delay is a constant).
"""

from __future__ import annotations

from thornback.core.config import SECOND


def moving_time(size: int, bandwidth: int, queued: int = 0) -> int:
    """How long it takes, in nanoseconds, to bring ``size`` bytes over a link of ``bandwidth`` bytes per second that
    has work for ``queued`` nanoseconds before."""
    return queued + size * SECOND // bandwidth if size else 0


def waiting_time(tasks: int, run_time: int, workers: int) -> int:
    """How long the last of so many queued tasks waits, in nanoseconds, for workers that each have one at hand; 0 if
    that is not known, because there are no workers or no task has ended yet."""
    return tasks * run_time // workers if workers else 0


def patience(moving: int, waiting: int) -> int:
    """How long a request for a worker should wait at the node that has the arguments before it goes elsewhere."""
    return 0 if waiting > moving else moving


def should_move(moving: int, waiting: int, waited: int) -> bool:
    """Whether a task goes to an idle worker elsewhere.

    Args:
        moving: what that costs.
        waiting: how long it will have to wait otherwise, as far as is known.
        waited: how long it has waited already.
    """
    return max(waiting, waited) >= moving
