"""docs/reference/openapi.json, and http.md, which lists its operations for people."""

from __future__ import annotations

import json
from typing import Any, Final

from starlette.testclient import TestClient

from sinks.api import ApiParts, Readiness, create_app
from sinks.api_document import EVERYWHERE
from sinks.approvals import ApprovalLinks, ApprovalSettings
from sinks.commands import Command
from sinks.console.routes import ConsoleParts, console
from sinks.console.store_view import StoreView
from sinks.control import ControlBoard, ControlRecord
from sinks.errors import Retryable
from sinks.operations import Operations
from sinks.verdict_board import VerdictBoard

INTRODUCTION: Final = """# HTTP

What `driftline serve` answers, by default at `http://127.0.0.1:8780`. A running one has the whole
document, OpenAPI 3.1 with every field, at `/openapi.json`; it is also in
[openapi.json](openapi.json). Below, `?` marks what may be left out, and every endpoint may also
answer {everywhere}. The other roles answer Prometheus at `/metrics` of a port of
their own (`metrics.port`).

"""


class _Nowhere:
    """Takes nothing: the document is made without a broker."""

    def command(self, _: Command) -> None:
        raise Retryable("there is no broker")

    def control(self, _: ControlRecord) -> None:
        raise Retryable("there is no broker")


def document() -> Any:
    """The OpenAPI document of an API with all its routes."""
    board = VerdictBoard()
    store = StoreView(lambda *_: [], lambda: 0.0, "driftline")
    parts = ApiParts(
        board=board,
        now_ms=lambda: 0,
        max_age_ms=0,
        ready=lambda: Readiness(False, ""),
        findings=lambda _: [],
        pages=console(ConsoleParts(tuple, lambda: "", store, lambda: 0)),
        operations=Operations(
            ControlBoard(0), lambda: False, _Nowhere(), ApprovalLinks(ApprovalSettings())
        ),
    )
    return TestClient(create_app(parts)).get("/openapi.json").json()


def openapi_file() -> str:
    """The document as a file."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def http_page() -> str:
    """The page."""
    said = document()
    *codes, last = sorted(map(str, EVERYWHERE))
    everywhere = f"{', '.join(codes)} or {last}"
    lines = [INTRODUCTION.format(everywhere=everywhere) + said["info"]["description"], ""]
    for tag in said["tags"]:
        lines += [f"## {tag['name'].capitalize()}", "", tag["description"], ""]
        lines += ["| | | answers |", "|---|---|---|"]
        for path, item in said["paths"].items():
            for method, operation in item.items():
                if tag["name"] in operation["tags"]:
                    lines.append(_row(method, path, operation))
        lines.append("")
    return "\n".join(lines)


def _row(method: str, path: str, operation: Any) -> str:
    asked = [each for each in operation.get("parameters", []) if each["in"] == "query"]
    shown = ", ".join(f"`{e['name']}`" + ("" if e.get("required") else "?") for e in asked)
    about = " ".join(operation["description"].split()) + (f" Query: {shown}." if shown else "")
    own = {
        code
        for code, answer in operation["responses"].items()
        if answer["description"] != EVERYWHERE.get(int(code), {}).get("description")
    }
    answers = ", ".join(sorted(own))
    return f"| `{method.upper()} {path}` | {about} | {answers} |"
