"""Making a failing plan as small and simple as it can be while it still fails in the same way.

The faults that matter are found by delta debugging: Zeller and Hildebrandt, *Simplifying and Isolating Failure-Inducing
Input*, IEEE Transactions on Software Engineering 28(2), 2002, algorithm ``ddmin``. What remains is simplified field by
field, and the cluster made smaller.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from thornback.faults.failure import Failure, examine
from thornback.faults.loader import PlanError, parse_plan
from thornback.faults.plan import AnyFault, Plan
from thornback.faults.program import Program
from thornback.faults.run import Outcome, Setup

MAX_RUNS = 500

Test = Callable[[Plan, Setup], bool]


class Shrunk(msgspec.Struct, frozen=True):
    """What is left of a plan."""

    failure: Failure
    runs: int
    """How many runs it took."""
    faults_before: int
    complete: bool
    """Whether nothing more could be taken away; False: the limit of runs, or Ctrl-C, came first."""


class OutOfRuns(Exception):
    """The limit is reached."""


class NotAgain(Exception):
    """The failure does not happen again."""


class Shrinker:
    """Looks for a smaller plan with which ``fails(plan, setup)`` is still true.

    Args:
        each: called after every run with their number and the smallest plan so far.
    """

    def __init__(
        self, fails: Test, max_runs: int = MAX_RUNS, each: Callable[[int, Plan], None] = lambda runs, plan: None
    ) -> None:
        self._fails = fails
        self._max_runs = max_runs
        self._each = each
        self._known: dict[bytes, bool] = {}
        self.runs = 0
        self.plan = Plan()
        self.setup = Setup()

    def shrink(self, plan: Plan, setup: Setup) -> bool:
        """Leave the smallest plan and setup in :attr:`plan` and :attr:`setup`; False if it was stopped before."""
        self.plan, self.setup = plan, setup
        try:
            self._drop_faults()
            changed = True
            while changed:
                changed = self._fewer_nodes() or self._simplify()
                if changed:
                    self._drop_faults()
        except (OutOfRuns, KeyboardInterrupt):
            return False
        return True

    def _try(self, plan: Plan, setup: Setup) -> bool:
        """Whether it fails too; then it is the smallest so far."""
        key = msgspec.json.encode((plan.faults, setup))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = is_valid(plan, setup) and self._run(plan, setup)
        if known:
            self.plan, self.setup = plan, setup
        return known

    def _run(self, plan: Plan, setup: Setup) -> bool:
        if self.runs >= self._max_runs:
            raise OutOfRuns
        self.runs += 1
        found = self._fails(plan, setup)
        self._each(self.runs, self.plan)
        return found

    def _try_faults(self, faults: Sequence[AnyFault]) -> bool:
        return self._try(Plan(faults=tuple(faults), name=self.plan.name), self.setup)

    def _drop_faults(self) -> None:
        """``ddmin``: split the faults into ``count`` parts; keep one part, or all but one; else split finer."""
        if self._try_faults(()):
            return
        count = 2
        while len(self.plan.faults) >= 2:
            parts = split(self.plan.faults, count)
            if any(self._try_faults(part) for part in parts):
                count = 2
            elif count > 2 and any(self._try_faults(rest) for rest in complements(parts)):
                count = max(count - 1, 2)
            elif count >= len(self.plan.faults):
                break
            else:
                count = min(count * 2, len(self.plan.faults))

    def _fewer_nodes(self) -> bool:
        now = self.setup.nodes
        smaller = sorted({1, 2, 3, now // 2, now - 1})
        return any(
            self._try(self.plan, msgspec.structs.replace(self.setup, nodes=count))
            for count in smaller
            if 0 < count < now
        )

    def _simplify(self) -> bool:
        """One simpler fault in place of another."""
        for index, fault in enumerate(self.plan.faults):
            for simpler in simpler_faults(fault):
                faults = list(self.plan.faults)
                faults[index] = simpler
                if self._try_faults(faults):
                    return True
        return False


def split(faults: Sequence[AnyFault], count: int) -> list[Sequence[AnyFault]]:
    """``count`` parts of nearly equal length."""
    bounds = [len(faults) * part // count for part in range(count + 1)]
    return [faults[begin:end] for begin, end in itertools.pairwise(bounds)]


def complements(parts: Sequence[Sequence[AnyFault]]) -> list[list[AnyFault]]:
    """All but one part, for each part."""
    return [
        [fault for other, part in enumerate(parts) if other != left_out for fault in part]
        for left_out in range(len(parts))
    ]


def is_valid(plan: Plan, setup: Setup) -> bool:
    """Whether a file with this plan would be accepted for such a cluster."""
    try:
        parse_plan(plan.to_json().decode())
    except PlanError:
        return False
    return plan.problem(setup.nodes) is None


def simpler_faults(fault: AnyFault) -> Iterator[AnyFault]:
    """The same fault with one field simpler: left at its default, a shorter time, a rounder or smaller number."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(fault)}
    for name in fault.__struct_fields__:
        value, default = getattr(fault, name), defaults[name]
        candidates: list[Any] = []
        if default is not msgspec.NODEFAULT and value != default and name not in ("at", "after", "until"):
            candidates.append(default)
        candidates += _simpler_values(value, getattr(fault, "at", None) if name == "until" else None)
        for candidate in candidates:
            try:
                yield msgspec.structs.replace(fault, **{name: candidate})
            except (ValueError, TypeError):
                continue


def _simpler_values(value: Any, begin: float | None) -> Iterator[Any]:
    if isinstance(value, bool):
        return
    if isinstance(value, float):
        if begin is not None and value - begin > 0.2:
            yield round(begin + (value - begin) / 2, 3)
        yield from (rounded for digits in (0, 1, 2) if (rounded := round(value, digits)) != value)
    elif isinstance(value, int):
        yield from (smaller for smaller in dict.fromkeys((0, 1, value // 2)) if smaller < value)
    elif isinstance(value, (list, tuple)) and len(value) > 1:
        yield from (type(value)([*value[:index], *value[index + 1 :]]) for index in range(len(value)))


def shrink(
    failure: Failure,
    max_runs: int = MAX_RUNS,
    program: Program | None = None,
    each: Callable[[int, Plan], None] = lambda runs, plan: None,
) -> Shrunk:
    """The few faults, on the smallest cluster, with which the same promise is broken in the same place.

    Args:
        max_runs: stop after so many runs with the smallest plan until then.
        program: if it is a function, which cannot be found by its name.
        each: called after every run with their number and the smallest plan so far.

    Raises:
        FailureError: the program cannot be found.
        NotAgain: the failure does not happen again even with its whole plan.
        ValueError: there is no such cluster.
    """
    program = program or failure.find()
    outcomes: dict[bytes, Outcome] = {}

    def fails(plan: Plan, setup: Setup) -> bool:
        outcome = failure.again(program, plan, setup)
        matching = [violation for violation in outcome.violations if violation.key == failure.violation.key]
        if matching:
            outcome.violations = [*matching, *(each for each in outcome.violations if each not in matching)]
            outcomes[msgspec.json.encode((plan.faults, setup))] = outcome
        return bool(matching)

    if not fails(failure.plan, failure.setup):
        raise NotAgain(f"the failure does not happen again: {failure.violation.invariant}, {failure.violation.where}")
    shrinker = Shrinker(fails, max_runs - 1, lambda runs, plan: each(runs + 1, plan))
    complete = shrinker.shrink(failure.plan, failure.setup)
    smallest = outcomes[msgspec.json.encode((shrinker.plan.faults, shrinker.setup))]
    before = len(failure.plan.faults)
    note = f"shrunk from {before} faults on {failure.setup.nodes} nodes in {shrinker.runs + 1} runs"
    return Shrunk(examine(smallest, program, note, failure.run_limit), shrinker.runs + 1, before, complete)
