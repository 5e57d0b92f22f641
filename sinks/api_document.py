"""What the API says of itself: an OpenAPI 3.1 document at ``/openapi.json``.

Most of it follows from the signatures of the endpoints. Here stands what does not: who may ask, how
a refusal looks, and the bodies of endpoints that read them by themselves. A contract test holds the
document to the routes and to what they really answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import FastAPI

_ABOUT: Final = """
Verdicts on releases of models, and what people and other systems may order.

Who may ask: with `serve.token_file` a bearer token is needed, whose scopes say what it may do
(`read`, `operate`, `hook`). Without it everybody who reaches the port may read, and nobody may
order anything. A client that asks too often is answered 429 with `retry-after`.
"""

VERDICTS: Final = "verdicts"
HOOKS: Final = "hooks"
ORDERS: Final = "orders"
PROBES: Final = "probes"
CONSOLE: Final = "console"

_TAGS: Final = {
    VERDICTS: "What is to be thought of a release. Deployers ask here.",
    ORDERS: "The switch of automation, silences and rollbacks. Changes need the scope operate.",
    HOOKS: "What other systems report. Each proves who sends, by a signature or a token.",
    PROBES: "For orchestrators and Prometheus.",
    CONSOLE: "Pages for people; signed links to approve a rollback.",
}


@dataclass(frozen=True, slots=True)
class InvalidPart:
    """One thing that is wrong with a request: the parameter or field, and why."""

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was not answered. It never quotes what was asked."""

    error: str
    hint: str = ""
    problems: list[InvalidPart] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Taken:
    """``taken``: how many records of it Kafka has now."""

    taken: int


Responses = dict[int | str, dict[str, Any]]


def refusals(**reasons: str) -> Responses:
    """Answers other than success, as ``s503="Kafka does not take it."``."""
    return {
        int(code.removeprefix("s")): {"model": Refusal, "description": reason}
        for code, reason in reasons.items()
    }


EVERYWHERE: Final = refusals(
    s400="The body cannot be read.",
    s401="A bearer token is needed, and one that is known.",
    s403="The token is known, and its scopes do not reach so far.",
    s408="The request took longer than 20 s.",
    s422="A parameter or the body is not what is asked for.",
    s429="Too many requests of one client; `retry-after` says for how long to wait.",
    s431="The head of the request is too large.",
    s500="An error in the server; its log has more.",
)
EVERYWHERE[413] = {"content": {"text/plain": {}}, "description": "The body is too large."}
NOT_NOW: Final = refusals(s503="Kafka does not take it now. Nothing was done.")
OPERATORS: Final = refusals(s403="A token of scope operate is needed.")
PAGE: Final[Responses] = {200: {"content": {"text/html": {}}, "description": "A page."}}
OPEN: Final[dict[str, Any]] = {"security": [{}]}
"""For ``openapi_extra`` of what asks for no token."""


def takes(schema: Mapping[str, Any], kind: str = "application/json", **more: Any) -> dict[str, Any]:
    """``openapi_extra`` of an endpoint that reads its body by itself."""
    body = {"required": True, "content": {kind: {"schema": dict(schema)}}}
    return {"requestBody": body, **more}


def fields(required: str, **properties: Any) -> dict[str, Any]:
    """The schema of an object: its texts, or schemas, by name; others may stand beside them."""
    return {
        "type": "object",
        "required": required.split(),
        "properties": {
            name: {"type": "string", "description": about} if isinstance(about, str) else about
            for name, about in properties.items()
        },
    }


class DocumentedApi(FastAPI):
    """A FastAPI application whose document also says how to prove who asks."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            title="driftline",
            description=_ABOUT.strip(),
            version="1",
            openapi_tags=[{"name": name, "description": said} for name, said in _TAGS.items()],
            responses=EVERYWHERE,
            **settings,
        )

    def openapi(self) -> dict[str, Any]:
        """The document; made once."""
        if not self.openapi_schema:
            document = super().openapi()
            schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
            schemes["bearer"] = {
                "type": "http",
                "scheme": "bearer",
                "description": "A token of `serve.token_file`.",
            }
            # The empty alternative: without a token file nothing is asked for.
            document["security"] = [{"bearer": []}, {}]
        return self.openapi_schema or {}
