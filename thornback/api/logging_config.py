"""How output of the engine and of workers is logged."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

_ENCODINGS = ("TEXT", "JSON")


@dataclass(frozen=True)
class LoggingConfig:
    """Settings of the root logger of a program's processes.

    Args:
        encoding: "TEXT" or "JSON".
        log_level: a level of :mod:`logging`.
        additional_log_standard_attrs: further attributes of log records to print.

    Raises:
        ValueError: an unknown encoding or level.
    """

    encoding: str = "TEXT"
    log_level: str = "INFO"
    additional_log_standard_attrs: Sequence[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.encoding not in _ENCODINGS:
            raise ValueError(f"LoggingConfig: encoding must be one of {', '.join(_ENCODINGS)}, not {self.encoding!r}")
        if not isinstance(logging.getLevelName(self.log_level), int):
            raise ValueError(f"LoggingConfig: log_level must be a level such as INFO, not {self.log_level!r}")
