"""What all messages share."""

from __future__ import annotations

from typing import ClassVar

import msgspec

ResourceMap = dict[str, int]


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Plain data inside messages."""


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of all messages."""

    reliable: ClassVar[bool] = True
    """Whether a link that loses messages sends it again until it is acknowledged."""
    latest_by: ClassVar[tuple[str, ...] | None] = None
    """To the GCS: a later message with the same values in these fields takes the place of an earlier one that has not
    been heard. None: each one counts."""
