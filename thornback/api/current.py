"""The process that the calling code belongs to.

The real world sets :data:`runtime` once per process. The simulated world, where many processes share one interpreter,
sets it each time it switches to a user greenlet. Code must therefore read ``current.runtime`` anew at each use.
"""

from __future__ import annotations

from collections.abc import Callable

from thornback.core.runtime import Runtime

runtime: Runtime | None = None
"""None: not connected."""

connect: Callable[[], Runtime] | None = None
"""Starts a local cluster with default options and returns its runtime; set by :mod:`thornback.api.session`."""


def require() -> Runtime:
    """The runtime of this process; starts a local cluster first if there is none, as in Ray."""
    if runtime is not None:
        return runtime
    if connect is None:
        raise RuntimeError("thornback is not initialized: call thornback.init() first")
    return connect()
