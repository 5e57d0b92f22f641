"""The command line: exit codes, one line for each error, and never a traceback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx2
import pytest

from sinks.errors import Permanent, Retryable
from sinks.verdict_board import Decision
from streams.cli import main
from streams.cli_errors import said_of
from streams.errors import UnavailableError, UserError
from streams.verdict_client import ask_verdict

GOOD = '{"verdict": "%s", "status": "hold", "role": "canary", "reasons": ["a \\u001b[31m reason"]}'


def test_help_and_unknown_commands_end_as_they_should(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert main(["verdict", "--help"]) == 0
    assert main(["nonsense"]) == 2
    assert main(["verdict", "m"]) == 2
    assert main(["config", "check", "a", "b"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_good_configuration_is_ok_and_a_bad_one_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("inputs: [{topic: a}, {topic: b}]\n")
    assert main(["config", "check", str(file)]) == 0
    assert "reads a, b" in capsys.readouterr().out
    file.write_text("inputs: [{topik: a}]\nserve: {prt: 1}\n")
    assert main(["config", "check", str(file)]) == 2
    error = capsys.readouterr().err
    assert error == (
        f"driftline: {file}:1: inputs[0].topik: unknown key `topik`; did you mean `topic`?\n"
        f"{file}:2: serve.prt: unknown key `prt`; did you mean `port`?\n"
    )


@pytest.mark.parametrize("command", ["up", "summarize", "judge", "deliver", "store", "serve"])
def test_roles_refuse_a_bad_configuration_before_anything_starts(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--config", str(tmp_path / "missing.yaml")]) == 2
    assert capsys.readouterr().err.startswith(f"driftline: {tmp_path}/missing.yaml: no such file")


def test_the_effective_configuration_and_its_schema_are_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["config", "show"]) == 0
    assert "pane: 10s" in capsys.readouterr().out
    assert main(["config", "schema"]) == 0
    assert '"$schema"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (UserError("what", "where", "do this"), "where: what; do this", 2),
        (UnavailableError("what", "where"), "where: what", 1),
        (Permanent("one line.\nTwo."), "one line. Two.", 1),
        (Retryable("later"), "later", 1),
        (
            PermissionError(13, "Permission denied", "/f"),
            "/f: Permission denied; give driftline the right to it, or another path",
            1,
        ),
        (FileNotFoundError(2, "Not there", "/f"), "/f: Not there; check the path", 1),
    ],
)
def test_known_errors_are_one_line_and_a_code(error: Exception, line: str, code: int) -> None:
    assert said_of(error) == (line, code)


def test_an_unforeseen_error_keeps_its_text_to_itself() -> None:
    line, code = said_of(KeyError("hunter2"))
    assert code == 1
    assert line.startswith("internal error (KeyError ")
    assert "hunter2" not in line


def answering(status: int, body: str) -> httpx2.BaseTransport:
    return httpx2.MockTransport(lambda request: httpx2.Response(status, text=body))


@pytest.mark.parametrize("decision", list(Decision))
def test_the_client_reads_the_decision(decision: Decision) -> None:
    answer = ask_verdict("http://h", "m", "2", "", "", answering(200, GOOD % decision.value))
    assert answer.decision is decision


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "{}"),
        (200, "[]"),
        (200, "null"),
        (200, "not json"),
        (200, GOOD % "healthy"),
        (200, "x" * 2_000_000),
        (200, "[" * 100_000),
        (302, ""),
        (401, ""),
        (500, GOOD % "pass"),
        (503, ""),
    ],
)
def test_an_answer_that_is_not_understood_is_an_error_never_a_pass(status: int, body: str) -> None:
    with pytest.raises(UserError):
        ask_verdict("http://h", "m", "2", "", "", answering(status, body))


@pytest.mark.parametrize(
    "url", ["", "h", "ftp://h", "file:///etc/passwd", "http://u:hunter2@h", "http://[", "http://"]
)
def test_urls_that_cannot_be_asked_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(UserError) as caught:
        ask_verdict(url, "m", "2", "", "", answering(200, GOOD % "pass"))
    assert "hunter2" not in str(caught.value)


def test_the_token_and_the_names_are_sent_as_given() -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, text=GOOD % "pass")

    ask_verdict("http://h/", "a b&c", "2/3", "canary", "secret", httpx2.MockTransport(answer))
    (request,) = seen
    assert dict(request.url.params) == {"model": "a b&c", "version": "2/3", "role": "canary"}
    assert request.headers["authorization"] == "Bearer secret"


def with_server(body: str, use: Callable[[str], None]) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its base's name
            """Keep quiet."""

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        use(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("said", "code"), [("pass", 0), ("fail", 1), ("inconclusive", 3)])
def test_verdict_turns_the_answer_into_an_exit_code(
    said: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def use(url: str) -> None:
        assert main(["verdict", "m", "2", "--url", url, "--exit-code"]) == code
        assert main(["verdict", "m", "2", "--url", url]) == 0

    with_server(GOOD % said, use)
    out = capsys.readouterr().out
    assert out.startswith(f"{said}: hold (canary)\n")
    assert "\x1b" not in out


def test_verdict_without_an_answer_is_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert main(["verdict", "m", "2", "--url", f"http://127.0.0.1:{port}", "--exit-code"]) == 2
    error = capsys.readouterr().err
    assert "no answer" in error
    assert error.count("\n") == 1


def in_a_process_of_its_own(*argv: str, kafka: str = "embedded") -> tuple[int, list[str]]:
    """Exit code and lines of stderr. Roles set up the logs of their whole process."""
    code = "import sys; from streams.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, *argv],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "DRIFTLINE__KAFKA__BOOTSTRAP": kafka},
    )
    return done.returncode, done.stderr.splitlines()


def test_a_damaged_file_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"\x00\xff")
    code, (line,) = in_a_process_of_its_own("serve", "-c", str(tmp_path / "c.yaml"))
    assert code == 2
    assert line == f"driftline: {tmp_path}/c.yaml:1: not UTF-8 text; save it as UTF-8"


def test_serve_without_a_broker_says_what_to_do() -> None:
    code, (line,) = in_a_process_of_its_own("serve")
    assert code == 2
    assert line.startswith("driftline: kafka.bootstrap is 'embedded', which only 'driftline up'")


def test_a_role_without_anybody_at_its_address_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    code, lines = in_a_process_of_its_own("serve", kafka=f"127.0.0.1:{port}")
    assert code == 1
    assert lines[-1].startswith("driftline: ")
    assert str(port) in lines[-1]
    assert not any("Traceback" in line for line in lines)


def test_a_store_that_is_away_is_one_line_also_where_a_library_has_more_to_say(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    (tmp_path / "c.yaml").write_text(f"store: {{url: 'http://{address}'}}\n")
    config = ("--config", str(tmp_path / "c.yaml"))
    code, lines = in_a_process_of_its_own("audit", "verify", *config)
    assert (code, len(lines)) == (1, 1), lines
    assert lines[0].startswith("driftline: No answer from ClickHouse")
    assert address in lines[0]


def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing"
    assert main(["audit", "verify", "--save-heads", str(missing / "heads.json")]) == 2
    said = capsys.readouterr().err
    assert said == (
        f"driftline: {missing}/heads.json: its folder is not there; give another --save-heads\n"
    )
    (tmp_path / "events.ndjson").write_text("{}\n")
    events = ("--events", str(tmp_path / "events.ndjson"))
    assert main(["backtest", *events, "--plot", str(missing / "run.svg")]) == 2
    said = capsys.readouterr().err
    assert said == f"driftline: {missing}/run.svg: its folder is not there; give another --plot\n"


def test_ends_that_are_missing_are_told_from_a_file_that_holds_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "heads.json"
    assert main(["audit", "verify", "--heads", str(path)]) == 2
    assert "cannot be read: No such file or directory; check --heads" in capsys.readouterr().err
    path.write_text("{}")
    assert main(["audit", "verify", "--heads", str(path)]) == 2
    assert "is not a file of ends" in capsys.readouterr().err
