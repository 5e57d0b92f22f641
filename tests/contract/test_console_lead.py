"""Since when a verdict holds, asked of the engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sinks.console.lead import SINCE
from sinks.embedded_store import EmbeddedStore
from sinks.migrations import migrate
from sinks.schema import DATABASE


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    with EmbeddedStore(tmp_path_factory.mktemp("store")) as store:
        migrate(store.client)
        yield store


@pytest.mark.parametrize(
    ("stored", "said", "also", "since"),
    [
        ("pass fail fail", "fail", "fail", 1),
        ("fail pass fail", "fail", "fail", 2),
        ("fail fail", "fail", "fail", 0),
        ("fail blind blind", "fail", "fail", None),
        ("pass fail blind", "fail", "blind", 1),
        ("fail blind pass", "fail", "blind", None),
        ("fail pass fail blind fail", "fail", "blind", 2),
        ("", "fail", "fail", None),
    ],
)
def test_since_when_a_verdict_holds(
    store: EmbeddedStore, stored: str, said: str, also: str, since: int | None
) -> None:
    """Silence after a rollback is no new verdict; any other silence is."""
    version = f"{stored} {also}"
    rows = [
        ["m", version, "canary", number, status, 60_000 * (1 + number)]
        for number, status in enumerate(stored.split())
    ]
    names = ["model", "version", "role", "sequence", "status", "as_of"]
    if rows:
        store.client.insert("verdicts", rows, column_names=names, database=DATABASE)
    asked = {"model": "m", "version": version, "role": "canary", "said": said, "also": also}
    found = store.client.query(SINCE.replace("{db}", DATABASE), parameters=asked).result_rows
    assert found == ([] if since is None else [(60_000 * (1 + since),)])
