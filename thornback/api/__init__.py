"""The public API: thin, over a :class:`thornback.core.runtime.Runtime`."""
