"""ClickHouse as a sink: one insert a table and flush, and errors sorted by whether to try again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import urlsplit

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver import exceptions
from pydantic import ConfigDict

from sinks.errors import Permanent, Retryable
from sinks.rows import Row, to_columns
from sinks.schema import DATABASE, TABLES
from sinks.table import Table

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

EMBEDDED: Final = "embedded"
PASSWORD_VARIABLE: Final = "DRIFTLINE_STORE_PASSWORD"


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """Days that rows are kept, counted from when they were stored. 0 keeps them for ever."""

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}

    windows_days: int = 400
    findings_days: int = 400
    verdicts_days: int = 400
    actions_days: int = 0
    audit_days: int = 0
    dead_letters_days: int = 90
    intake_days: int = 90
    references_days: int = 0
    configurations_days: int = 0
    events_days: int = 30

    def __post_init__(self) -> None:
        for table in TABLES:
            if self.days(table) < 0:
                raise ValueError(f"retention of {table.name} must be 0 (for ever) or more days")

    def days(self, table: Table) -> int:
        """Raises AttributeError for a table without a setting; a test asks for every table."""
        return int(getattr(self, f"{table.name}_days"))


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where the store is.

    ``url``: ``embedded``, or ``http(s)://user@host:port`` of a ClickHouse server. A password is
    not part of it: it comes from ``password_file``, else ``password``, else the environment
    variable DRIFTLINE_STORE_PASSWORD. ``ca_file``: the authority (PEM) that signed the certificate
    of an ``https`` server; without it the usual ones are trusted. ``reader_password_file`` holds
    the password of the read-only user ``grafana_reader``: a server gets that user only if it is
    set, the embedded store has it always and asks for a password only if it is set. ``path``:
    directory of the embedded store; ``http_port``: where it answers ClickHouse's HTTP protocol on
    loopback (0: a free port).
    """

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}

    url: str = EMBEDDED
    password: str = field(default="", repr=False)
    password_file: str = ""
    reader_password_file: str = ""
    ca_file: str = ""
    database: str = DATABASE
    path: str = "var/store"
    http_port: int = 8123
    connect_timeout_ms: int = 5_000
    insert_timeout_ms: int = 30_000
    retention: RetentionSettings = field(default_factory=RetentionSettings)

    def __post_init__(self) -> None:
        if not self.database.isidentifier() or not self.database.isascii():
            raise ValueError("store.database must be a plain name (letters, digits, underscore)")
        if not 0 <= self.http_port <= 65535:
            raise ValueError("store.http_port must be between 0 and 65535")
        if self.is_embedded:
            return
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("store.url must be 'embedded' or http(s)://user@host:port")
        if parts.password is not None:
            raise ValueError("store.url must not hold a password: use store.password_file")
        if self.ca_file and parts.scheme != "https":
            raise ValueError("store.ca_file is for an https store.url")

    @property
    def is_embedded(self) -> bool:
        return self.url == EMBEDDED

    def read_password(self) -> str:
        """Raises Permanent if the password file cannot be read."""
        if self.password_file:
            return _read_secret(self.password_file, "store.password_file")
        return self.password or os.environ.get(PASSWORD_VARIABLE, "")

    def read_reader_password(self) -> str:
        """The password of ``grafana_reader``, "" if none is set. Raises as ``read_password``."""
        if not self.reader_password_file:
            return ""
        return _read_secret(self.reader_password_file, "store.reader_password_file")


def _read_secret(path: str, setting: str) -> str:
    try:
        secret = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise Permanent(f"The password file {path} cannot be read. Check {setting}.") from None
    if not secret:
        raise Permanent(f"The password file {path} is empty. Check {setting}.")
    return secret


def connect(settings: StoreSettings) -> Client:
    """A client of the store's ClickHouse server.

    The embedded store has one owner and is opened with sinks.embedded_store.EmbeddedStore; asked
    for it, this connects to the owner's HTTP port. Raises Retryable if nobody answers, Permanent
    if the server refuses us or ``ca_file`` cannot be read.
    """
    if settings.ca_file and not Path(settings.ca_file).is_file():
        raise Permanent(f"The file {settings.ca_file} is not there. Check store.ca_file.")
    if settings.is_embedded:
        scheme, host, port, user = "http", "127.0.0.1", settings.http_port, "default"
    else:
        parts = urlsplit(settings.url)
        scheme, host, user = parts.scheme, parts.hostname or "", parts.username or "default"
        port = parts.port or (8443 if scheme == "https" else 8123)
    where = f"{scheme}://{host}:{port}"
    try:
        return clickhouse_connect.get_client(
            interface=scheme,
            host=host,
            port=port,
            username=user,
            password=settings.read_password(),
            ca_cert=settings.ca_file or None,
            connect_timeout=max(1, settings.connect_timeout_ms // 1000),
            send_receive_timeout=max(1, settings.insert_timeout_ms // 1000),
            query_retries=0,
            autogenerate_session_id=False,
        )
    except exceptions.Error as error:
        raise sorted_error(error, f"the connection to {where}") from None


def insert(client: Client, table: Table, rows: Sequence[Row], *, database: str = DATABASE) -> int:
    """Store ``rows`` (see sinks.rows for their form) in one insert; returns how many.

    Raises RowsRefused for rows that do not fit, Retryable or Permanent as ``insert_columns``.
    """
    return insert_columns(client, table, to_columns(table, rows), database=database)


def insert_columns(
    client: Client, table: Table, columns: pa.Table, *, database: str = DATABASE
) -> int:
    """Store columns that ``sinks.rows.to_columns`` made; returns the number of rows.

    After a Retryable the rows may be stored or not. To store them again changes nothing: the
    sorting key is the identity of a row.
    """
    if not columns.num_rows:
        return 0
    try:
        client.insert_arrow(
            table.name,
            columns,
            database=database,
            # A replay of old events may touch more months than the 100 partitions allowed.
            settings={"max_partitions_per_insert_block": 0},
        )
    except exceptions.Error as error:
        raise sorted_error(error, f"the insert into {database}.{table.name}") from None
    return int(columns.num_rows)


# Codes of ClickHouse errors that pass with time: load, memory, disk, replicas, network.
_PASSING = frozenset(
    {32, 74, 75, 76, 95, 96, 101, 159, 160, 173, 198, 201, 202, 203, 209, 210, 225, 236, 241, 242}
    | {243, 244, 252, 254, 279, 285, 286, 319, 394, 425, 439, 473, 745, 999, 1000, 1002}
)
_WHAT_TO_DO = {
    16: "The table has other columns: run `driftline migrate`.",
    36: "The server does not know this: is it older than 25.3?",
    47: "The table has other columns: run `driftline migrate`.",
    60: "The table is missing: run `driftline migrate`.",
    81: "The database is missing: run `driftline migrate`.",
    164: "The user may only read: give store.url a user that may write.",
    192: "The user is unknown: check store.url.",
    193: "The password is wrong: check store.password_file.",
    194: "A password is needed: set store.password_file.",
    497: "The user lacks a right: grant it INSERT, SELECT, CREATE and ALTER on the database.",
    516: "User or password is wrong: check store.url and store.password_file.",
}
_TEMPORARY_STATUS = ("HTTP status 408", "HTTP status 429", "HTTP status 5")


def sorted_error(error: exceptions.Error, what: str) -> Retryable | Permanent:
    """A driver's error as one of ours. Its own text stays out: it may quote rows."""
    code = error.code
    if code is None:
        text = str(error)
        refused = "HTTP status" in text and not any(s in text for s in _TEMPORARY_STATUS)
        if refused or isinstance(error, exceptions.ProgrammingError | exceptions.DataError):
            return Permanent(f"ClickHouse refused {what}: {type(error).__name__}. Check store.url.")
        return Retryable(f"No answer from ClickHouse to {what}. Is the server up?")
    said = f"ClickHouse refused {what}: code {code}" + (f" ({error.name})" if error.name else "")
    if code in _PASSING:
        return Retryable(f"{said}. It will be tried again.")
    return Permanent(f"{said}. {_WHAT_TO_DO.get(code, 'See the log of the server.')}")
