"""Where the role deliver publishes."""

from __future__ import annotations

from typing import Any

from sinks.control import ControlRecord, control_key, encode_control
from streams.changelog import acknowledged


class DeliverTopics:
    """Three topics: each anything with ``send`` as a Faust topic has it."""

    def __init__(self, actions: Any, audit: Any, control: Any) -> None:
        self.actions = actions
        self.audit = audit
        self.control = control

    async def tell(self, record: ControlRecord) -> None:
        """Publish a control record; returns when Kafka has it."""
        sent = await self.control.send(key=control_key(record), value=encode_control(record))
        await acknowledged([sent])
