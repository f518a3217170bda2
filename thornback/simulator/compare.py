"""Comparing two trace files: what is the first thing that differs?"""

from __future__ import annotations

from collections import deque
from itertools import zip_longest
from os import PathLike
from typing import NamedTuple


class Difference(NamedTuple):
    """The first line in which two traces differ.

    Attributes:
        line: its number, from 1.
        first: the line in the first file; None if that file ended before.
        second: the line in the second file; None if that file ended before.
        before: the last equal lines.
    """

    line: int
    first: str | None
    second: str | None
    before: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"the traces differ from line {self.line} on:"]
        lines += [f"    {line}" for line in self.before]
        lines.append(f"  - {self.first if self.first is not None else '(the first trace ends here)'}")
        lines.append(f"  + {self.second if self.second is not None else '(the second trace ends here)'}")
        return "\n".join(lines)


def first_difference(first: str | PathLike[str], second: str | PathLike[str], context: int = 5) -> Difference | None:
    """The first different event of two trace files with ``context`` equal ones before it; None if they are equal.

    Raises:
        OSError: a file cannot be read.
    """
    before: deque[str] = deque(maxlen=context)
    with open(first, encoding="utf-8") as left, open(second, encoding="utf-8") as right:
        for number, (one, other) in enumerate(zip_longest(left, right), start=1):
            if one != other:
                return Difference(number, _stripped(one), _stripped(other), tuple(before))
            before.append(one.rstrip("\n"))
    return None


def _stripped(line: str | None) -> str | None:
    return None if line is None else line.rstrip("\n")
