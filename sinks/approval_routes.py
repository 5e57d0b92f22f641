"""The page behind a signed link: what is proposed, and two buttons.

The link alone shows; only the button acts, by a POST of the same signed fields from the same page.
Everything on the page that comes from outside is escaped, and its policy lets nothing load or run.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable
from html import escape
from typing import Annotated, Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from detectors.action import printable
from detectors.rollback_case import RollbackState
from sinks.api_document import CONSOLE, OPEN, PAGE, Responses, fields, takes
from sinks.approvals import PATH
from sinks.control import CaseRecord
from sinks.credentials import NoSecret
from sinks.finding_history import iso
from sinks.operations import Operations, publishing
from sinks.operator_routes import decision_command

BY: Final = "a signed link"
_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}"
    "dt{color:#555}dd{margin:0 0 .6rem;overflow-wrap:anywhere}"
    "button{font:inherit;padding:.5rem 1.2rem;margin-right:1rem}"
)
_HASH: Final = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS: Final = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self';"
        " frame-ancestors 'none'; base-uri 'none'"
    ),
    "referrer-policy": "no-referrer",
}
_SETTLED: Final = "There is nothing left to decide."
_TOLD: Final = {
    "approve": "It is carried out now, if it still fails, there is a version to return to and"
    " automation is on. What came of it stands among the incidents of the console.",
    "reject": "Nothing is rolled back.",
}

Key = Annotated[str, Query(alias="k", min_length=1, max_length=200)]
Revision = Annotated[int, Query(alias="r", ge=1, le=1_000_000)]
Expires = Annotated[int, Query(alias="e", ge=0, le=2**53)]
Signature = Annotated[str, Query(alias="s", max_length=200)]


class _Approvals:
    """The page and its form; the signature is what lets people in."""

    def __init__(self, operations: Operations, now_ms: Callable[[], int]) -> None:
        self._operations = operations
        self._now_ms = now_ms
        self._publish = publishing()

    async def show(
        self, key: Key, revision: Revision, expires_ms: Expires, signature: Signature
    ) -> HTMLResponse:
        """What is proposed, with the buttons. Changes nothing."""
        found = self._proposal(key, revision, expires_ms, signature)
        if isinstance(found, HTMLResponse):
            return found
        fields = {"k": key, "r": str(revision), "e": str(expires_ms), "s": signature}
        return _page("Roll this release back?", _facts(found) + _form(fields))

    async def act(self, request: Request) -> HTMLResponse:
        """Approve or reject."""
        given = _fields(await request.body())
        try:
            decision, revision = given["decision"], int(given["r"])
            found = self._proposal(given["k"], revision, int(given["e"]), given["s"])
        except (KeyError, ValueError):
            return _page("This is not our form", "", 400)
        if isinstance(found, HTMLResponse):
            return found
        if decision not in _TOLD:
            return _page("This is not our form", "", 400)
        approved = decision == "approve"
        command = decision_command(found, revision, approved=approved, by=BY, now_ms=self._now_ms())
        if not await self._publish(lambda: self._operations.publish.command(command)):
            return _page("Not done", "<p>Kafka does not take it now. Try again.</p>", 503)
        done = "Approved" if approved else "Rejected"
        told = _TOLD[decision]
        return _page(done, f'<p id="outcome">{told}</p>' + _facts(found))

    def _proposal(
        self, key: str, revision: int, expires_ms: int, signature: str
    ) -> CaseRecord | HTMLResponse:
        """The proposal that the link is for, or the page that says why it is none."""
        try:
            genuine = self._operations.approvals.genuine(key, revision, expires_ms, signature)
        except NoSecret:
            genuine = False
        if not genuine:
            words = "<p>It was not made here, or was changed.</p>"
            return _page("This link is not valid", words, 403)
        if self._now_ms() > expires_ms:
            return _page("This link has expired", f"<p>{_SETTLED}</p>", 410)
        case = self._operations.board.case(key)
        if case is None:
            words = "<p>Try again in a moment: it is being read.</p>"
            return _page("Not known here yet", words, 404)
        if case.revision != revision or case.state is not RollbackState.PROPOSED:
            return _page(f"It is {case.state.value}", _facts(case) + f"<p>{_SETTLED}</p>", 200)
        return case


def approval_routes(operations: Operations, now_ms: Callable[[], int]) -> APIRouter:
    """The routes, to be included in the API."""
    router = APIRouter()
    approvals = _Approvals(operations, now_ms)
    form = fields("k r e s decision", k="", r="", e="", s="", decision="approve or reject")
    for method, endpoint, extra in (
        ("GET", approvals.show, OPEN),
        ("POST", approvals.act, takes(form, "application/x-www-form-urlencoded", **OPEN)),
    ):
        router.add_api_route(
            PATH,
            endpoint,
            methods=[method],
            response_class=HTMLResponse,
            responses=PAGE | _REFUSED,
            openapi_extra=extra,
            tags=[CONSOLE],
        )
    return router


_REFUSED: Responses = {
    code: {"content": {"text/html": {}}, "description": said}
    for code, said in (
        (400, "Not our form."),
        (403, "The link is not valid."),
        (404, "Not known here yet."),
        (410, "The link has expired."),
        (503, "Kafka does not take it now."),
    )
}


def _fields(body: bytes) -> dict[str, str]:
    try:
        parsed = parse_qs(body.decode("ascii"), max_num_fields=10, strict_parsing=True)
    except (ValueError, UnicodeDecodeError):
        return {}
    return {name: values[0] for name, values in parsed.items() if len(values) == 1}


def _facts(case: CaseRecord) -> str:
    facts = {
        "Model": case.model,
        "Version to leave": f"{case.version} ({case.role.value})",
        "Version to return to": case.return_to,
        "Why": case.reason,
        "Proposed at": iso(case.proposed_ms),
        "State": f"{case.state.value}, by {case.by}",
    }
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(printable(text))}</dd>" for name, text in facts.items()
    )
    return f"<dl>{rows}</dl>"


def _form(fields: dict[str, str]) -> str:
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{escape(value)}">'
        for name, value in fields.items()
    )
    return (
        f'<form method="post" action="{PATH}">{hidden}'
        '<button name="decision" value="approve" id="approve">Approve the rollback</button>'
        '<button name="decision" value="reject" id="reject">Reject it</button></form>'
    )


def _page(title: str, body: str, status: int = 200) -> HTMLResponse:
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)} · driftline</title><style>{_STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{body}</body></html>"
    )
    return HTMLResponse(html, status, headers=dict(_HEADERS))
