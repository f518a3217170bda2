"""Why a placement group has no place: only when it has none, and about a bundle that fits nowhere."""

from __future__ import annotations

import re

from hypothesis import assume, given
from hypothesis import strategies as st

from thornback.core.messages import NodeView
from thornback.core.scheduling.packing import STRATEGIES, place_bundles, why_never, why_not_now

AMOUNTS = st.integers(0, 4)


@st.composite
def nodes(draw: st.DrawFn) -> list[NodeView]:
    found = []
    for number in range(draw(st.integers(1, 3))):
        total = {"CPU": draw(AMOUNTS), "tape": draw(AMOUNTS)}
        available = {name: draw(st.integers(0, amount)) for name, amount in total.items()}
        found.append(NodeView(bytes([number]) * 8, 1, f"node-{number}", total, available, {}))
    return found


BUNDLES = st.lists(
    st.dictionaries(st.sampled_from(["CPU", "tape"]), st.integers(1, 3), min_size=1), min_size=1, max_size=3
)


@given(BUNDLES, st.sampled_from(STRATEGIES), nodes())
def test_a_group_is_explained_exactly_when_it_has_no_place(
    bundles: list[dict[str, int]], strategy: str, views: list[NodeView]
) -> None:
    assume(not why_never(bundles, strategy, views))
    why = why_not_now(bundles, strategy, views)
    assert bool(why) == (place_bundles(bundles, strategy, views) is None)
    named = re.match(r"bundle (\d+) needs", why)
    if named:
        demand = bundles[int(named[1])]
        assert not any(all(view.available[name] >= amount for name, amount in demand.items()) for view in views)
