"""What each fault does to the simulated world.

An effect is called when its fault begins, and returns what ends it, if it has an end.
"""

from __future__ import annotations

from thornback.simulator.effects import links, machines, processes, storage
from thornback.simulator.effects.base import Effect

EFFECTS: dict[type, Effect] = {**links.EFFECTS, **machines.EFFECTS, **processes.EFFECTS, **storage.EFFECTS}
"""By the type of the fault."""
