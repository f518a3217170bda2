"""The part of the core that waits, loaded at its first use, so that ``import thornback`` stays quick."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thornback.core import blocking
else:

    class _Blocking:
        def __getattr__(self, name: str) -> Any:
            from thornback.core import blocking

            value = getattr(blocking, name)
            setattr(self, name, value)
            return value

    blocking = _Blocking()

__all__ = ["blocking"]
