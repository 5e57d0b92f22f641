"""How a Faust app restores its tables from a broker that is slow to answer.

Faust waits so long for each of its questions to the broker as any request may take (`ANSWER_S` of
streams.faust_broker), and takes the end of that time for being told to stop: it then never restores
anything again, in a process that lives, holds its partitions and judges nothing. Measured with
faust-streaming 0.15.3 on a real Kafka whose connections died without a word. Here it begins again.
"""

from __future__ import annotations

from typing import Any

import structlog
from faust.tables import TableManager
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped

from streams.failpoints import reached

log = structlog.get_logger()


class PatientRecovery(Recovery):
    """Begins again when the broker has not answered in time, for as long as it takes."""

    async def _wait(self, coro: Any, timeout: Any = None) -> None:
        try:
            await super()._wait(coro, timeout)
        except ServiceStopped:
            if self.should_stop:
                raise
            log.warning("kafka does not answer, restoring the tables again")
            self.signal_recovery_start.set()
            raise RebalanceAgain from None

    async def _build_highwaters(self, *arguments: Any) -> None:
        reached("faust.restoring")
        await super()._build_highwaters(*arguments)


class Tables(TableManager):
    """The tables of an app, restored with patience."""

    @property
    def recovery(self) -> Recovery:
        if self._recovery is None:
            self._recovery = PatientRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
