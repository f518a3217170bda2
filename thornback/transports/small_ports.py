"""The ports of the core that need no more than a few lines in the real world."""

from __future__ import annotations

import random


class SystemRandom:
    """The :class:`thornback.core.ports.Random` of one process: streams seeded by the operating system."""

    def __init__(self) -> None:
        self._streams: dict[str, random.Random] = {}

    def stream(self, purpose: str) -> random.Random:
        """The stream for ``purpose``."""
        stream = self._streams.get(purpose)
        if stream is None:
            stream = self._streams[purpose] = random.Random()
        return stream
