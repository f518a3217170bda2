"""The runtime context, under the module name that Ray programs import it from."""

from thornback.api.runtime_context import RuntimeContext, get_runtime_context

__all__ = ["RuntimeContext", "get_runtime_context"]
