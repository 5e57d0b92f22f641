"""`driftline migrate`: bring the tables of the store up to this version."""

from __future__ import annotations

from sinks.clickhouse import StoreSettings, connect
from sinks.embedded_store import EmbeddedStore, StoreLocked
from sinks.migrations import Migration, migrate


def migrate_store(settings: StoreSettings, *, dry_run: bool) -> list[Migration]:
    """Apply what is missing and return it. Raises Retryable or Permanent of `sinks.errors`."""
    if settings.is_embedded:
        try:
            with EmbeddedStore(settings.path) as store:
                return migrate(store.client, database=settings.database, dry_run=dry_run)
        except StoreLocked:
            # Its owner runs: ask that one, over HTTP.
            pass
    client = connect(settings)
    try:
        return migrate(client, database=settings.database, dry_run=dry_run)
    finally:
        client.close()
