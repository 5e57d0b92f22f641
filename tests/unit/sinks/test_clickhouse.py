from dataclasses import fields
from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import (
    DatabaseError,
    Error,
    OperationalError,
    ProgrammingError,
)
from pydantic import TypeAdapter, ValidationError

from sinks.clickhouse import RetentionSettings, StoreSettings, connect, sorted_error
from sinks.errors import Permanent, Retryable
from sinks.migrations import MigrationChanged, parse_migration, reader_statements
from sinks.schema import TABLES


@pytest.mark.parametrize("code", [159, 202, 209, 241, 242, 243, 252, 319, 999])
def test_errors_that_pass_with_time_are_retried(code: int) -> None:
    error = sorted_error(DatabaseError("secret row", code=code, name="N"), "the insert into t")
    assert isinstance(error, Retryable)
    assert "secret row" not in str(error)
    assert str(code) in str(error)


@pytest.mark.parametrize("code", [16, 27, 33, 53, 60, 81, 131, 164, 192, 193, 194, 497, 516])
def test_errors_of_schema_and_rights_are_final(code: int) -> None:
    assert isinstance(sorted_error(DatabaseError("x", code=code), "it"), Permanent)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OperationalError("connection refused"), Retryable),
        (DatabaseError("HTTP driver received HTTP status 502"), Retryable),
        (DatabaseError("HTTP driver received HTTP status 429"), Retryable),
        (DatabaseError("HTTP driver received HTTP status 404"), Permanent),
        (DatabaseError("HTTP driver received HTTP status 401"), Permanent),
        (ProgrammingError("unknown column"), Permanent),
    ],
)
def test_errors_without_a_code_are_sorted_by_what_is_known(error: Error, kind: type) -> None:
    assert isinstance(sorted_error(error, "it"), kind)


def test_the_password_is_in_no_representation() -> None:
    settings = StoreSettings(url="https://writer@db:8443", password="geheim")
    assert "geheim" not in repr(settings)
    assert settings.read_password() == "geheim"


def test_a_password_in_the_url_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match="must not hold a password") as refused:
        StoreSettings(url="https://writer:geheim@db:8443")
    assert "geheim" not in str(refused.value)


def test_the_password_file_comes_first(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("from-file\n")
    settings = StoreSettings(url="http://db", password="other", password_file=str(secret))
    assert settings.read_password() == "from-file"
    missing = StoreSettings(url="http://db", password_file=str(tmp_path / "missing"))
    with pytest.raises(Permanent, match="password_file"):
        missing.read_password()


@pytest.mark.parametrize("url", ["clickhouse://db", "db:8123", "", "http://"])
def test_a_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"store\.url"):
        StoreSettings(url=url)


def test_a_database_that_is_no_plain_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"store\.database"):
        StoreSettings(database="a`; DROP DATABASE b")


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(StoreSettings).validate_python({"urll": "embedded"})


def test_every_table_has_a_retention() -> None:
    assert {f.name for f in fields(RetentionSettings)} == {f"{t.name}_days" for t in TABLES}
    with pytest.raises(ValueError, match="windows"):
        RetentionSettings(windows_days=-1)


def test_nobody_answering_is_retried() -> None:
    with pytest.raises(Retryable, match="Is the server up"):
        connect(StoreSettings(url="http://127.0.0.1:1"))


def test_migrations_are_cut_at_semicolons_that_end_a_line() -> None:
    migration = parse_migration("0007_x_y.sql", "-- a; b\nSELECT ';' AS a,\n 1;\n\nSELECT 2;\n")
    assert (migration.number, migration.name) == (7, "x_y")
    assert migration.statements == ("SELECT ';' AS a,\n 1", "SELECT 2")
    with pytest.raises(ValueError, match="is not called like"):
        parse_migration("x.sql", "")


def test_a_changed_migration_is_an_error_of_its_own() -> None:
    assert issubclass(MigrationChanged, Permanent)


def test_the_reader_user_may_only_read_and_its_password_is_hashed() -> None:
    sql = "\n".join(reader_statements("geheim", database="d"))
    assert "geheim" not in sql
    assert "readonly = 1" in sql
    assert "max_execution_time = 60 CHANGEABLE_IN_READONLY" in sql
    assert "GRANT SELECT ON `d`.* TO grafana_reader" in sql
