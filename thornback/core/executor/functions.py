"""The functions and templates that a worker was sent, each once, and unpickles at their first use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from thornback.core.messages import FunctionDefinition, TaskTemplate
from thornback.core.owner.scheduling_classes import TEMPLATES
from thornback.core.serialization import load_function

TEMPLATES_KEPT = 2 * TEMPLATES


class Functions:
    """What this worker can run.

    Attributes:
        templates: what all calls of one function with equal options share, by key.
    """

    def __init__(self) -> None:
        self.templates: dict[bytes, TaskTemplate] = {}
        self._definitions: dict[bytes, FunctionDefinition] = {}
        self._loaded: dict[bytes, Any] = {}

    def define(self, definition: FunctionDefinition) -> None:
        """A pickled function, or actor class, has arrived."""
        self._definitions[definition.function_id] = definition

    def add_templates(self, templates: Iterable[TaskTemplate]) -> None:
        """Templates have arrived."""
        for template in templates:
            self.templates.pop(template.key, None)
            self.templates[template.key] = template

    def trim(self) -> None:
        """Forget the templates that came first. Whoever leases this worker sends none again that came lately."""
        while len(self.templates) > TEMPLATES_KEPT:
            del self.templates[next(iter(self.templates))]

    def load(self, function_id: bytes) -> Any:
        """The function itself; what it raises while it is unpickled is raised here, at each use."""
        function = self._loaded.get(function_id)
        if function is None:
            function = self._loaded[function_id] = load_function(self._definitions[function_id])
        return function
