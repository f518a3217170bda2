"""What this process has still to register: the GCS asks for actors and placement groups that it does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thornback.core.ids import Address
from thornback.core.messages import AskMaker, NotComing

if TYPE_CHECKING:
    from thornback.core.owner.owner import Owner


class Maker:
    """This process as the maker of actors and placement groups."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def on_ask_maker(self, sender: Address, message: AskMaker) -> None:
        """Somebody waits for news of one. Registrations that were sent before reach the GCS before the answer."""
        subject = message.subject
        if subject not in self._owner.actors.creations and subject not in self._owner.groups.coming:
            self._owner.gcs.send(NotComing(subject))
