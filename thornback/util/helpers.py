"""Iterating over results as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import thornback
from thornback import ObjectRef


def as_completed(
    refs: Sequence[ObjectRef[Any]], *, chunk_size: int = 10, yield_obj_refs: bool = False, **kwargs: Any
) -> Iterator[Any]:
    """Results in the order in which they come.

    Args:
        refs: what to wait for.
        chunk_size: results fetched at a time.
        yield_obj_refs: give the references instead of the values.
        kwargs: for ``get``.

    Raises:
        ValueError: ``chunk_size`` is less than 1.
    """
    if chunk_size < 1:
        raise ValueError(f"as_completed(): chunk_size must be at least 1, not {chunk_size}")
    waiting = list(refs)
    while waiting:
        ready, waiting = thornback.wait(waiting, num_returns=min(chunk_size, len(waiting)))
        yield from ready if yield_obj_refs else thornback.get(ready, **kwargs)


def map_unordered(
    fn: Any,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = 100,
    chunk_size: int = 10,
    yield_obj_refs: bool = False,
    **kwargs: Any,
) -> Iterator[Any]:
    """Call a remote function, or an actor's method, on each item; results in the order in which they come.

    Args:
        fn: something with ``.remote(item)``.
        items: taken as calls become possible.
        backpressure_size: most calls under way at a time; None is without limit.
        chunk_size: results fetched at a time.
        yield_obj_refs: give the references instead of the values.
        kwargs: for ``get``.

    Raises:
        ValueError: ``backpressure_size`` is less than ``chunk_size``, or ``chunk_size`` less than 1.
    """
    if chunk_size < 1:
        raise ValueError(f"map_unordered(): chunk_size must be at least 1, not {chunk_size}")
    if backpressure_size is not None and backpressure_size < chunk_size:
        raise ValueError(
            f"map_unordered(): backpressure_size ({backpressure_size}) must be at least chunk_size ({chunk_size})"
        )
    source = iter(items)
    running = [fn.remote(item) for item in islice(source, backpressure_size)]
    while running:
        ready, running = thornback.wait(running, num_returns=min(chunk_size, len(running)))
        yield from ready if yield_obj_refs else thornback.get(ready, **kwargs)
        running += [fn.remote(item) for item in islice(source, len(ready))]
