"""The functions and templates that a worker was sent, each once, and unpickles at their first use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from thornback.core.messages import FunctionDefinition, TaskTemplate
from thornback.core.serialization import load_function


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
            self.templates[template.key] = template

    def load(self, function_id: bytes) -> Any:
        """The function itself; what it raises while it is unpickled is raised here, at each use."""
        function = self._loaded.get(function_id)
        if function is None:
            function = self._loaded[function_id] = load_function(self._definitions[function_id])
        return function
