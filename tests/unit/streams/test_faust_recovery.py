"""An app whose broker is slow to answer restores its tables again, and not never."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped

from streams.faust_app import make_app
from streams.faust_recovery import PatientRecovery
from streams.kafka import KafkaSettings


def test_an_app_restores_its_tables_with_patience() -> None:
    async def made() -> object:
        tables: Any = make_app(KafkaSettings(bootstrap="127.0.0.1:1"), "judge").tables
        return tables.recovery

    assert type(asyncio.run(made())) is PatientRecovery


async def unanswered(recovery: type[Recovery], *, told_to_stop: bool = False) -> bool:
    """Whether restoring is begun again after a question nobody has answered."""
    app = make_app(KafkaSettings(bootstrap="127.0.0.1:1"), "judge")
    asked = recovery(app, app.tables)
    if told_to_stop:
        asked._stopped.set()
    with pytest.raises((RebalanceAgain, ServiceStopped)):
        await asked._wait(asyncio.sleep(60), timeout=0.01)
    return asked.signal_recovery_start.is_set()


def test_a_question_without_an_answer_begins_it_again() -> None:
    assert asyncio.run(unanswered(PatientRecovery))


def test_faust_itself_would_never_restore_again() -> None:
    assert not asyncio.run(unanswered(Recovery))


def test_who_is_told_to_stop_stops() -> None:
    assert not asyncio.run(unanswered(PatientRecovery, told_to_stop=True))
