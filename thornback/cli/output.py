"""Printing for people and for programs."""

from __future__ import annotations

import json
import sys
from typing import Any


class CommandError(Exception):
    """The command cannot do what was asked; the text says why and what to do.

    Attributes:
        code: exit code of the command.
    """

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


def print_json(data: Any) -> None:
    """One JSON document on stdout, on one line."""
    print(json.dumps(data), flush=True)


def print_error(text: str) -> None:
    """The last line on stderr of a command that failed."""
    print(f"thornback: error: {text}", file=sys.stderr, flush=True)
