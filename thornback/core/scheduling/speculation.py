"""Which running tasks are stragglers, and how many of them may run twice: pure functions of run times.

After *Improving MapReduce Performance in Heterogeneous Environments* (LATE; Zaharia et al., OSDI 2008, section 4) and
*Reining in the Outliers in Map-Reduce Clusters* (Mantri; Ananthanarayanan et al., OSDI 2010, section 5). These judge
by the progress that a task reports. Tasks here report none, so that the elapsed time takes its place: a task that has
run far longer than nearly all of its peers is more likely to be stuck than to be about to end. As there, few run twice
at any time, and few in all.
"""

from __future__ import annotations

from collections.abc import Sequence

LEAST_PEERS = 10
"""Finished runs before any other can be called a straggler."""
QUANTILE = 0.9
SLOWER = 1.5
"""How many times the quantile of the run times a straggler has taken."""
SHARE = 0.08
"""Of the finished tasks of a function may have been run twice, so that less than a tenth of the work is extra."""


def straggler_after(run_times: Sequence[int]) -> int | None:
    """The time, in that of ``run_times``, after which a run is a straggler; None if there are too few to tell."""
    if len(run_times) < LEAST_PEERS:
        return None
    ordered = sorted(run_times)
    return int(SLOWER * ordered[int(QUANTILE * (len(ordered) - 1))])


def may_run_twice(finished: int, copies: int) -> bool:
    """Whether one more task may run twice after ``copies`` have and ``finished`` tasks have ended."""
    return copies + 1 <= max(1.0, SHARE * finished)
