"""Settings for Kafka clients: what they promise, what they refuse, what they never say."""

from __future__ import annotations

import logging
import socket
import ssl
import time

import faust
import pytest
import structlog
from confluent_kafka import Consumer, Producer
from pydantic import TypeAdapter, ValidationError
from structlog.testing import capture_logs

from streams import faust_broker, kafka
from streams.kafka import KafkaSettings, Transactions, embedded_at
from streams.kafka_log import REPEAT_S, KafkaLog
from streams.kafka_topics import BadProperties, NoBroker, WrongAddress, check_broker

REAL = KafkaSettings("broker-1:9092,broker-2:9092")
EMBEDDED = KafkaSettings(embedded_at("127.0.0.1:40001"))
SASL = {
    "security.protocol": "sasl_ssl",
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.username": "ann",
    "sasl.password": "s3cret-horse",
}


def test_the_default_needs_no_server() -> None:
    settings = KafkaSettings()
    assert settings.embedded
    assert not settings.transactional
    with pytest.raises(ValueError, match="driftline up"):
        _ = settings.servers


def test_an_embedded_broker_that_runs_has_an_address() -> None:
    assert EMBEDDED.embedded
    assert EMBEDDED.servers == "127.0.0.1:40001"
    assert not EMBEDDED.transactional


def test_transactions_are_on_by_themselves_on_a_real_kafka_only() -> None:
    assert REAL.transactional
    assert not KafkaSettings("b:9092", transactions=Transactions.OFF).transactional
    with pytest.raises(ValueError, match="hollow"):
        KafkaSettings(transactions=Transactions.ON)
    with pytest.raises(ValueError, match="no real transactions"):
        kafka.transactional_producer(EMBEDDED, "summarize-0")


@pytest.mark.parametrize(
    "bootstrap",
    ["", "broker", "broker:0", "broker:99999", "kafka://broker:9092", "u:pw@broker:9092", "a:1,,"],
)
def test_an_address_that_cannot_be_one_is_refused_without_repeating_it(bootstrap: str) -> None:
    with pytest.raises(ValueError, match="host:port") as raised:
        KafkaSettings(bootstrap)
    assert "pw" not in str(raised.value)


def test_ipv6_and_several_servers_are_addresses() -> None:
    assert KafkaSettings("[::1]:9092,b.example:9093").servers == "[::1]:9092,b.example:9093"


@pytest.mark.parametrize(
    "name", ["enable.auto.commit", "isolation.level", "acks", "bootstrap.servers", "test.mock.x"]
)
def test_properties_that_would_break_a_promise_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} cannot be set here"):
        KafkaSettings(properties={name: "x"})


def test_bounds_are_checked() -> None:
    for settings in ({"partitions": 0}, {"replication": 4}, {"prefix": "a/b"}):
        with pytest.raises(ValueError, match=r"kafka\."):
            KafkaSettings(**settings)


def test_configuration_can_compose_the_settings_and_refuses_unknown_keys() -> None:
    adapter = TypeAdapter(KafkaSettings)
    loaded = adapter.validate_python({"bootstrap": "b:9092", "transactions": "off"})
    assert loaded == KafkaSettings("b:9092", transactions=Transactions.OFF)
    with pytest.raises(ValidationError, match="bootstrp"):
        adapter.validate_python({"bootstrp": "b:9092"})


def test_secrets_are_not_in_the_representation() -> None:
    assert "s3cret-horse" not in repr(KafkaSettings("b:9092", properties=SASL))


@pytest.mark.parametrize("settings", [REAL, EMBEDDED], ids=["real", "embedded"])
def test_consumers_read_committed_records_and_never_commit_by_themselves(
    settings: KafkaSettings,
) -> None:
    makers = (kafka.input_consumer, kafka.results_consumer, kafka.whole_topic_consumer)
    for made in (make(settings, "g") for make in makers):
        assert made["isolation.level"] == "read_committed"
        assert made["enable.auto.commit"] is False
        assert made["enable.auto.offset.store"] is False


def test_what_is_fetched_ahead_of_a_slow_worker_is_bounded() -> None:
    made = kafka.input_consumer(REAL, "g")
    # An answer that is on its way when the queue is full comes on top.
    assert 1024 * made["queued.max.messages.kbytes"] + made["fetch.max.bytes"] <= 72_000_000
    assert made["fetch.message.max.bytes"] <= made["fetch.max.bytes"]


def test_librdkafka_accepts_every_configuration_without_a_warning() -> None:
    # librdkafka refuses unknown names when a client is made, and logs what does not fit the kind
    # of client (CONFWARN) a moment later.
    settings = KafkaSettings("127.0.0.1:1", properties={"security.protocol": "plaintext"})
    with capture_logs() as logs:
        consumers = [
            Consumer(kafka.input_consumer(settings, "g")),
            Consumer(kafka.results_consumer(settings, "g")),
            Consumer(kafka.whole_topic_consumer(settings, "g")),
        ]
        producers = [
            Producer(kafka.producer(settings, "p")),
            Producer(kafka.transactional_producer(settings, "x")),
            Producer(kafka.admin(settings)),
        ]
        for consumer in consumers:
            consumer.poll(0.05)
            consumer.close()
        for producer in producers:
            producer.poll(0.05)
    assert [entry for entry in logs if entry.get("facility") == "CONFWARN"] == []


def test_a_transaction_ends_before_its_records_are_given_up() -> None:
    made = kafka.transactional_producer(REAL, "summarize-0")
    assert made["message.timeout.ms"] < made["transaction.timeout.ms"]
    assert made["enable.idempotence"] is True


def test_log_lines_are_passed_on_once_in_a_while() -> None:
    now = [0.0]
    kafka_log = KafkaLog("test", clock=lambda: now[0])
    with capture_logs() as logs:
        for attempt in range(50):
            text = f"[thrd:b:1/1]: b:1: refused (after {attempt}ms in state CONNECT)"
            kafka_log.log(logging.ERROR, "%s [%s] %s", "FAIL", "rdkafka#1", text)
        assert len(logs) == 1
        assert logs[0]["text"].startswith("b:1: refused")
        now[0] = REPEAT_S
        kafka_log.log(logging.ERROR, "%s [%s] %s", "FAIL", "rdkafka#1", "[thrd:x]: b:1: refused")
        assert len(logs) == 2


def test_what_is_remembered_of_log_lines_is_bounded() -> None:
    kafka_log = KafkaLog("test", clock=lambda: 0.0)
    with capture_logs():
        for number in range(1000):
            word = "".join(chr(97 + int(digit)) for digit in str(number))
            kafka_log.log(logging.INFO, "%s [%s] %s", "X", "c", word)
    assert len(kafka_log._said) <= 200


def test_clients_write_nothing_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    # Whatever other tests set up, write structlog's lines nowhere for this one.
    with structlog.testing.capture_logs() as logs:
        producer = Producer(kafka.producer(KafkaSettings("127.0.0.1:1"), "p"))
        deadline = time.monotonic() + 5
        while not logs and time.monotonic() < deadline:
            producer.poll(0.05)
        assert logs, "librdkafka said nothing although nobody listens"
        del producer
    assert capfd.readouterr().err == ""


def test_no_broker_is_one_clear_line() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        with capture_logs(), pytest.raises(NoBroker) as raised:
            check_broker(KafkaSettings(f"127.0.0.1:{port}"), timeout_ms=300)
    assert str(raised.value) == (
        f"no Kafka at 127.0.0.1:{port} (connection refused): start it, or correct kafka.bootstrap"
    )


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        (
            {"security.protocol": "sasl_plaintext", "sasl.mechanisms": "SCRAM-SHA-512"},
            "kafka.properties make no client (sasl.username and sasl.password must be set):"
            " set what is missing, or correct them",
        ),
        (
            {"security.protocol": "hunter2"},
            "kafka.properties make no client (Invalid a value for configuration property"
            ' "security.protocol"): set what is missing, or correct them',
        ),
    ],
)
def test_properties_that_make_no_client_are_said_without_their_values(
    properties: dict[str, str], said: str
) -> None:
    settings = KafkaSettings("127.0.0.1:1", properties=properties)
    with capture_logs(), pytest.raises(BadProperties) as raised:
        check_broker(settings, timeout_ms=300)
    assert str(raised.value) == said


def test_a_server_that_is_no_kafka_is_told_from_none() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with capture_logs(), pytest.raises(NoBroker, match="does not answer as Kafka does"):
            check_broker(KafkaSettings(address), timeout_ms=300)


def test_a_name_that_does_not_resolve_is_a_wrong_address() -> None:
    with capture_logs(), pytest.raises(WrongAddress, match=r"nowhere\.invalid:9092"):
        check_broker(KafkaSettings("nowhere.invalid:9092"), timeout_ms=300)


def test_faust_gets_the_same_servers_and_user() -> None:
    settings = KafkaSettings("a:9092,b:9092", properties=SASL, replication=3)
    arguments = faust_broker.app_arguments(settings)
    app = faust.App("test", **arguments)
    assert [str(url) for url in app.conf.broker] == ["kafka://a:9092", "kafka://b:9092"]
    credentials = arguments["broker_credentials"]
    assert isinstance(credentials, faust.SASLCredentials)
    assert (credentials.username, credentials.password) == ("ann", "s3cret-horse")
    assert credentials.protocol.value == "SASL_SSL"
    assert credentials.mechanism.value == "SCRAM-SHA-512"
    assert credentials.ssl_context is not None
    assert credentials.ssl_context.check_hostname
    assert credentials.ssl_context.verify_mode is ssl.CERT_REQUIRED


def test_faust_knows_what_the_embedded_broker_cannot_do() -> None:
    arguments = faust_broker.app_arguments(EMBEDDED)
    assert arguments["topic_allow_declare"] is False
    assert arguments["topic_disable_leader"] is True
    assert arguments["broker_credentials"] is None


@pytest.mark.parametrize(
    "properties",
    [
        {"security.protocol": "ssl", "ssl.keystore.location": "/k.p12"},
        {"security.protocol": "sasl_ssl", "sasl.mechanism": "OAUTHBEARER"},
        {"security.protocol": "sasl"},
    ],
)
def test_security_that_faust_cannot_give_is_refused_not_weakened(
    properties: dict[str, str],
) -> None:
    with pytest.raises(ValueError, match=r"kafka\.properties"):
        faust_broker.app_arguments(KafkaSettings("b:9092", properties=properties))
