"""A Kubernetes API server, as a deployer needs it: read an object, patch it on conditions.

No client library: four requests do not need one. The address and the certificate authority are
those of the cluster alone; nothing else is trusted or called. The token is read at each request,
as the kubelet renews it in its file.

Every change is a JSON Patch that tests the object's uid and resourceVersion, so it applies to
what was read or not at all (the server answers 409 or 422). With a dry run the server does
everything but store it: permissions, conditions, schema and admission are checked as for real.

Sources: Kubernetes API concepts (resourceVersion, dryRun, fieldValidation), RFC 6902.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final
from urllib.parse import quote, urlencode, urlsplit

from sinks.credentials import SecretSource
from sinks.deployers.json_patch import Json, Operation, find, items_at, put, test, text_at
from sinks.deployers.order import Refused
from sinks.egress import (
    Egress,
    EgressSettings,
    Reply,
    Resolve,
    RetryLater,
    resolve_with_system,
)
from sinks.errors import Permanent

ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
ACTIONS: Final = "driftline.io/actions"
"""The annotation in which an object keeps the keys of the actions that were carried out on it."""
MAX_KEYS: Final = 16
MAX_LISTED: Final = 200
_LARGEST_ANSWER: Final = 8 * 1024 * 1024
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """One cluster. Without a ``server`` it is the one that driftline runs in.

    ``ca_file`` is the cluster's certificate authority in PEM, and the only one trusted (the
    system's if it is ""). ``token`` is sent as a bearer; a client certificate can take its place.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: str = "here"
    server: str = ""
    ca_file: str = f"{ACCOUNT}/ca.crt"
    token: SecretSource = field(default_factory=lambda: SecretSource(file=f"{ACCOUNT}/token"))
    client_certificate_file: str = ""
    client_key_file: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name is empty; give each cluster a name of its own")
        if bool(self.client_certificate_file) != bool(self.client_key_file):
            raise ValueError("client_certificate_file and client_key_file go together")
        if self.server:
            parts = urlsplit(self.server)
            if parts.scheme not in ("https", "http") or not parts.hostname or parts.username:
                raise ValueError("server must be a URL such as https://host:6443")
            if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
                raise ValueError("server must be https, as a token is sent to it")


@dataclass(frozen=True, slots=True)
class Change:
    """A patch of one object. ``path`` may name a subresource; ``text`` says what it does."""

    path: str
    operations: tuple[Operation, ...]
    text: str


class Cluster:
    """The API server of one cluster, reached as ``settings`` say."""

    def __init__(
        self,
        settings: ClusterSettings,
        egress: EgressSettings,
        environ: Mapping[str, str] = os.environ,
        resolve: Resolve = resolve_with_system,
    ) -> None:
        """Raises Permanent if the server is not known, or if the certificates or the token cannot
        be read."""
        self.name = settings.name
        self._settings = settings
        self._environ = environ
        self._server = settings.server.rstrip("/") or _own_server(settings.name, environ)
        # That configuration names the server is what allows it: its address is a private one
        # nearly always. Nothing else can be called through this way out.
        only = replace(
            egress,
            allow_private=(_authority(self._server),),
            max_response_bytes=_LARGEST_ANSWER,
            ca_file="",
        )
        self._egress = Egress(only, resolve, _tls(settings))
        self._egress.check(self._server)
        self._authorization()

    async def read(self, path: str) -> Json:
        """The object at ``path``. Raises Refused if there is none."""
        return await self._ask("GET", path)

    async def listed(self, path: str, selector: str) -> list[Json]:
        """The objects of a collection that a label selector names. Raises Refused if they are
        too many to be sure of having seen all."""
        query = urlencode({"labelSelector": selector, "limit": MAX_LISTED})
        found = await self._ask("GET", f"{path}?{query}")
        if text_at(found, "/metadata/continue"):
            raise Refused(f"more than {MAX_LISTED} objects match; nothing was changed")
        return items_at(found, "/items")

    async def apply(self, change: Change, *, dry_run: bool) -> Json:
        """Carry out ``change``, or have the server pretend to. Returns the object after it.

        Raises RetryLater if the object changed since it was read, Refused if the server does not
        take the patch although it did not.
        """
        query = {"fieldManager": "driftline", "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        body = json.dumps(change.operations).encode("ascii")
        return await self._ask("PATCH", f"{change.path}?{urlencode(query)}", body)

    async def _ask(self, method: str, path: str, body: bytes = b"") -> Json:
        headers = {"accept": "application/json", **self._authorization()}
        if body:
            headers["content-type"] = "application/json-patch+json"
        reply = await self._egress.request(method, self._server + path, headers, body)
        return _object(reply, self.name)

    def _authorization(self) -> dict[str, str]:
        return self._settings.token.bearer(f"cluster {self.name!r}", self._environ)


def object_path(group_version: str, namespace: str, plural: str, name: str = "") -> str:
    """The path of an object, or without a ``name`` of its collection."""
    root = "/api" if "/" not in group_version else "/apis"
    path = f"{root}/{group_version}/namespaces/{quote(namespace, safe='')}/{plural}"
    return f"{path}/{quote(name, safe='')}" if name else path


def unchanged(thing: Json) -> tuple[Operation, ...]:
    """The condition that an object is the one that was read, and as it was read."""
    return (
        test("/metadata/uid", find(thing, "/metadata/uid")),
        test("/metadata/resourceVersion", find(thing, "/metadata/resourceVersion")),
    )


def carried_out(thing: Json, key: str) -> bool:
    """True if the action ``key`` was carried out on the object before."""
    return key in _keys(thing)


def remember(thing: Json, key: str) -> tuple[Operation, ...]:
    """Write the action's key on the object, in the same patch as the change itself, so that a
    repeat is known even if the object has changed since."""
    keys = " ".join((*_keys(thing), key)[-MAX_KEYS:])
    if isinstance(find(thing, "/metadata/annotations"), dict):
        return (put(f"/metadata/annotations/{ACTIONS.replace('/', '~1')}", keys),)
    return (put("/metadata/annotations", {ACTIONS: keys}),)


def _keys(thing: Json) -> tuple[str, ...]:
    return tuple(text_at(thing, f"/metadata/annotations/{ACTIONS.replace('/', '~1')}").split())


def _object(reply: Reply, cluster: str) -> Json:
    """The object in a reply; the text of an error is the far side's, so only its number is told."""
    status = reply.status
    if status in (200, 201):
        try:
            thing = json.loads(reply.body)
        except (ValueError, RecursionError):
            raise RetryLater(
                f"cluster {cluster!r}: an answer of {len(reply.body)} bytes cannot be read"
            ) from None
        if not isinstance(thing, dict):
            raise Refused(f"cluster {cluster!r} did not answer with an object; check `server`")
        return thing
    if status == 404:
        raise Refused(
            f"cluster {cluster!r} has no such object; check namespace, object and that its kind "
            "is installed"
        )
    if status == 403:
        raise Refused(
            f"cluster {cluster!r} does not allow this (403); bind the role in deploy/ to "
            "driftline's service account"
        )
    if status == 409:
        raise RetryLater(f"cluster {cluster!r}: the object changed meanwhile (409)")
    if status == 422:
        raise Unprocessable(f"cluster {cluster!r} does not take the patch (422)")
    if status in (401, 408, 425, 429) or status >= 500:
        # 401 as well: a token that the kubelet is about to renew is not a wrong one.
        raise RetryLater(f"cluster {cluster!r} answered {status}", reply.retry_after_ms)
    raise Refused(f"cluster {cluster!r} answered {status}; check its configuration")


class Unprocessable(Refused):
    """The server found a condition of the patch not met, or the result not valid: it says the
    same for both, and only reading again tells them apart."""


def _own_server(name: str, environ: Mapping[str, str]) -> str:
    host = environ.get("KUBERNETES_SERVICE_HOST", "")
    port = environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise Permanent(
            f"cluster {name!r} has no server, and driftline does not run in a cluster; "
            "set its server"
        )
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def _authority(server: str) -> str:
    parts = urlsplit(server)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tls(settings: ClusterSettings) -> ssl.SSLContext:
    where = f"cluster {settings.name!r}"
    if settings.server.startswith("http:"):
        return ssl.create_default_context()
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.client_certificate_file:
            context.load_cert_chain(settings.client_certificate_file, settings.client_key_file)
    except (OSError, ssl.SSLError) as error:
        raise Permanent(
            f"{where}: ca_file or the client certificate cannot be read ({type(error).__name__}); "
            "give PEM files"
        ) from None
    return context
