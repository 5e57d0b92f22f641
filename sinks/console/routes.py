"""The console's addresses: four pages, their style and script, and signing in.

Every page is whole without its script: that only asks again for the same address every few seconds
and puts the sections that changed in place. Nothing is loaded from anywhere else, and the
Content-Security-Policy would not let it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import anyio
import structlog
from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from sinks.api_document import CONSOLE, OPEN, PAGE, Responses, fields, takes
from sinks.console import pages, session
from sinks.console.store_view import StoreView
from sinks.console.wanted import Unreadable, Wanted, read_wanted
from sinks.control import CaseRecord
from sinks.http_guard import PAGES, bearer, token_ok
from sinks.verdict_board import Answer, Standing

log = structlog.get_logger()

PAGE_TIMEOUT_S: Final = 12.0
PAGES_AT_ONCE: Final = 4
"""Pages made at a time: a store that hangs must not take all threads from the API."""

HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self';"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_ASKED: Final = {
    "model": "The model; all, or the first, if absent.",
    "version": "One version of it.",
    "role": "production, canary, shadow or variant.",
    "segment": "A slice of the traffic, as country=DE.",
    "column": "A column, as features.amount.",
    "window": "Length of the windows in milliseconds.",
    "span": "How far back.",
    "q": "Only names that contain this.",
    "page": "Which page of a long list.",
}
_FOLDER: Final = Path(__file__).parent / "static"
_KINDS: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of ours. ``tag`` is the hash of its content and part of its address."""

    data: bytes
    kind: str
    tag: str


@dataclass(frozen=True, slots=True)
class ConsoleParts:
    """What the console is made of. ``standings`` gives what the board holds now; ``waiting_for``
    says why it does not hold everything yet, "" if it does; ``now_ms`` reads the wall clock.
    ``cases``: every rollback that was thought of and where it stands, the one that changed last
    first. ``tokens``: with none, everybody may look."""

    standings: Callable[[], tuple[tuple[Standing, Answer], ...]]
    waiting_for: Callable[[], str]
    store: StoreView
    now_ms: Callable[[], int]
    tokens: tuple[str, ...] = field(default=(), repr=False)
    cases: Callable[[], Sequence[CaseRecord]] = tuple


def console(parts: ConsoleParts) -> APIRouter:
    """The routes under ``/console``, and ``/``, which leads there."""
    router = APIRouter(tags=[CONSOLE], default_response_class=HTMLResponse)
    assets = _assets()
    renderer = pages.Renderer({name: asset.tag for name, asset in assets.items()})
    limiter = anyio.CapacityLimiter(PAGES_AT_ONCE)

    def may_look(request: Request) -> bool:
        if not parts.tokens or token_ok(bearer(request.scope), parts.tokens):
            return True
        cookie = request.cookies.get(session.COOKIE, "")
        return session.valid(cookie, parts.tokens, parts.now_ms() // 1000)

    async def page(request: Request, name: str) -> Response:
        if not may_look(request):
            return RedirectResponse(f"{PAGES}/sign-in", 303, HEADERS)
        try:
            wanted = read_wanted(request.query_params)
        except Unreadable as problem:
            return _html(renderer.refusal("This address cannot be read", str(problem)), 400)
        if limiter.available_tokens < 1:
            return _busy(renderer, "Too many pages are being made at once.")
        make = partial(_make, parts, renderer, name, wanted)
        try:
            with anyio.fail_after(PAGE_TIMEOUT_S):
                return _html(
                    await to_thread.run_sync(make, limiter=limiter, abandon_on_cancel=True)
                )
        except TimeoutError:
            log.warning("console_page_timed_out", page=name)
            return _busy(renderer, "The store did not answer in time.")

    _page_routes(router, page)
    _session_routes(router, parts, renderer)

    kinds: Responses = {
        200: {"content": {kind: {} for kind in _KINDS.values()}, "description": "A file of ours."},
        404: {"content": {"application/json": {}}, "description": "No such file."},
    }

    @router.get(f"{PAGES}/static/{{name}}", response_class=Response, responses=kinds)
    async def static(name: str) -> Response:
        """Style, script and icon of the pages."""
        asset = assets.get(name)
        if asset is None:
            raise HTTPException(404)
        # The address changes with the content, so what was fetched once may be kept.
        headers = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(asset.data, media_type=asset.kind, headers=HEADERS | headers)

    return router


def _page_routes(router: APIRouter, page: Callable[[Request, str], Any]) -> None:
    answers = PAGE | _html_answers(
        {303: "To sign in.", 400: "Not an address of ours.", 503: "Busy."}
    )
    asked = {
        "parameters": [
            {"name": name, "in": "query", "description": said, "schema": {"type": "string"}}
            for name, said in _ASKED.items()
        ]
    }
    to_fleet: Responses = {307: {"description": "To the fleet."}}

    @router.get("/", status_code=307, responses=to_fleet, openapi_extra=OPEN)
    @router.get(PAGES, status_code=307, responses=to_fleet, openapi_extra=OPEN)
    async def front() -> Response:
        """Leads to the fleet."""
        return RedirectResponse(f"{PAGES}/", 307, HEADERS)

    @router.get(f"{PAGES}/", responses=answers, openapi_extra=asked)
    async def fleet(request: Request) -> Response:
        """Every release, the worst first."""
        return await page(request, "fleet")  # type: ignore[no-any-return]

    @router.get(f"{PAGES}/release", responses=answers, openapi_extra=asked)
    async def release(request: Request) -> Response:
        """The releases of a model side by side."""
        return await page(request, "release")  # type: ignore[no-any-return]

    @router.get(f"{PAGES}/drift", responses=answers, openapi_extra=asked)
    async def drift(request: Request) -> Response:
        """The columns of a model beside its reference."""
        return await page(request, "drift")  # type: ignore[no-any-return]

    @router.get(f"{PAGES}/incidents", responses=answers, openapi_extra=asked)
    async def incidents(request: Request) -> Response:
        """What is open, and what was done."""
        return await page(request, "incidents")  # type: ignore[no-any-return]


def _session_routes(router: APIRouter, parts: ConsoleParts, renderer: pages.Renderer) -> None:
    entered = _html_answers({303: "To the fleet."})

    @router.get(f"{PAGES}/sign-in", responses=PAGE | entered, openapi_extra=OPEN)
    async def sign_in_page() -> Response:
        """Asks for a token."""
        if not parts.tokens:
            return RedirectResponse(f"{PAGES}/", 303, HEADERS)
        return _html(renderer.sign_in(""))

    @router.post(
        f"{PAGES}/sign-in",
        status_code=303,
        responses=entered | _html_answers({401: "This token is not valid."}),
        openapi_extra=takes(fields("token", token=""), "application/x-www-form-urlencoded", **OPEN),
    )
    async def sign_in(request: Request) -> Response:
        """Begins a session of twelve hours."""
        given = _token_in(await request.body())
        if not parts.tokens or not token_ok(given, parts.tokens):
            return _html(renderer.sign_in("This token is not valid."), 401)
        done = RedirectResponse(f"{PAGES}/", 303, HEADERS)
        done.set_cookie(
            session.COOKIE,
            session.issue(given, parts.now_ms() // 1000),
            max_age=session.LASTS_S,
            path=PAGES,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return done

    @router.post(
        f"{PAGES}/sign-out",
        status_code=303,
        responses=_html_answers({303: "To sign in."}),
        openapi_extra=OPEN,
    )
    async def sign_out() -> Response:
        """Ends the session."""
        done = RedirectResponse(f"{PAGES}/sign-in", 303, HEADERS)
        done.delete_cookie(session.COOKIE, path=PAGES, httponly=True, samesite="strict")
        return done


def _html_answers(said: Mapping[int, str]) -> Responses:
    return {
        code: {"content": {"text/html": {}}, "description": about} for code, about in said.items()
    }


def _token_in(body: bytes) -> str:
    """The token of the sign-in form, "" if it is not that form."""
    try:
        form = parse_qs(body.decode("ascii"), max_num_fields=4)
    except ValueError:
        return ""
    return form.get("token", [""])[0].strip()


def _make(parts: ConsoleParts, renderer: pages.Renderer, name: str, wanted: Wanted) -> str:
    seen = pages.Seen(
        parts.standings(),
        parts.waiting_for(),
        parts.store,
        parts.now_ms(),
        bool(parts.tokens),
        parts.cases(),
    )
    return renderer.page(name, wanted, seen)


def _html(text: str, status: int = 200, more: Mapping[str, str] | None = None) -> Response:
    # A lone surrogate in a name has no UTF-8, and must not take the page with it.
    return HTMLResponse(text.encode("utf-8", "replace"), status, {**HEADERS, **(more or {})})


def _busy(renderer: pages.Renderer, why: str) -> Response:
    words = f"{why} Verdicts do not need the store: ask the API, or try again."
    return _html(renderer.refusal("No page just now", words), 503, {"retry-after": "5"})


def _assets() -> dict[str, Asset]:
    return {
        path.name: Asset(
            data := path.read_bytes(),
            _KINDS[path.suffix],
            blake2b(data, digest_size=8).hexdigest(),
        )
        for path in sorted(_FOLDER.iterdir())
        if path.suffix in _KINDS
    }
