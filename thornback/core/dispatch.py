"""From a message type to the one method that handles it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from thornback.core.messages import MESSAGES, Message

Handler = Callable[[bytes, Any], None]
"""Called with the sender's address and the message."""


def method_name(message_type: type[Message]) -> str:
    """``PushTasks`` is handled by ``on_push_tasks``."""
    return "on_" + re.sub(r"(?<!^)(?=[A-Z])", "_", message_type.__name__).lower()


_NAMES = {message_type: method_name(message_type) for message_type in MESSAGES}


def handlers_of(*components: Any) -> dict[type[Message], Handler]:
    """The table of all handlers that ``components`` have.

    Raises:
        TypeError: two components handle the same message.
    """
    plan = _plan(tuple(map(type, components)))
    return {message_type: getattr(components[index], name) for message_type, (index, name) in plan.items()}


@cache
def _plan(components: tuple[type, ...]) -> dict[type[Message], tuple[int, str]]:
    """Which component handles a message, and how."""
    plan: dict[type[Message], tuple[int, str]] = {}
    for index, component in enumerate(components):
        for message_type, name in _NAMES.items():
            if not hasattr(component, name):
                continue
            if message_type in plan:
                raise TypeError(f"{message_type.__name__} has two handlers in one process")
            plan[message_type] = index, name
    return plan
