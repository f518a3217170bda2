"""Where in the user's program something was asked for."""

from __future__ import annotations

import sys
from types import FrameType


def call_site() -> str:
    """The innermost line outside of this package that led here, as ``file:line function``."""
    return site_of(sys._getframe(1))


def site_of(frame: FrameType | None) -> str:
    """The innermost line outside of this package that led to a frame; empty if there is none."""
    while frame is not None and frame.f_globals.get("__name__", "").startswith("thornback."):
        frame = frame.f_back
    if frame is None:
        return ""
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} {code.co_name}"
