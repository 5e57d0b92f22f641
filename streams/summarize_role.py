"""The role ``summarize``: one worker with its clients, until SIGTERM."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import confluent_kafka
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.bounded_call import NeverReturnedError
from streams.codecs import warm_up
from streams.epochs import source_of
from streams.errors import UnavailableError
from streams.internal_topics import PAIRS, REFERENCES, SHADOWS, topic_specs
from streams.kafka import (
    admin,
    input_consumer,
    producer,
    transactional_producer,
    whole_topic_consumer,
)
from streams.kafka_topics import check_broker, ensure_topics
from streams.metrics_port import metrics_port, new_registry
from streams.metrics_summarize import SummarizeMetrics
from streams.pair_settings import Enabled
from streams.pairing import Pairing
from streams.reference_book import ReferenceBook
from streams.shadow_book import ShadowBook, Shadows
from streams.stopping import stop_signals
from streams.summarize import Worker, nothing
from streams.summarizer import Summarizer, TooManyDeadLettersError
from streams.supervise import report_ready

if TYPE_CHECKING:
    from streams.config import Config


def worker_name() -> str:
    """A name no other worker has, also not the one this process replaces."""
    return f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def run(config: Config) -> int:
    """One worker, until SIGTERM. Returns the exit code."""
    kafka = config.kafka
    topics = [item.topic for item in config.inputs]
    check_broker(kafka, topics)
    ensure_topics(kafka, topic_specs(kafka))
    stop = stop_signals()
    name, client = worker_name(), AdminClient(admin(kafka))
    make_reader = partial(confluent_kafka.Consumer, whole_topic_consumer(kafka, "references"))
    registry = new_registry()
    with ExitStack() as stack:
        stack.enter_context(metrics_port(config.metrics, registry))
        book = stack.enter_context(ReferenceBook(make_reader, kafka.topic(REFERENCES)))
        book.wait_read()
        pairing, between_flushes = None, nothing
        if config.pairing.enabled is not Enabled.OFF:
            shadows = Shadows(config.limits.models)
            pairing = Pairing(
                config.pairing, shadows, book.of, kafka.partitions, name, kafka.topic(PAIRS)
            )
            announced = ShadowBook(make_reader, kafka.topic(SHADOWS), shadows)
            stack.enter_context(announced).wait_read()
            between_flushes = announced.poll
        summarizer = Summarizer(
            config.inputs,
            config.time,
            config.summarize,
            replace(config.limits, always_models=config.followed_models()),
            config.events,
            book.of,
            kafka.partitions,
            name,
            pairing,
        )
        make_producer = transactional_producer if kafka.transactional else producer
        worker = Worker(
            summarizer,
            config.summarize,
            confluent_kafka.Consumer(input_consumer(kafka, kafka.topic("summarize"))),
            lambda: confluent_kafka.Producer(make_producer(kafka, kafka.topic(name))),
            kafka.transactional,
            topics,
            kafka.topic,
            between_flushes=between_flushes,
            metrics=SummarizeMetrics(registry),
            start=kafka.start,
            epochs=source_of(kafka, client, make_reader),
            lister=client,
        )
        if config.summarize.compiled:
            warm_up()
        report_ready()
        with _explained():
            worker.run(stop)
    return 0


@contextmanager
def _explained() -> Iterator[None]:
    """What ends a worker, as errors that say what to do."""
    try:
        yield
    except TooManyDeadLettersError as error:
        raise UnavailableError(
            str(error), "summarize", "correct the producer or the format of the topic"
        ) from None
    except NeverReturnedError as error:
        raise UnavailableError(
            str(error), "summarize", "start it again: what was not committed is read again"
        ) from None
    except KafkaException as error:
        raise UnavailableError(
            f"Kafka: {error.args[0].name()}",
            "summarize",
            "what was not committed will be read again; are brokers and group in order?",
        ) from None
