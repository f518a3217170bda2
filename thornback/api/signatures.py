"""Parameters of functions and methods, in a form that travels, so that a wrong call fails where it is written."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec


class Parameters(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a callable accepts."""

    names: tuple[str, ...] = ()
    """Parameters that can be given by position."""
    required: int = 0
    """How many of ``names`` have no default."""
    positional_only: int = 0
    """How many of ``names`` cannot be given by keyword."""
    varargs: bool = False
    keyword_only: tuple[str, ...] = ()
    required_keywords: tuple[str, ...] = ()
    varkw: bool = False

    def check(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Make sure that the callable ``name`` can be called like this.

        Raises:
            TypeError: it cannot; says which argument is missing or too many.
        """
        given = len(args)
        fits = given >= self.required and (given <= len(self.names) or self.varargs)
        if fits and not kwargs and not self.required_keywords:
            return
        problem = self._problem(given, kwargs)
        if problem:
            raise TypeError(f"{name}() {problem}; its parameters are {self}")

    def _problem(self, given: int, kwargs: Mapping[str, Any]) -> str:
        if given > len(self.names) and not self.varargs:
            return f"takes {len(self.names)} positional arguments but {given} were given"
        by_keyword = self.names[self.positional_only :]
        for key in kwargs:
            if key in by_keyword:
                if self.names.index(key) < given:
                    return f"got two values for argument {key!r}"
            elif key not in self.keyword_only and not self.varkw:
                return f"got an unexpected argument {key!r}"
        needed = self.names[given : self.required]
        by_position = self.names[: self.positional_only]
        missing = [name for name in needed if name not in kwargs or name in by_position]
        missing += [name for name in self.required_keywords if name not in kwargs]
        if missing:
            return f"misses the argument {', '.join(map(repr, missing))}"
        return ""

    def __str__(self) -> str:
        parts = [name if index < self.required else f"{name}=..." for index, name in enumerate(self.names)]
        if self.positional_only:
            parts.insert(self.positional_only, "/")
        if self.varargs:
            parts.append("*args")
        elif self.keyword_only:
            parts.append("*")
        parts += [name if name in self.required_keywords else f"{name}=..." for name in self.keyword_only]
        if self.varkw:
            parts.append("**kwargs")
        return f"({', '.join(parts)})"


ANYTHING = Parameters(varargs=True, varkw=True)
"""For callables that do not say what they accept."""


def parameters_of(function: Callable[..., Any], skip_first: bool = False) -> Parameters:
    """What ``function`` accepts; ``skip_first`` leaves out ``self``."""
    try:
        found = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return ANYTHING
    positional = [p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if skip_first:
        positional = positional[1:]
    keyword_only = [p for p in found if p.kind == p.KEYWORD_ONLY]
    return Parameters(
        names=tuple(p.name for p in positional),
        required=sum(p.default is p.empty for p in positional),
        positional_only=sum(p.kind == p.POSITIONAL_ONLY for p in positional),
        varargs=any(p.kind == p.VAR_POSITIONAL for p in found),
        keyword_only=tuple(p.name for p in keyword_only),
        required_keywords=tuple(p.name for p in keyword_only if p.default is p.empty),
        varkw=any(p.kind == p.VAR_KEYWORD for p in found),
    )


def constructor_parameters(cls: type) -> Parameters:
    """What ``cls(...)`` accepts."""
    constructor: Any = inspect.getattr_static(cls, "__init__")
    if constructor is not object.__init__:
        return parameters_of(constructor, skip_first=True)
    return Parameters() if inspect.getattr_static(cls, "__new__") is object.__new__ else ANYTHING
