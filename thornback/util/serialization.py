"""Custom pickling of classes, for this process and for whoever receives the values."""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

T = TypeVar("T")


def register_serializer(cls: type[T], *, serializer: Callable[[T], Any], deserializer: Callable[[Any], T]) -> None:
    """Pickle instances of a class in one's own way, in this process. Tasks and actors register it for themselves.

    Args:
        cls: the class.
        serializer: from an instance to something that can be pickled.
        deserializer: the way back; it travels with the values.

    Raises:
        TypeError: ``cls`` is not a class, or one of the functions is not callable.
    """
    if not isinstance(cls, type):
        raise TypeError(f"register_serializer() takes a class, not {cls!r}")
    if not callable(serializer) or not callable(deserializer):
        raise TypeError("register_serializer(): serializer and deserializer must be functions")
    import cloudpickle

    blob: bytes = cloudpickle.dumps(deserializer)

    def reduce(instance: T) -> tuple[Any, ...]:
        return _rebuild, (blob, serializer(instance))

    copyreg.pickle(cls, reduce)


def deregister_serializer(cls: type) -> None:
    """Pickle instances of a class in the ordinary way again; does nothing if that is so already."""
    copyreg.dispatch_table.pop(cls, None)


def _rebuild(deserializer: bytes, state: Any) -> Any:
    return _load(deserializer)(state)


@lru_cache(maxsize=256)
def _load(deserializer: bytes) -> Callable[[Any], Any]:
    import pickle

    loaded: Callable[[Any], Any] = pickle.loads(deserializer)
    return loaded
