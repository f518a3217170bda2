"""Reading plans from JSON, with errors that name file, line and field."""

from __future__ import annotations

import json
import math
import re
from json.decoder import scanstring  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from thornback.faults.base import Fault, Trigger, unknown
from thornback.faults.plan import KINDS, Plan


class PlanError(ValueError):
    """A plan cannot be used; says where and why."""


def load_plan(path: str | Path, nodes: int | None = None) -> Plan:
    """The plan in a JSON file.

    Args:
        nodes: of the cluster, so that a fault of a node that it does not have is refused; None: do not look.

    Raises:
        PlanError: the file cannot be read or is not a plan for such a cluster.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise PlanError(f"{path}: cannot read the plan: {reason}; a plan is a JSON file, storm or none") from None
    return parse_plan(text, str(path), nodes)


def parse_plan(text: str, source: str = "plan", nodes: int | None = None) -> Plan:
    """The plan in ``text``; ``source`` names it in errors, ``nodes`` is as for :func:`load_plan`.

    Raises:
        PlanError: this is not a plan for such a cluster.
    """
    try:
        data = json.loads(text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise PlanError(f"{source}:{error.lineno}: this is not JSON: {error.msg}") from None
    except (RecursionError, ValueError) as error:
        raise PlanError(f"{source}: this JSON cannot be a plan: {error}") from None
    if isinstance(data, dict):
        data.pop("$schema", None)
    try:
        plan = msgspec.convert(data, Plan)
    except msgspec.ValidationError as error:
        raise PlanError(_explained(str(error), text, data, source)) from None
    problem = None if nodes is None else plan.problem(nodes)
    if problem is not None:
        index, field, reason = problem
        line = line_of(text, ["faults", index, *field.split(".")])
        raise PlanError(f"{source}:{line}: faults[{index}].{field}: {reason}")
    return plan


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number that JSON has")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is too large")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{repeated!r} is there twice in one object, which has {', '.join(names)}")
    return found


def _explained(message: str, text: str, data: Any, source: str) -> str:
    reason, _, where = message.partition(" - at `")
    path = _path(where.rstrip("`"))
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    place = f"{source}:{line_of(text, path)}"
    reason = _in_words(reason, path, data)
    return f"{place}: {field}: {reason}" if field else f"{place}: {reason}"


def _in_words(reason: str, path: list[str | int], data: Any) -> str:
    """Why a value is refused, with the value and what could be there instead."""
    value = _at(data, path)
    if path and path[-1] == "kind":
        return unknown("kind of fault", str(value), tuple(KINDS))
    field = re.match(r"Object contains unknown field `(.*)`", reason)
    if field is not None:
        return unknown("field", field[1], _fields(path, value))
    if path and path[-1] == "node" and value == 0 and reason == "Expected `int` >= 1":
        return "node 0 is the head, where the program runs: it is never lost; this fault is for the others"
    limit = re.match(r"Expected `\w+` ([<>]=? .*)", reason)
    if limit is not None and isinstance(value, (int, float)):
        return f"{value:g} is not possible: it must be {limit[1]}"
    if reason.startswith("Invalid enum value"):
        return unknown(str(path[-1]), str(value), _choices(KINDS[_at(data, path[:-1])["kind"]], str(path[-1])))
    return reason


def _choices(kind: type[Fault], field: str) -> tuple[str, ...]:
    """The texts that a field may have."""
    allowed = next(each.type for each in msgspec.structs.fields(kind) if each.name == field)
    literals = (allowed, *get_args(allowed))
    return tuple(name for each in literals if get_origin(each) is Literal for name in get_args(each))


def _fields(path: list[str | int], value: Any) -> tuple[str, ...]:
    """What an object of a plan may have."""
    if not path:
        return Plan.__struct_fields__
    return Trigger.__struct_fields__ if path[-1] == "after" else ("kind", *KINDS[value["kind"]].__struct_fields__)


def _at(data: Any, path: list[str | int]) -> Any:
    for part in path:
        data = data[part]
    return data


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
