"""What effects have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from thornback.simulator.process import Outbox, Process

if TYPE_CHECKING:
    from thornback.simulator.world import World

End: TypeAlias = Callable[[], None]
Effect: TypeAlias = Callable[["World", Any], End | None]


def before_send(process: Process, hook: Callable[[Outbox], None]) -> None:
    """Let ``hook`` look at, and change, what leaves the process, after those that do so already."""
    earlier = process.before_send

    def both(outbox: Outbox) -> None:
        if earlier is not None:
            earlier(outbox)
        hook(outbox)

    process.before_send = both
