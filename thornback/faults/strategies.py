"""Plans as Hypothesis strategies: a failing plan shrinks to fewer, earlier and milder faults.

Hypothesis is imported when the first strategy is made, so that the package works without it::

    from hypothesis import given
    from thornback.faults.strategies import plans

    @given(plans(nodes=4))
    def test_survives(plan):
        with thornback.simulate(nodes=4, faults=plan):
            ...
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from thornback.faults.draw import Draw
from thornback.faults.generate import allowed_kinds, keep_half_alive
from thornback.faults.plan import AnyFault, Plan

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


class _Chosen(random.Random):
    """Random numbers that Hypothesis chooses, and makes simpler when it shrinks: nearer to 0."""

    def __init__(self, draw: Any) -> None:
        self._draw = draw
        super().__init__(0)

    def random(self) -> float:
        from hypothesis import strategies as st

        return int(self._draw(st.integers(0, 1023))) / 1024

    def getrandbits(self, k: int, /) -> int:
        from hypothesis import strategies as st

        return int(self._draw(st.integers(0, (1 << k) - 1)))

    def choice(self, seq: Any) -> Any:
        from hypothesis import strategies as st

        return seq[self._draw(st.integers(0, len(seq) - 1))]

    def seed(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to seed."""


def faults(nodes: int, duration: float = 20.0, kinds: Sequence[str] | None = None) -> SearchStrategy[AnyFault]:
    """One fault, as :func:`thornback.faults.generate.random_plan` would draw it.

    Args:
        nodes: of the cluster.
        duration: seconds within which it ends, if it ends.
        kinds: what to choose from; by default all that ``random_plan`` draws by default. The first are the simplest.

    Raises:
        ValueError: a kind is unknown or needs more nodes.
    """
    from hypothesis import strategies as st

    chosen = allowed_kinds(kinds, nodes)

    @st.composite
    def one(draw: Any) -> AnyFault:
        kind = draw(st.sampled_from(chosen))
        return Draw(_Chosen(draw), nodes, duration).fault(kind)

    return one()


def plans(
    nodes: int, duration: float = 20.0, most: int = 6, kinds: Sequence[str] | None = None
) -> SearchStrategy[Plan]:
    """Plans of up to ``most`` faults, which leave at least half of the nodes alive, or let them come back.

    Raises:
        ValueError: a kind is unknown or needs more nodes.
    """
    from hypothesis import strategies as st

    drawn = st.lists(faults(nodes, duration, kinds), max_size=most)
    return drawn.map(lambda found: Plan(faults=tuple(keep_half_alive(found, nodes)), name="drawn by Hypothesis"))
