"""A receiver that is held once it has said that it is gone.

Standard Webhooks: 410 means that the endpoint is to be disabled. After one such answer to a message
it gets no more of them from this process; others are told. It is tried again when the role starts
again, which is also what a change of the configuration takes. Rollbacks neither hold it nor are
held: nothing may keep one from being asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from detectors.action import Action, ActionKind
from sinks.errors import Gone, Permanent

if TYPE_CHECKING:
    from sinks.receivers import Receiver


class HeldReceiver:
    """``inner`` until it is gone. Gone is raised once, Permanent for every message after it."""

    def __init__(self, inner: Receiver) -> None:
        self.name = inner.name
        self.kinds = inner.kinds
        self.models = inner.models
        self.dry_run = inner.dry_run
        self._inner = inner
        self._gone = False
        self._answered = False

    @property
    def answers(self) -> bool:
        """True once it has taken a message in this process, and has not been gone since."""
        return self._answered and not self._gone

    async def deliver(self, action: Action, now_ms: int) -> str:
        """As :meth:`sinks.receivers.Receiver.deliver`."""
        if action.kind is ActionKind.ROLLBACK:
            return await self._inner.deliver(action, now_ms)
        if self._gone:
            raise Permanent(f"{self.name} is held, as it answered 410; correct it and start again")
        try:
            said = await self._inner.deliver(action, now_ms)
        except Gone as error:
            if self._gone:  # by another message meanwhile
                raise Permanent(str(error)) from None
            self._gone = True
            raise
        self._answered = True
        return said
