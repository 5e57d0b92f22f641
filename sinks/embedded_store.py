"""The embedded store: ClickHouse's engine (chDB) inside one process of ours.

One process owns the directory; the engine locks it. Everybody else, Grafana included, comes
through the HTTP face of that process (sinks/http_face.py).

Measured on the 2-core test machine (chDB 26.9): a handle on a running engine opens and closes in
1 ms, so every request gets its own. That gives what ClickHouse's HTTP interface promises: settings
and ``USE`` of one request never reach another. And it gives a one-way lock: on a handle where
``readonly = 1`` was set, the engine refuses to take it back.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import clickhouse_connect

from sinks.errors import Permanent
from sinks.statement import Statement, outward

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_CODE = re.compile(r"Code: (\d+)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNKNOWN_FORMAT = 73
_BAD_ARGUMENTS = 36


class StoreLocked(Permanent):
    """Another process owns the directory of the embedded store."""


class StoreUnavailable(Permanent):
    """The embedded store cannot be opened at all."""


class QueryFailed(Exception):
    """The engine refused a statement. ``code``: ClickHouse's error code, 0 if it gave none."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement gave: the result in the format asked for, and how much was touched."""

    data: bytes
    format: str
    rows_read: int
    bytes_read: int
    rows_written: int
    bytes_written: int


class EmbeddedStore:
    """The one engine of this process, open until ``close``.

    ``client`` is for our own writes. ``run`` is for statements that came from elsewhere and were
    checked by sinks/statement.py; it may be called from several threads at once.
    """

    def __init__(self, path: str | Path) -> None:
        """Raises StoreLocked or StoreUnavailable, each with one line: what, where, what to do."""
        self.path = str(Path(path).resolve())
        self.client: Client = _open(self.path)
        self.settings = self._names("SELECT name FROM system.settings")
        self.formats = self._names("SELECT name FROM system.formats WHERE is_output")
        self.outward = outward(
            self._names("SELECT name FROM system.table_functions"),
            self._names("SELECT name FROM system.functions"),
        )
        version, timezone, display_name = self.client.query(
            "SELECT version(), timezone(), displayName()"
        ).result_rows[0]
        self.version, self.timezone, self.display_name = str(version), str(timezone), display_name

    def run(
        self,
        statement: Statement,
        *,
        default_format: str = "TabSeparated",
        database: str = "",
        settings: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
        read_only: bool = False,
    ) -> Answer:
        """Run one statement on a handle of its own. Raises QueryFailed.

        ``settings`` the engine does not know are left out, as they may be meant for the server
        around it. ``read_only`` is enforced by the engine too, whatever the statement says.
        """
        wanted = statement.format or default_format
        if statement.data is None and wanted not in self.formats:
            raise QueryFailed(_UNKNOWN_FORMAT, "Code: 73. DB::Exception: Unknown output format")
        with self._handle() as handle:
            if database:
                if _NAME.fullmatch(database) is None:
                    raise QueryFailed(_BAD_ARGUMENTS, "Code: 36. DB::Exception: Bad database name")
                handle.query(f"USE `{database}`", "TabSeparated")
            for name, value in (settings or {}).items():
                if name in self.settings:
                    handle.query(f"SET {name} = {_quoted(value)}", "TabSeparated")
            if read_only:
                handle.query("SET readonly = 1", "TabSeparated")
            if statement.data is not None:
                return _insert(handle, statement)
            result = handle.query(statement.sql, wanted, params=dict(parameters or {}))
            return Answer(
                data=result.bytes() or b"",
                format=wanted,
                rows_read=result.rows_read(),
                bytes_read=result.bytes_read(),
                rows_written=result.rows_written(),
                bytes_written=result.bytes_written(),
            )

    def close(self) -> None:
        """Close the engine and release the directory. May be called more than once."""
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _handle(self) -> Iterator[Any]:
        import chdb

        handle: Any = chdb.connect(self.path)  # type: ignore[no-untyped-call]
        try:
            yield handle
        except RuntimeError as error:  # chdb's own error type is a RuntimeError
            raise _failure(error) from None
        finally:
            handle.close()

    def _names(self, query: str) -> frozenset[str]:
        return frozenset(str(row[0]) for row in self.client.query(query).result_rows)


def _insert(handle: Any, statement: Statement) -> Answer:
    # Data goes beside the statement, never inside it: the engine would cut inline data at an empty
    # line and run what follows as a statement of its own. Beside it means a file in memory: chDB's
    # streaming insert says that rows are written which did not fit on the disk any more.
    descriptor = os.memfd_create("insert")
    with os.fdopen(descriptor, "wb") as file:
        file.write(statement.data or b"")
        file.flush()
        sql, settings = (t.decode("utf-8", "replace") for t in (statement.sql, statement.settings))
        done = handle.query(
            f"{sql}\nFROM INFILE '/proc/self/fd/{descriptor}' COMPRESSION 'none'"
            f" {settings}\nFORMAT {statement.format}",
            "TabSeparated",
        )
    # It reads from the file exactly what it writes.
    return Answer(b"", "", 0, 0, done.rows_read(), done.bytes_read())


def _open(path: str) -> Client:
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(
            f"The embedded store cannot use {path}: {error.strerror}."
            " Set store.path to a directory that can be written."
        ) from None
    if _locked(path):
        # Asked first: the engine would print its own complaint to stderr and hide the cause.
        raise StoreLocked(
            f"The store at {path} is in use by another process. Stop that process, set store.path"
            " to another directory, or read the store through its HTTP port."
        )
    try:
        return clickhouse_connect.get_client(interface="chdb", path=path)
    except ImportError:
        raise StoreUnavailable(
            "The embedded store needs chDB: install driftline[embedded], or set store.url to a"
            " ClickHouse server."
        ) from None
    except clickhouse_connect.driver.exceptions.Error as error:
        raise StoreUnavailable(
            f"The embedded store at {path} cannot be opened: {str(error).splitlines()[0][:300]}"
        ) from None


def _locked(path: str) -> bool:
    """Whether another engine holds the lock of this directory."""
    import fcntl

    try:
        with Path(path, "status").open("r+b") as status:
            fcntl.flock(status, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _failure(error: BaseException) -> QueryFailed:
    text = str(error)
    match = _CODE.search(text)
    return QueryFailed(int(match.group(1)) if match else 0, text[match.start() if match else 0 :])


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
