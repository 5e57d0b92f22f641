"""Asking the store from a command: the embedded one is opened, or asked over HTTP if it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clickhouse_connect.driver import exceptions

from sinks.clickhouse import StoreSettings, connect, sorted_error
from sinks.embedded_store import EmbeddedStore, StoreLocked
from sinks.finding_history import Ask


@contextlib.contextmanager
def asked(settings: StoreSettings) -> Iterator[Ask]:
    """What runs a query with bound parameters. Raises Retryable or Permanent of `sinks.errors`."""
    with contextlib.ExitStack() as stack:
        client = None
        if settings.is_embedded:
            # If its owner runs, that one answers over HTTP.
            with contextlib.suppress(StoreLocked):
                client = stack.enter_context(EmbeddedStore(settings.path)).client
        if client is None:
            client = connect(settings)
            stack.callback(client.close)
        held = client

        def ask(sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
            try:
                return held.query(sql, parameters=dict(parameters)).result_rows
            except exceptions.Error as error:
                raise sorted_error(error, "the question to the store") from None

        yield ask


def table_of(settings: StoreSettings, name: str) -> str:
    """A table's name as it stands in a query; both parts come from us or the configuration."""
    return f"`{settings.database.replace('`', '')}`.`{name}`"
