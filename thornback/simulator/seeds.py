"""Random numbers of a simulation: one stream per (seed, owner, purpose).

Streams are independent, so that one draw more or less in one place does not shift the numbers of any other place.
"""

from __future__ import annotations

import random
from hashlib import blake2b

_Random = random.Random


def derive(seed: int, *names: str | bytes | int) -> int:
    """A 64-bit seed for the place that ``names`` describe; equal on every machine and in every process."""
    digest = blake2b(digest_size=8)
    for part in (seed, *names):
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(4, "big"))
        digest.update(data)
    return int.from_bytes(digest.digest(), "big")


def stream(seed: int, *names: str | bytes | int) -> random.Random:
    """A new stream for the place that ``names`` describe, at its start."""
    return _Random(derive(seed, *names))


class LazyStream:
    """A :func:`stream` that is made when the first number is drawn: most processes never draw one."""

    __slots__ = ("_numbers", "_place", "_seed")

    def __init__(self, seed: int, *place: str | bytes | int) -> None:
        self._seed = seed
        self._place = place
        self._numbers: _Random | None = None

    def random(self) -> float:
        """A number in [0, 1)."""
        return self._made().random()

    def randrange(self, stop: int, /) -> int:
        """An integer in [0, stop)."""
        return self._made().randrange(stop)

    def _made(self) -> _Random:
        if self._numbers is None:
            self._numbers = stream(self._seed, *self._place)
        return self._numbers


class Streams:
    """The ``Random`` port of one process."""

    __slots__ = ("_owner", "_seed", "_streams")

    def __init__(self, seed: int, owner: bytes) -> None:
        self._seed = seed
        self._owner = owner
        self._streams: dict[str, LazyStream] = {}

    def stream(self, purpose: str) -> LazyStream:
        """The stream for ``purpose``; equal names give the same stream."""
        found = self._streams.get(purpose)
        if found is None:
            found = self._streams[purpose] = LazyStream(self._seed, self._owner, purpose)
        return found
