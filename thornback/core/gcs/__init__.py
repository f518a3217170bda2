"""The global control store: nodes, jobs, actors, names, keys and task events of one cluster."""

from thornback.core.gcs.store import GlobalControlStore

__all__ = ["GlobalControlStore"]
