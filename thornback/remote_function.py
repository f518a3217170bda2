"""Remote functions, under the module name that Ray programs import them from."""

from thornback.api.remote_function import RemoteFunction

__all__ = ["RemoteFunction"]
