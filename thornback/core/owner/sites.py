"""Where the user's code first called ``.remote()`` of each function and method."""

from __future__ import annotations

from thornback.core.messages import TaskTemplate

KEPT = 10_000
"""Templates whose first use is remembered."""


class CallSites(dict[bytes, str]):
    """``file:line function`` by the key of a template. Noted when a process uses a template for the first time."""

    def note(self, template: TaskTemplate, site: str) -> None:
        """This process uses a template for the first time."""
        if len(self) >= KEPT:
            del self[next(iter(self))]
        self.setdefault(template.key, site)
