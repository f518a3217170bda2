"""The real world: processes, Unix sockets and shared memory behind the ports of :mod:`thornback.core`."""
