"""All decisions of the engine, in plain objects that reach the outside only through :mod:`thornback.core.ports`."""
