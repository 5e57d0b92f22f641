"""ClickHouse's HTTP protocol, as curl, Grafana's plugin and clickhouse-connect speak it."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

import clickhouse_connect
import lz4.frame  # type: ignore[import-untyped]
import pytest

from sinks.embedded_store import EmbeddedStore, QueryFailed
from sinks.http_face import HttpFace, HttpFaceSettings, PortTaken
from sinks.statement import Statement

SETTINGS = HttpFaceSettings(
    reader_password="leser",
    max_body_bytes=200_000,
    max_result_bytes=5_000_000,
    max_connections=20,
    query_timeout_ms=1_500,
    body_timeout_ms=1_000,
)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return self.headers.get("x-clickhouse-exception-code", "")


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpFace]:
    with EmbeddedStore(tmp_path_factory.mktemp("store")) as store:
        store.client.command("CREATE DATABASE d")
        store.client.command("CREATE TABLE d.t (a Int64, s String) ENGINE = MergeTree ORDER BY a")
        store.client.command("INSERT INTO d.t VALUES (1, 'x'), (2, 'y')")
        face = HttpFace(store, 0, SETTINGS)
        face.start()
        try:
            yield face
        finally:
            face.stop()


def ask(
    face: HttpFace,
    body: bytes | str = b"",
    *,
    method: str = "POST",
    path: str = "/",
    headers: dict[str, str] | None = None,
    **params: str,
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", face.port, timeout=10)
    try:
        target = f"{path}?{urlencode(params)}" if params else path
        raw = body.encode() if isinstance(body, str) else body
        connection.request(method, target, raw or None, headers or {})
        answer = connection.getresponse()
        named = {k.lower(): v for k, v in answer.getheaders()}
        return Answer(answer.status, named, answer.read())
    finally:
        connection.close()


def reader(face: HttpFace, sql: str, **params: str) -> Answer:
    token = base64.b64encode(b"grafana_reader:leser").decode()
    return ask(face, sql, headers={"Authorization": f"Basic {token}"}, **params)


def test_ping_and_the_bare_address_say_ok(face: HttpFace) -> None:
    for path in ("/", "/ping"):
        assert ask(face, method="GET", path=path).body == b"Ok.\n"
    assert ask(face, method="HEAD", path="/ping").body == b""
    assert ask(face, method="GET", path="/play").status == 404


def test_a_query_may_be_in_the_url_in_the_body_or_in_both(face: HttpFace) -> None:
    assert ask(face, method="GET", query="SELECT 1").body == b"1\n"
    assert ask(face, "SELECT 1").body == b"1\n"
    assert ask(face, "1 + 1", query="SELECT").body == b"2\n"


def test_the_format_is_chosen_as_clickhouse_does(face: HttpFace) -> None:
    assert json.loads(ask(face, "SELECT 1 AS a FORMAT JSONEachRow").body) == {"a": 1}
    assert ask(face, "SELECT 1, 'x'", default_format="CSV").body == b'1,"x"\n'
    by_header = ask(face, "SELECT 1 AS a", headers={"X-ClickHouse-Format": "JSONEachRow"})
    assert by_header.body == b'{"a":1}\n'
    assert by_header.headers["x-clickhouse-format"] == "JSONEachRow"
    for wrong in ("Nope", "DataFrame", "ArrowTable"):
        assert ask(face, "SELECT 1", default_format=wrong).code == "73"


def test_the_database_parameters_and_settings_are_taken_from_the_url(face: HttpFace) -> None:
    assert ask(face, "SELECT count() FROM t", database="d").body == b"2\n"
    by_header = ask(face, "SELECT count() FROM t", headers={"X-ClickHouse-Database": "d"})
    assert by_header.body == b"2\n"
    assert ask(face, "SELECT {a:UInt8} + 1", param_a="4").body == b"5\n"
    assert ask(face, "SELECT getSetting('max_threads')", max_threads="3").body == b"3\n"
    assert ask(face, "SELECT 1", not_a_setting="3", client_protocol_version="54405").status == 200
    assert ask(face, "SELECT 1", database="nope").code == "81"
    assert ask(face, "SELECT 1", database="a`; DROP").status == 400


def test_a_setting_of_one_request_is_gone_in_the_next(face: HttpFace) -> None:
    ask(face, "SELECT 1", max_threads="7", database="d")
    assert ask(face, "SELECT getSetting('max_threads'), currentDatabase()").body != b"7\td\n"


def test_bodies_come_and_go_compressed(face: HttpFace) -> None:
    packed = {"gzip": gzip.compress(b"SELECT 1"), "lz4": lz4.frame.compress(b"SELECT 1")}
    for encoding, body in packed.items():
        assert ask(face, body, headers={"Content-Encoding": encoding}).body == b"1\n"
    large = ask(face, "SELECT * FROM numbers(1000)", headers={"Accept-Encoding": "gzip, lz4"})
    assert large.headers["content-encoding"] == "gzip"
    assert gzip.decompress(large.body).count(b"\n") == 1000
    assert "content-encoding" not in ask(face, "SELECT * FROM numbers(1000)").headers
    assert ask(face, b"x", headers={"Content-Encoding": "br"}).status == 415
    assert ask(face, "SELECT 1", compress="1").status == 400


def test_a_chunked_body_is_read(face: HttpFace) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", face.port, timeout=10)
    connection.request("POST", "/", iter([b"SELECT ", b"42"]), encode_chunked=True)
    assert connection.getresponse().read() == b"42\n"
    connection.close()


def test_errors_carry_clickhouses_code_and_text(face: HttpFace) -> None:
    missing = ask(face, "SELECT * FROM d.nope")
    assert (missing.status, missing.code) == (404, "60")
    assert missing.body.startswith(b"Code: 60. DB::Exception:")
    assert b"UNKNOWN_TABLE" in missing.body
    assert ask(face, "SELECT").code == "62"
    assert ask(face, "SELECT 1; SELECT 2").code == "62"


def test_the_handshake_of_grafanas_plugin_is_answered(face: HttpFace) -> None:
    token = base64.b64encode(b"grafana_reader:leser").decode()
    headers = {"Authorization": f"Basic {token}", "Accept-Encoding": "gzip"}
    hello = ask(
        face,
        "SELECT displayName(), version(), revision(), timezone()",
        headers=headers,
        default_format="Native",
        database="default",
        max_execution_time="60",
        client_protocol_version="54460",
    )
    assert hello.status == 200
    # A Native block starts with the numbers of its columns and rows.
    assert hello.body[:2] == b"\x04\x01"
    assert b"displayName()" in hello.body
    ping = ask(face, "SELECT 1", headers=headers, default_format="Native")
    assert (ping.status, ping.body[:2]) == (200, b"\x01\x01")


def test_clickhouse_connect_reads_writes_and_commands(face: HttpFace) -> None:
    client = clickhouse_connect.get_client(host="127.0.0.1", port=face.port, database="d")
    client.command("CREATE TABLE IF NOT EXISTS w (a Int64, s String) ENGINE = MergeTree ORDER BY a")
    rows = [[1, "a\n\nSELECT 1; --"], [2, "'"]]
    assert client.insert("w", rows, column_names=["a", "s"]).written_rows == 2
    assert client.query("SELECT * FROM w ORDER BY a").result_rows == [tuple(r) for r in rows]
    assert client.query("SELECT * FROM w WHERE a = {a:Int64}", parameters={"a": 2}).row_count == 1
    assert client.query("SELECT a, s FROM w LIMIT 0").column_names == ("a", "s")
    assert client.command("SELECT count() FROM w") == 2
    assert client.ping()
    client.command("DROP TABLE w")
    client.close()


def test_the_reader_reads_and_nothing_else(face: HttpFace) -> None:
    assert reader(face, "SELECT sum(a) FROM d.t").body == b"3\n"
    assert reader(face, "SHOW TABLES FROM d").status == 200
    for sql in (
        "INSERT INTO d.t VALUES (9, 'z')",
        "WITH x AS (SELECT 1) INSERT INTO d.t SELECT 1, 'z'",
        "SET max_threads = 1",
        "DROP TABLE d.t",
        "CREATE TABLE d.u (a Int8) ENGINE = Memory",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1 INTO OUTFILE '/tmp/never'",
        "SELECT file('/etc/passwd')",
        "KILL QUERY WHERE 1",
        "SYSTEM FLUSH LOGS",
    ):
        assert reader(face, sql).status == 403 or reader(face, sql).code == "164", sql
    assert reader(face, "SELECT count() FROM d.t").body == b"2\n"


def test_the_engine_itself_refuses_a_readers_write_that_passed_the_statement_check(
    face: HttpFace,
) -> None:
    # The statement check and the engine's read-only mode are two guards; only the second is asked.
    writes = Statement(b"INSERT INTO d.t SELECT 9, 'z'", "select", "", None)
    with pytest.raises(QueryFailed) as refused:
        face._store.run(writes, read_only=True)
    assert refused.value.code == 164
    assert reader(face, "SELECT 1 SETTINGS max_threads = 17").code == "164"


def test_a_readers_settings_are_only_about_the_looks(face: HttpFace) -> None:
    looks = reader(face, "SELECT 0.1 + 0.2, getSetting('max_memory_usage')", max_memory_usage="7")
    assert looks.status == 200
    assert not looks.body.endswith(b"\t7\n")
    quoted = reader(
        face, "SELECT 1 FORMAT CSV", readonly="0", output_format_csv_crlf_end_of_line="1"
    )
    assert quoted.body == b"1\r\n"


def test_a_get_only_reads(face: HttpFace) -> None:
    refused = ask(face, method="GET", query="INSERT INTO d.t VALUES (9, 'z')")
    assert (refused.status, refused.code) == (403, "164")


@pytest.mark.parametrize(
    ("headers", "params"),
    [
        ({"Authorization": "Basic " + base64.b64encode(b"grafana_reader:no").decode()}, {}),
        ({"Authorization": "Basic !"}, {}),
        ({"Authorization": "Bearer x"}, {}),
        ({"X-ClickHouse-User": "grafana_reader", "X-ClickHouse-Key": "no"}, {}),
        ({}, {"user": "grafana_reader"}),
        ({}, {"user": "root"}),
        ({"X-ClickHouse-Key": "no"}, {"user": "grafana_reader", "password": "leser"}),
    ],
)
def test_a_wrong_user_or_password_is_refused(
    face: HttpFace, headers: dict[str, str], params: dict[str, str]
) -> None:
    refused = ask(face, "SELECT 1", headers=headers, **params)
    assert (refused.status, refused.code) == (403, "516")


def test_user_and_password_may_come_in_three_ways(face: HttpFace) -> None:
    assert reader(face, "SELECT 1").status == 200
    keys = {"X-ClickHouse-User": "grafana_reader", "X-ClickHouse-Key": "leser"}
    assert ask(face, "SELECT 1", headers=keys).status == 200
    assert ask(face, "SELECT 1", user="grafana_reader", password="leser").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:8123"},
        {"Host": "10.0.0.1"},
        {"Host": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_web_pages_of_other_sites_are_kept_away(face: HttpFace, headers: dict[str, str]) -> None:
    assert ask(face, "SELECT 1", headers=headers).status in (400, 403)


@pytest.mark.parametrize("host", ["localhost:3000", "127.0.0.1", "[::1]:8123"])
def test_names_of_this_machine_are_welcome(face: HttpFace, host: str) -> None:
    assert ask(face, "SELECT 1", headers={"Host": host}).body == b"1\n"


def test_bodies_results_and_times_are_bounded(face: HttpFace) -> None:
    assert ask(face, b"SELECT 1 --" + b"x" * 300_000).status == 413
    bomb = gzip.compress(b"SELECT 1 --" + b"x" * 10_000_000)
    assert len(bomb) < SETTINGS.max_body_bytes
    assert ask(face, bomb, headers={"Content-Encoding": "gzip"}).status == 413
    assert ask(face, "SELECT * FROM numbers(10000000)", max_result_bytes="0").status == 413
    started = time.monotonic()
    slow = ask(face, "SELECT sleepEachRow(1) FROM numbers(60)", max_execution_time="0")
    assert slow.code in ("159", "160")  # it took too long, or it is clear that it will
    assert time.monotonic() - started < 10


def test_a_body_that_does_not_arrive_is_given_up(face: HttpFace) -> None:
    with socket.create_connection(("127.0.0.1", face.port), timeout=10) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nSEL")
        assert client.recv(100).startswith(b"HTTP/1.1 408")


def test_many_may_ask_at_once(face: HttpFace) -> None:
    answers: list[bytes] = []

    def work(number: int) -> None:
        answers.append(ask(face, "SELECT {n:Int64} + count() FROM d.t", param_n=str(number)).body)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(answers) == sorted(f"{n + 2}\n".encode() for n in range(16))


def test_connections_beyond_the_bound_are_turned_away(face: HttpFace) -> None:
    idle = [
        socket.create_connection(("127.0.0.1", face.port), timeout=10)
        for _ in range(SETTINGS.max_connections)
    ]
    try:
        time.sleep(0.2)
        assert ask(face, "SELECT 1").status == 503
    finally:
        for client in idle:
            client.close()
    time.sleep(0.2)
    assert ask(face, "SELECT 1").body == b"1\n"


def test_a_port_in_use_is_one_clear_line(face: HttpFace) -> None:
    with pytest.raises(PortTaken, match=f"127.0.0.1:{face.port}.*store.http_port"):
        HttpFace(face._store, face.port)
