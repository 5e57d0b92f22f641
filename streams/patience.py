"""Calls of a broker that may be away for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog
from confluent_kafka import KafkaError, KafkaException

CALL_S: Final = 2.0
"""How long one call waits for a broker before we look whether to stop."""

_NO_ANSWER: Final = frozenset(
    {
        KafkaError._TIMED_OUT,  # noqa: SLF001 - its public name
        KafkaError._TIMED_OUT_QUEUE,  # noqa: SLF001
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._WAIT_COORD,  # noqa: SLF001
        KafkaError.UNSTABLE_OFFSET_COMMIT,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.REQUEST_TIMED_OUT,
    }
)

NOT_PASSING: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError._AUTHENTICATION,  # noqa: SLF001
        KafkaError.OFFSET_METADATA_TOO_LARGE,
    }
)
"""Errors that waiting does not cure: reading on would mean reading nothing, quietly."""

log = structlog.get_logger()


def is_passing(error: KafkaError) -> bool:
    """Whether nobody has answered, or somebody has asked us to come again later."""
    if error.fatal() or error.txn_requires_abort():
        return False
    return error.retriable() or error.code() in _NO_ANSWER


def patiently(call: Callable[[float], object], stop: Callable[[], bool]) -> None:
    """Make a call again until a broker has answered: librdkafka goes on where it stood. While
    nobody answers there is nothing else to do, but to stop when we are told to.

    ``call`` is given the seconds it may wait. Raises KafkaException for what is an answer, and when
    ``stop`` says so.
    """
    while True:
        try:
            call(CALL_S)
        except KafkaException as error:
            if not is_passing(error.args[0]) or stop():
                raise
            log.warning("kafka does not answer, waiting", error=error.args[0].name())
        else:
            return
