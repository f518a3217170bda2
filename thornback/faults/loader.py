"""Reading plans from JSON, with errors that name file, line and field."""

from __future__ import annotations

import json
import re
from json.decoder import scanstring  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any

import msgspec

from thornback.faults.plan import AnyFault, Plan


class PlanError(ValueError):
    """A plan cannot be used; says where and why."""


def load_plan(path: str | Path) -> Plan:
    """The plan in a JSON file.

    Raises:
        PlanError: the file cannot be read or is not a plan.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: cannot read the plan: {error}") from None
    return parse_plan(text, str(path))


def parse_plan(text: str, source: str = "plan") -> Plan:
    """The plan in ``text``; ``source`` names it in errors.

    Raises:
        PlanError: this is not a plan.
    """
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise PlanError(f"{source}:{error.lineno}: this is not JSON: {error.msg}") from None
    try:
        plan = msgspec.json.decode(text, type=Plan)
    except msgspec.ValidationError as error:
        raise PlanError(_explained(str(error), text, source)) from None
    for index, fault in enumerate(plan.faults):
        reason = _contradiction(fault)
        if reason:
            line = line_of(text, ["faults", index])
            raise PlanError(f"{source}:{line}: faults[{index}]: {reason}")
    return plan


def _contradiction(fault: AnyFault) -> str:
    at, until = getattr(fault, "at", None), getattr(fault, "until", None)
    if at is not None and until is not None and until <= at:
        return f"until ({until:g}) must be later than at ({at:g})"
    if hasattr(fault, "after_replies") and (fault.at is None) == (fault.after_replies is None):
        return "crash_worker needs either at or after_replies"
    return ""


def _explained(message: str, text: str, source: str) -> str:
    reason, _, where = message.partition(" - at `")
    path = _path(where.rstrip("`"))
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    place = f"{source}:{line_of(text, path)}"
    return f"{place}: {field}: {reason}" if field else f"{place}: {reason}"


def _path(text: str) -> list[str | int]:
    return [int(index) if index else name for index, name in re.findall(r"\[(\d+)\]|\.(\w+)", text)]


def line_of(text: str, path: list[Any]) -> int:
    """The line (from 1) of valid JSON ``text`` where the value at ``path`` begins; of its nearest parent if there is no
    such value."""
    position = _skip(text, 0)
    for part in path:
        found = _element(text, position, part) if isinstance(part, int) else _member(text, position, part)
        if found is None:
            break
        position = found
    return text.count("\n", 0, position) + 1


_decoder = json.JSONDecoder()


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n,":
        position += 1
    return position


def _member(text: str, position: int, name: str) -> int | None:
    if text[position] != "{":
        return None
    position = _skip(text, position + 1)
    while text[position] == '"':
        key, position = scanstring(text, position + 1)
        position = _skip(text, text.index(":", position) + 1)
        if key == name:
            return position
        position = _skip(text, _decoder.raw_decode(text, position)[1])
    return None


def _element(text: str, position: int, index: int) -> int | None:
    if text[position] != "[":
        return None
    position = _skip(text, position + 1)
    for _ in range(index):
        if text[position] == "]":
            return None
        position = _skip(text, _decoder.raw_decode(text, position)[1])
    return None if text[position] == "]" else position
