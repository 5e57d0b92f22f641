"""The role ``serve``: verdicts out of Kafka, answers over HTTP.

It depends on Kafka alone; of the store it asks only the history of findings, and answers 503 to
that while the store is away. SIGTERM and SIGINT stop it in less than 5 s: running requests get 2 s,
the reader is told to stop, and whoever connects meanwhile is refused.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import structlog
import uvicorn
from clickhouse_connect.driver import exceptions
from confluent_kafka import Consumer

from detectors.verdict import Verdict
from sinks.api import ApiParts, create_app
from sinks.clickhouse import StoreSettings, connect, sorted_error
from sinks.finding_history import FindingQuery, FindingRow, read_findings
from sinks.http_guard import read_tokens
from sinks.serve_settings import ServeSettings
from sinks.verdict_board import VerdictBoard
from streams.clock import wall_ms
from streams.config import Config
from streams.errors import UnavailableError, UserError
from streams.internal_topics import VERDICTS
from streams.kafka import results_consumer
from streams.kafka_topics import check_broker
from streams.stopping import stop_signals
from streams.supervise import report_ready
from streams.verdict_reader import READER_SETTINGS, VerdictConsumer, VerdictReader
from streams.wire import decode_verdict

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

log = structlog.get_logger()

_GRACE_S: Final = 2
_TICK_S: Final = 0.1
_MAX_HEADER_BYTES: Final = 32 * 1024


def listen(settings: ServeSettings) -> socket.socket:
    """A listening socket at the configured address. Raises `UserError` with what to do."""
    where = f"{settings.host}:{settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError:
        raise UserError("not an address of this machine", where, "check serve.host") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise _not_bound(error, where) from None
    listener.setblocking(False)
    return listener


def _not_bound(error: OSError, where: str) -> UserError:
    match error.errno:
        case errno.EADDRINUSE:
            return UnavailableError(
                "the port is in use", where, "stop the other process or change serve.port"
            )
        case errno.EACCES:
            return UserError("no permission for this port", where, "use a port above 1023")
        case errno.EADDRNOTAVAIL:
            return UserError("not an address of this machine", where, "check serve.host")
        case _:
            why = error.strerror or "unknown"
            return UnavailableError(f"cannot listen: {why}", where, "check serve.host and port")


def address_of(listener: socket.socket) -> str:
    """The URL of a listening socket, with the port it really has."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    settings: ServeSettings,
    make_consumer: Callable[[], VerdictConsumer],
    decode: Callable[[bytes], Verdict],
    findings: Callable[[FindingQuery], Sequence[FindingRow]],
    *,
    stop: Callable[[], bool],
    on_ready: Callable[[str], None],
    topic: str,
) -> None:
    """Serve until ``stop()``. ``on_ready`` gets the URL once requests are answered.

    Raises `UserError` if the address is taken, TokenFileError if the tokens cannot be read.
    """
    board = VerdictBoard(settings.max_releases, settings.max_verdict_age_ms)
    tokens = read_tokens(settings.token_file)
    with (
        closing(listen(settings)) as listener,
        VerdictReader(make_consumer, decode, board, topic, wall_ms) as reader,
    ):
        parts = ApiParts(
            board=board,
            now_ms=wall_ms,
            max_age_ms=settings.max_verdict_age_ms,
            ready=reader.readiness,
            findings=findings,
            tokens=tokens,
        )
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(parts),
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=settings.max_connections,
                h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        # In a thread of its own: uvicorn takes signal handlers only in the main thread, and
        # raises the signal again afterwards, which would end the process before the reader.
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="http", daemon=True
        )
        thread.start()
        try:
            url = address_of(listener)
            if not tokens and settings.host not in ("127.0.0.1", "localhost", "::1"):
                log.warning("api_open_without_token", url=url, hint="set serve.token_file")
            said = False
            while not stop():
                time.sleep(_TICK_S)
                if server.started and not said:
                    said = True
                    log.info("serving", url=url)
                    on_ready(url)
                if not thread.is_alive():
                    raise UnavailableError("the HTTP server stopped", url, "see the log above")
        finally:
            server.should_exit = True
            thread.join(timeout=_GRACE_S + 1)


def findings_of(settings: StoreSettings) -> Callable[[FindingQuery], Sequence[FindingRow]]:
    """Reads findings from the store; connects when first asked, and again after a failure."""
    lock = threading.Lock()
    held: list[Client] = []

    def client() -> Client:
        with lock:
            if not held:
                held.append(connect(settings))
            return held[0]

    def ask(sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        try:
            return client().query(sql, parameters=dict(parameters)).result_rows
        except exceptions.Error as error:
            with lock:
                held.clear()
            raise sorted_error(error, "the question for findings") from None

    return lambda query: read_findings(ask, query, settings.database)


def run(config: Config) -> int:
    """The role: serve with the settings of ``config`` until a signal comes. For the main thread."""
    stop = stop_signals()
    try:
        check_broker(config.kafka)
        properties = results_consumer(config.kafka, "driftline-serve") | READER_SETTINGS
    except ValueError as error:
        raise UserError(str(error)) from None
    serve(
        config.serve,
        lambda: Consumer(properties),
        decode_verdict,
        findings_of(config.store),
        stop=stop,
        on_ready=report_ready,
        topic=config.kafka.topic(VERDICTS),
    )
    return 0
