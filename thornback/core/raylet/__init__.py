"""Per node: leases, the worker pool, the cluster view and the node's part of the object manager."""

from thornback.core.raylet.raylet import Raylet

__all__ = ["Raylet"]
