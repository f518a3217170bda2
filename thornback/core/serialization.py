"""Python values to bytes and back: pickle protocol 5 with out-of-band buffers, cloudpickle where pickle is not enough.

References inside a value announce themselves with :func:`note_reference` while they are pickled, so that the owner
knows what a value contains without looking into it.
"""

from __future__ import annotations

import io
import pickle
import traceback
from collections import ChainMap
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from functools import lru_cache
from types import CodeType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from thornback.core.errors import DeserializationError, SerializationError, TaskError, ThornbackError
from thornback.core.ids import ObjectId
from thornback.core.messages import FunctionDefinition, Value

PLAIN_TYPES = frozenset({int, float, bool, str, bytes, type(None)})
"""Types that plain pickle handles and that hold nothing else."""

reference_type: type = type("NoReference", (), {})
"""The API's class of references; set by :mod:`thornback.api.object_ref`. Its instances have the id as ``_id``."""
rebuild_reference: Callable[[ObjectId], Any] = bytes
"""What a pickled reference names to be rebuilt with; set by :mod:`thornback.api.object_ref`."""
rebuild_references: Callable[[Sequence[ObjectId]], Iterable[Any]] = iter
"""The same for many at once, at a fraction of the cost for each; set by :mod:`thornback.api.object_ref`."""
make_dynamic_generator: Callable[[Sequence[ObjectId]], Any]
"""From the ids of its items to the value of a task with ``num_returns="dynamic"``; set by
:mod:`thornback.api.generators`."""

_noted: ContextVar[list[ObjectId] | None] = ContextVar("thornback_noted_references", default=None)
covering: ContextVar[ObjectId | list[ObjectId] | None] = ContextVar("thornback_covering", default=None)
"""What keeps references alive that are met while a value is unpickled: the object that contains them; or, while a
task's arguments are unpickled, the task's caller (a list, to which those references are added); or nothing (None)."""


_loaded_functions: WeakKeyDictionary[Any, FunctionDefinition] = WeakKeyDictionary()
"""Functions that came from elsewhere: pickled again, they would get another id."""


class Argument:
    """Stands for an argument that was a reference: the index of the task's dependency."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index

    def __reduce__(self) -> tuple[Any, ...]:
        return (Argument, (self.index,))


class Serialized(NamedTuple):
    """A pickled value before anyone decided where it goes."""

    data: bytes
    buffers: list[memoryview]
    contained: tuple[ObjectId, ...]

    @property
    def size(self) -> int:
        """Bytes of data and buffers."""
        if not self.buffers:
            return len(self.data)
        return len(self.data) + sum(buffer.nbytes for buffer in self.buffers)

    def to_value(self, is_error: bool = False) -> Value:
        """As an inline value; copies the buffers."""
        buffers = tuple(map(bytes, self.buffers)) if self.buffers else ()
        return Value(self.data, buffers, self.contained, is_error)


def note_reference(object_id: ObjectId) -> bool:
    """Called by references while they are pickled; False if the engine is not the one who pickles."""
    noted = _noted.get()
    if noted is None:
        return False
    noted.append(object_id)
    return True


def dumps(value: Any) -> Serialized:
    """Pickle any value.

    Raises:
        SerializationError: it cannot be pickled; the message names the part that cannot.
    """
    if type(value) in PLAIN_TYPES:
        return Serialized(pickle.dumps(value, 5), [], ())
    return _dumps_any(value)


def dumps_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Serialized:
    """Pickle ``(args, kwargs)``; plain arguments take a short cut."""
    if not kwargs:
        for argument in args:
            if type(argument) not in PLAIN_TYPES:
                break
        else:
            return Serialized(pickle.dumps((args, kwargs), 5), [], ())
    return _dumps_any((args, kwargs))


NO_ARGUMENTS = Value(pickle.dumps(((), {}), 5))
"""The arguments of a call without any."""


def _dumps_any(value: Any) -> Serialized:
    buffers: list[pickle.PickleBuffer] = []
    noted: list[ObjectId] = []
    token = _noted.set(noted)
    try:
        file = io.BytesIO()
        _pickler_class()(file, protocol=5, buffer_callback=buffers.append).dump(value)
    except ThornbackError:
        raise
    except Exception as error:
        raise SerializationError(_explain(value, error)) from error
    finally:
        _noted.reset(token)
    views, data = [], file.getvalue()
    for buffer in buffers:
        views.append(buffer.raw())
    return Serialized(data, views, tuple(noted))


@lru_cache(maxsize=1)
def _pickler_class() -> Any:
    """cloudpickle's, but code keeps the name of its file, which tracebacks and call sites show: 3.1.3 drops it."""
    import cloudpickle

    own, *others = cloudpickle.Pickler.dispatch_table.maps
    reduce_code = own[CodeType]

    def reduce_named(code: CodeType) -> tuple[Any, ...]:
        make, arguments = reduce_code(code)
        # A string of its own: one that is shared with other code makes equal functions differ in their bytes.
        return _named_code, (make, arguments, "".join(list(code.co_filename)))

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        dispatch_table = ChainMap({**own, CodeType: reduce_named}, *others)

    return Pickler


def _named_code(make: Callable[..., CodeType], arguments: tuple[Any, ...], file: str) -> CodeType:
    return make(*arguments).replace(co_filename=file)


def loads(data: bytes | memoryview, buffers: Iterable[Any] = (), contained: Sequence[ObjectId] = ()) -> Any:
    """The inverse of :func:`dumps`.

    Args:
        data, buffers, contained: as in :class:`Serialized`. Where ``contained`` is given, many references are rebuilt
            together.

    Raises:
        DeserializationError: the value's own unpickling failed; says how.
    """
    try:
        if len(contained) < MANY_REFERENCES:
            return pickle.loads(data, buffers=buffers)
        return _ManyReferences(data, buffers, contained).load()
    except ThornbackError:
        raise
    except Exception as error:
        raise _unpickling_failed(error) from error


def loads_value(value: Value) -> Any:
    """Unpickle an inline value; otherwise as :func:`loads`."""
    if value.buffers or value.contained:
        return loads(value.data, value.buffers, value.contained)
    try:
        return pickle.loads(value.data)
    except ThornbackError:
        raise
    except Exception as error:
        raise _unpickling_failed(error) from error


def _unpickling_failed(error: Exception) -> DeserializationError:
    text = "".join(traceback.format_exception_only(error)).strip()
    return DeserializationError(f"a value could not be unpickled in this process: {text}")


MANY_REFERENCES = 16
"""From this number on, references in a value are worth an unpickler of their own."""


class _Shelf(dict[ObjectId, Any]):
    """References by id, made beforehand; any other is rebuilt as usual."""

    def __missing__(self, object_id: ObjectId) -> Any:
        return rebuild_reference(object_id)


class _ManyReferences(pickle.Unpickler):
    """Takes references from a shelf, without a call into Python for each."""

    def __init__(self, data: bytes | memoryview, buffers: Iterable[Any], contained: Sequence[ObjectId]) -> None:
        super().__init__(io.BytesIO(data), buffers=buffers)
        self._shelf = _Shelf(zip(contained, rebuild_references(contained), strict=True))

    def find_class(self, module: str, name: str) -> Any:
        """As pickle does it, but for references."""
        found = super().find_class(module, name)
        return self._shelf.__getitem__ if found is rebuild_reference else found


def error_value(error: BaseException) -> Value:
    """An exception as the value of a failed task."""
    try:
        value = dumps(error).to_value(is_error=True)
        loads_value(value)
        return value
    except (SerializationError, DeserializationError):
        if isinstance(error, TaskError):
            plain: BaseException = TaskError(error.name, None, error.traceback_text, error.where)
        else:
            plain = ThornbackError(f"{type(error).__name__}: {error}")
        return dumps(plain).to_value(is_error=True)


def define_function(function: Any, name: str) -> FunctionDefinition:
    """A function or class, pickled, under its content hash.

    Raises:
        SerializationError: something that it refers to cannot be pickled.
    """
    import hashlib

    known = _loaded_functions.get(function)
    if known is not None:
        return known
    serialized = _dumps_any(function)
    blob = pickle.dumps((serialized.data, [bytes(buffer) for buffer in serialized.buffers]), 5)
    return FunctionDefinition(hashlib.blake2b(blob, digest_size=16).digest(), name, blob, serialized.contained)


def load_function(definition: FunctionDefinition) -> Any:
    """The inverse of :func:`define_function`; the result is known by the same id when it is pickled again."""
    data, buffers = pickle.loads(definition.blob)
    function = loads(data, buffers, definition.contained)
    try:
        _loaded_functions[function] = definition
    except TypeError:
        pass
    return function


# --- Finding the culprit --------------------------------------------------------------------------------------------


def _explain(value: Any, error: Exception) -> str:
    path, culprit = find_unpicklable(value)
    what = f"{type(culprit).__module__}.{type(culprit).__qualname__}"
    reason = "".join(traceback.format_exception_only(error)).strip()
    return (
        f"cannot pickle {_describe(culprit)} of type {what}, found at {path or 'the value itself'}: {reason}. "
        "Make it inside the task, or pass something that can be pickled."
    )


def _describe(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = object.__repr__(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _picklable(value: Any) -> bool:
    token = _noted.set([])
    try:
        _pickler_class()(io.BytesIO(), protocol=5, buffer_callback=lambda _buffer: None).dump(value)
    except Exception:
        return False
    finally:
        _noted.reset(token)
    return True


def find_unpicklable(value: Any, path: str = "", depth: int = 6) -> tuple[str, Any]:
    """Where inside ``value``, and what, is the first part that cannot be pickled."""
    if depth > 0:
        for name, part in _parts(value):
            if not _picklable(part):
                return find_unpicklable(part, path + name, depth - 1)
    return path, value


def _parts(value: Any) -> Sequence[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"[{key!r}]", part) for key, part in value.items()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [(f"[{index}]", part) for index, part in enumerate(value)]
    code = getattr(value, "__code__", None)
    if code is not None:
        cells = getattr(value, "__closure__", None) or ()
        found = []
        for name, cell in zip(code.co_freevars, cells, strict=False):
            try:
                found.append((f" closure variable {name!r}", cell.cell_contents))
            except ValueError:
                continue
        scope = getattr(value, "__globals__", {})
        return found + [(f" global {name!r}", scope[name]) for name in code.co_names if name in scope]
    if isinstance(value, type):
        return [(f".{name}", part) for name, part in vars(value).items() if callable(part)]
    state = getattr(value, "__dict__", None)
    if isinstance(state, dict):
        return [(f".{name}", part) for name, part in state.items()]
    return []
