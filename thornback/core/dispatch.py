"""From a message type to the one method that handles it."""

from __future__ import annotations

import re
from collections.abc import Callable
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
    table: dict[type[Message], Handler] = {}
    for component in components:
        for message_type, name in _handled_by(type(component)):
            if message_type in table:
                raise TypeError(f"{message_type.__name__} has two handlers in one process")
            table[message_type] = getattr(component, name)
    return table


_handled: dict[type, list[tuple[type[Message], str]]] = {}


def _handled_by(component: type) -> list[tuple[type[Message], str]]:
    known = _handled.get(component)
    if known is None:
        known = _handled[component] = [(kind, name) for kind, name in _NAMES.items() if hasattr(component, name)]
    return known
