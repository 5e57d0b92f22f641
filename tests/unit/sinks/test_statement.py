import pytest

from sinks.statement import ACCESS_DENIED, READONLY, SYNTAX_ERROR, Refused, outward, read_statement


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "(SELECT 1) UNION ALL (SELECT 2);",
        "WITH x AS (SELECT 1) SELECT * FROM x -- a comment; with a sign",
        "SELECT 'it''s; -- not a comment' /* a ' comment */, \"a;b\", `c`",
        "SELECT placeholder",
        "SHOW TABLES FROM driftline",
        "SELECT engine FROM system.tables WHERE engine = 'File'",
        "SELECT 'file', 'file(1)', format('{}', 'x')",
        "SELECT cluster FROM system.clusters",
        "EXPLAIN SELECT 1",
    ],
)
def test_a_reader_may_read(sql: str) -> None:
    assert read_statement(sql.encode(), read_only=True).sql == sql.encode()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT file('/etc/passwd')",
        "SELECT FiLe ('/etc/passwd')",
        "SELECT file/**/('/etc/passwd')",
        "SELECT `file`('/etc/passwd')",
        "SELECT \"file\"('/etc/passwd')",
        "SELECT arrayMap(file, ['/etc/passwd'])",
        "SELECT * FROM url('http://10.0.0.1/', 'CSV')",
        "SELECT * FROM remote('10.0.0.1', system.one)",
        "SELECT * FROM executable('id', 'TSV', 'a String')",
        "SELECT * FROM python('secrets')",
        "SELECT * FROM eval('SELECT 1')",
        "SELECT * FROM s3('http://10.0.0.1/x')",
        "SELECT 1 INTO OUTFILE '/tmp/x'",
        "WITH x AS (SELECT * FROM url('http://10.0.0.1/')) SELECT * FROM x",
        "SELECT 1 SETTINGS dialect = 'kusto'",
    ],
)
@pytest.mark.parametrize("read_only", [True, False])
def test_nobody_reaches_out_of_the_store(sql: str, read_only: bool) -> None:
    with pytest.raises(Refused) as refused:
        read_statement(sql.encode(), read_only=read_only)
    assert refused.value.code == ACCESS_DENIED


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (1)",
        "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
        "DROP TABLE t",
        "CREATE TABLE t (a Int8) ENGINE = Memory",
        "SET readonly = 0",
        "ALTER TABLE t DELETE WHERE 1",
    ],
)
def test_a_reader_may_not_write(sql: str) -> None:
    with pytest.raises(Refused) as refused:
        read_statement(sql.encode(), read_only=True)
    assert refused.value.code == READONLY


@pytest.mark.parametrize(
    "sql",
    ["KILL QUERY WHERE 1", "SYSTEM SHUTDOWN", "BACKUP DATABASE d TO File('x')", "ATTACH TABLE t"],
)
def test_what_is_not_known_is_refused(sql: str) -> None:
    with pytest.raises(Refused):
        read_statement(sql.encode(), read_only=False)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; SELECT 2",
        "INSERT INTO t SELECT 1; DROP TABLE t",
        "DROP TABLE a PARALLEL WITH DROP TABLE b",
    ],
)
def test_one_request_is_one_statement(sql: str) -> None:
    with pytest.raises(Refused) as refused:
        read_statement(sql.encode(), read_only=False)
    assert refused.value.code == SYNTAX_ERROR


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 // '\n, file('/etc/passwd') -- '",
        "SELECT 1 # '\n, file('/etc/passwd') -- '",
        "SELECT /* /* ' */ ' */ file('/etc/passwd') -- '",
        "SELECT $a$ ' $a$, file('/etc/passwd'), ' '",
        "SELECT ‘'‘, file('/etc/passwd'), '‘",
        "SELECT `\\x66ile`('/etc/passwd')",
        "SELECT 'open",
        "SELECT x'\\', file('/etc/passwd') --'",
        "SELECT 1\x00",
        "",
        "-- only a comment",
    ],
)
def test_a_text_that_two_lexers_could_cut_differently_is_refused(sql: str) -> None:
    with pytest.raises(Refused):
        read_statement(sql.encode(), read_only=False)


def test_a_parameter_cannot_name_a_function_that_reaches_out() -> None:
    sql = b"SELECT arrayMap({f:Identifier}, ['/etc/passwd'])"
    assert read_statement(sql, read_only=True, parameters=("length",)).keyword == "select"
    with pytest.raises(Refused):
        read_statement(sql, read_only=True, parameters=("file",))


def test_functions_the_engine_knows_are_refused_as_well() -> None:
    names = outward(frozenset({"futureLake", "numbers"}), frozenset({"aiGenerate", "length"}))
    allowed = read_statement(b"SELECT * FROM numbers(3)", read_only=True, outward_names=names)
    assert allowed.reads
    for call in (b"SELECT * FROM futureLake('x')", b"SELECT aiGenerate('x')"):
        with pytest.raises(Refused):
            read_statement(call, read_only=True, outward_names=names)


@pytest.mark.parametrize("engine", ["File(CSV)", "= URL('http://x')", "= Kafka", "= MySQL()"])
def test_tables_keep_their_rows_in_the_store(engine: str) -> None:
    with pytest.raises(Refused):
        read_statement(f"CREATE TABLE t (a Int8) ENGINE {engine}".encode(), read_only=False)


def test_plain_tables_may_be_created() -> None:
    for engine in ("= ReplacingMergeTree(v) ORDER BY a", "Memory"):
        sql = f"CREATE TABLE IF NOT EXISTS t (a Int8) ENGINE {engine}"
        assert read_statement(sql.encode(), read_only=False).keyword == "create"


def test_insert_data_is_cut_off_whatever_it_holds() -> None:
    cut = read_statement(b"INSERT INTO t (a) FORMAT CSV\n1\n\nSELECT 2; DROP", read_only=False)
    assert (cut.sql, cut.format, cut.data) == (
        b"INSERT INTO t (a) ",
        "CSV",
        b"1\n\nSELECT 2; DROP",
    )
    binary = read_statement(b"INSERT INTO t FORMAT Native\n\x00'\xff", read_only=False)
    assert binary.data == b"\x00'\xff"


def test_values_are_read_for_calls_because_they_are_expressions() -> None:
    assert read_statement(b"INSERT INTO t VALUES (1, 'x')", read_only=False).data == b" (1, 'x')"
    with pytest.raises(Refused):
        read_statement(b"INSERT INTO t VALUES (file('/etc/passwd'))", read_only=False)
    with pytest.raises(Refused):
        read_statement(b"INSERT INTO t FORMAT Values (file('/etc/passwd'))", read_only=False)


def test_an_alias_called_format_hides_nothing() -> None:
    with pytest.raises(Refused):
        read_statement(b"INSERT INTO t SELECT a AS format FROM file('x')", read_only=False)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1 FORMAT JSON", "JSON"),
        ("SELECT 1 format JSON;", "JSON"),
        ("SELECT 1 FORMAT JSON SETTINGS max_threads = 1", "JSON"),
        ("SELECT 'FORMAT JSON'", ""),
        ("SELECT 1 AS format", ""),
    ],
)
def test_the_output_format_is_found(sql: str, expected: str) -> None:
    assert read_statement(sql.encode(), read_only=True).format == expected
