"""``thornback.job_config``, where Ray has :class:`JobConfig` too."""

from thornback.api.job_config import JobConfig

__all__ = ["JobConfig"]
