"""In every driver and worker: submission, ownership, reference counts, lineage and retries of what it has started."""

from thornback.core.owner.owner import Owner

__all__ = ["Owner"]
