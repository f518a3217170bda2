"""What a placement policy is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from thornback.core.config import Config
from thornback.core.ids import NodeId
from thornback.core.messages import Strategy
from thornback.core.ports import RandomStream


class PlacementRequest(NamedTuple):
    """Where does a demand go?

    Attributes:
        demand: resources in integer units.
        local: the node that asks, or that of the owner.
        random: what ties are drawn from.
    """

    demand: Mapping[str, int]
    local: NodeId
    strategy: Strategy
    config: Config
    random: RandomStream
