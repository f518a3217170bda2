"""In every worker: the order of execution, concurrency groups, cancellation, and running user code."""

from thornback.core.executor.executor import Executor

__all__ = ["Executor"]
