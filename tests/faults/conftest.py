"""For the fault tests: a store that can be made to fail (cells are counted in `cell_count`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import clickhouse_connect
import pytest

from sinks.embedded_store import EmbeddedStore
from sinks.http_face import HttpFace
from sinks.migrations import migrate
from sinks.schema import FINDINGS, VERDICTS
from tests.faults.store_fault_switch import Switch, switched
from tests.faults.store_scene import TOPICS, Scene, made

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpFace]:
    with EmbeddedStore(tmp_path_factory.mktemp("store")) as store:
        face = HttpFace(store, 0)
        face.start()
        try:
            yield face
        finally:
            face.stop()


@pytest.fixture
def switch(engine: HttpFace) -> Iterator[Switch]:
    with switched(engine.port) as found:
        yield found


@pytest.fixture
def direct(engine: HttpFace) -> Iterator[Client]:
    """Past the switch."""
    client = clickhouse_connect.get_client(host="127.0.0.1", port=engine.port)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def fresh_scene(switch: Switch, direct: Client, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A scene whose tables may be changed."""
    database = f"d{abs(hash(request.node.nodeid))}"
    migrate(direct, database=database)
    yield made(database, direct, switch)
    direct.command(f"DROP DATABASE {database}")


@pytest.fixture
def scene(switch: Switch, direct: Client) -> Scene:
    """A scene whose tables are empty."""
    migrate(direct, database="shared")
    for table in (*TOPICS.values(), FINDINGS, VERDICTS):
        direct.command(f"TRUNCATE TABLE shared.{table.name}")
    return made("shared", direct, switch)
