"""The process that the calling code belongs to.

The real world sets :data:`runtime` once per process. The simulated world, where many processes share one interpreter,
sets it each time it switches to a user greenlet. Code must therefore read ``current.runtime`` anew at each use.
"""

from __future__ import annotations

from thornback.core.runtime import Runtime

runtime: Runtime | None = None
"""None: not connected."""


def require() -> Runtime:
    """The runtime of this process; starts a local cluster first if there is none, as in Ray."""
    if runtime is not None:
        return runtime
    from thornback.api import session

    return session.connect()
