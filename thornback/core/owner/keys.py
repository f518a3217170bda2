"""Durable keys of the GCS, as this process writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.ids import GCS, Address
from thornback.core.messages import KeyValue, PutKey
from thornback.core.runtime import Waiter

if TYPE_CHECKING:
    from thornback.core.owner.owner import Owner


class Keys:
    """Writes, each of which is made once; the GCS remembers it until this process has the answer."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._unanswered: dict[int, None] = {}
        """Numbers of the writes under way, ascending."""

    def put(self, key: str, value: bytes | None, overwrite: bool = True) -> Waiter:
        """Set a key, or delete it with None; completes with a KeyValue that says what the key is then.

        Args:
            overwrite: also if it has a value.
        """
        owner = self._owner
        answered = next(iter(self._unanswered), owner.counter + 1) - 1
        waiter = owner.request(GCS, PutKey, key, value, overwrite, answered)
        self._unanswered[owner.counter] = None
        return waiter

    def on_key_value(self, sender: Address, message: KeyValue) -> None:
        """Answer to PutKey or GetKey."""
        self._unanswered.pop(message.request, None)
        self._owner.answered(message.request, message)
