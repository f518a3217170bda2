"""How the turns of a core end, in processes of all kinds."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

from thornback.transports.links import Links
from thornback.transports.loop import EventLoop

_SETTLE_ROUNDS = 100


def settle(loop: EventLoop, links: Links, end_turn: Callable[[], None]) -> None:
    """End the turn of a core, run the turns that were to follow it at once, and flush."""
    end_turn()
    soon = loop.soon
    rounds = 0
    while soon and rounds < _SETTLE_ROUNDS:
        for _ in range(len(soon)):
            try:
                soon.popleft()()
            except Exception:
                report_bug()
        end_turn()
        rounds += 1
    links.flush()


def report_bug() -> None:
    """An exception has left the core, which never should happen: show it and go on with the next turn."""
    print("thornback: internal error", file=sys.stderr)
    traceback.print_exc()
