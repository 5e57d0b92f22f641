"""A stand-in for a Kubernetes API server: get, list and JSON Patch, refusing what it refuses.

It keeps uid, resourceVersion and generation, checks tokens and roles, the content type, every
``test`` of a patch and the schema of the result, knows the subresources status and scale, and
pretends under ``dryRun=All``. The same tests run against a real kube-apiserver where there is one
(`tests.contract.kube_apiserver`), which is what says that this one is right.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.contract.kubernetes_schemas import SCHEMAS, Object

TOKEN = "token-of-driftline"


class Status(Exception):
    """An answer that is not an object."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass
class StandIn:
    """The server's memory. ``rules``: what driftline's role allows in any namespace.

    ``faults`` are used up, one a request: ``drop`` (nothing done, then reset), ``lose`` (done,
    then reset before the answer), ``hang`` (done, no answer), or a status to answer instead.
    """

    rules: list[Object] = field(default_factory=list)
    things: dict[str, Object] = field(default_factory=dict)
    versions: int = 100
    patched: int = 0
    faults: list[str] = field(default_factory=list)

    async def create(self, path: str, thing: Object) -> Object:
        made = copy.deepcopy(thing)
        self.versions += 1
        made["metadata"] |= {
            "uid": f"uid-{self.versions}",
            "resourceVersion": str(self.versions),
            "generation": 1,
            "namespace": path.split("/namespaces/")[1].split("/")[0],
        }
        self._check(path, made)
        self.things[path] = made
        return copy.deepcopy(made)

    async def get(self, path: str) -> Object:
        return copy.deepcopy(self.things[path])

    async def change(self, path: str, thing: Object) -> None:
        """Replace an object with its status, as its owner and its controller would."""
        self._store(path, thing)

    async def allow(self, namespace: str, rules: list[Object]) -> None:
        self.rules = rules

    # --- what driftline sees

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Object:
        parts = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if headers.get("authorization") != f"Bearer {TOKEN}":
            raise Status(401, "Unauthorized")
        pieces = parts.path.strip("/").split("/")
        group = "/".join(pieces[1:3]) if pieces[0] == "apis" else pieces[1]
        after = pieces[pieces.index("namespaces") + 2 :]
        plural, name = after[0], unquote(after[1]) if len(after) > 1 else ""
        subresource = after[2] if len(after) > 2 else ""
        verb = {"GET": "get" if name else "list", "PATCH": "patch"}.get(method, "")
        self._authorize(group, plural, subresource, name, verb)
        path = "/" + "/".join(pieces[: len(pieces) - bool(subresource)])
        if verb == "list":
            return self._list(path, query)
        if path not in self.things:
            raise Status(404, "NotFound")
        if verb == "get":
            return copy.deepcopy(self.things[path])
        if headers.get("content-type") != "application/json-patch+json":
            raise Status(415, "UnsupportedMediaType")
        unknown = query.keys() - {"dryRun", "fieldManager", "fieldValidation"}
        if unknown or query.get("dryRun", "All") != "All":
            raise Status(400, "BadRequest")
        return self._patch(path, subresource, json.loads(body), dry_run="dryRun" in query)

    def _authorize(self, group: str, plural: str, sub: str, name: str, verb: str) -> None:
        resource = f"{plural}/{sub}" if sub else plural
        api_group = group.split("/")[0] if "/" in group else ""
        for rule in self.rules:
            names = rule.get("resourceNames", [])
            if (
                api_group in rule["apiGroups"]
                and resource in rule["resources"]
                and verb in rule["verbs"]
                and (not names or name in names)
            ):
                return
        raise Status(403, "Forbidden")

    def _list(self, path: str, query: dict[str, str]) -> Object:
        wanted = [pair.partition("=") for pair in query.get("labelSelector", "").split(",") if pair]
        found = []
        for at, thing in self.things.items():
            labels = thing["metadata"].get("labels", {})
            if at.rpartition("/")[0] == path and all(
                key in labels and (not equals or labels[key] == value)
                for key, equals, value in wanted
            ):
                found.append(copy.deepcopy(thing))
        return {"kind": "List", "metadata": {}, "items": found}

    def _patch(self, path: str, subresource: str, operations: Any, *, dry_run: bool) -> Object:
        old = self.things[path]
        new = copy.deepcopy(old)
        if subresource == "scale":
            kept = {key: old["metadata"][key] for key in ("name", "uid", "resourceVersion")}
            scale = {"metadata": kept, "spec": {"replicas": old["spec"]["replicas"]}}
            patched = applied(scale, operations)
            new["spec"]["replicas"] = patched["spec"]["replicas"]
        elif subresource == "status":
            new["status"] = applied(new, operations).get("status", {})
        else:
            patched = applied(new, operations)
            # The main resource does not write the status, whatever the patch says.
            patched.pop("status", None)
            new = patched | ({"status": old["status"]} if "status" in old else {})
        self._check(path, new)
        if not dry_run:
            self.patched += 1
            self._store(path, new)
        return new

    def _store(self, path: str, thing: Object) -> None:
        old = self.things[path]
        self.versions += 1
        thing["metadata"] |= {"uid": old["metadata"]["uid"], "resourceVersion": str(self.versions)}
        if thing.get("spec") != old.get("spec"):
            thing["metadata"]["generation"] = old["metadata"]["generation"] + 1
        self.things[path] = copy.deepcopy(thing)

    def _check(self, path: str, thing: Object) -> None:
        for (group, plural, _), schema in SCHEMAS.items():
            if path.startswith(f"/apis/{group}/") and f"/{plural}/" in path:
                fits(thing, schema)
        if "/deployments/" in path or "/replicasets/" in path:
            labels = thing["spec"]["template"]["metadata"]["labels"]
            selector = thing["spec"]["selector"]["matchLabels"]
            if selector.items() - labels.items() or not thing["spec"]["template"]["spec"]:
                raise Status(422, "Invalid")
        annotations = thing["metadata"].get("annotations", {})
        if not all(isinstance(value, str) for value in annotations.values()):
            raise Status(400, "BadRequest")


def fits(thing: Any, schema: Object) -> None:
    """The structural schemas of custom resources, as far as `SCHEMAS` goes."""
    kinds: dict[str, tuple[type, ...]] = {
        "object": (dict,),
        "array": (list,),
        "string": (str,),
        "boolean": (bool,),
        "integer": (int,),
        "number": (int, float),
    }
    wrong = not isinstance(thing, kinds[schema["type"]])
    if schema["type"] in ("integer", "number") and isinstance(thing, bool):
        wrong = True
    if not wrong and schema["type"] == "integer":
        wrong = not schema.get("minimum", thing) <= thing <= schema.get("maximum", thing)
    if not wrong and isinstance(thing, dict):
        wrong = any(name not in thing for name in schema.get("required", []))
    if wrong:
        raise Status(422, "Invalid")
    if isinstance(thing, dict):
        for name, inner in schema.get("properties", {}).items():
            if name in thing:
                fits(thing[name], inner)
    if isinstance(thing, list):
        for each in thing:
            fits(each, schema["items"])


def applied(thing: Object, operations: Any) -> Object:
    """``thing`` after a JSON Patch; 422 if it does not apply, as the real server says."""
    result = copy.deepcopy(thing)
    if not isinstance(operations, list):
        raise Status(400, "BadRequest")
    for operation in operations:
        *parents, last = [
            part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]
        ]
        at: Any = result
        try:
            for part in parents:
                at = at[int(part)] if isinstance(at, list) else at[part]
            key = int(last) if isinstance(at, list) else last
            match operation["op"]:
                case "test":
                    if at[key] != operation["value"]:
                        raise Status(422, "Invalid")
                case "add":
                    if isinstance(at, list):
                        at.insert(key, operation["value"])
                    else:
                        at[key] = operation["value"]
                case _:
                    raise Status(422, "Invalid")
        except (KeyError, IndexError, ValueError, TypeError):
            raise Status(422, "Invalid") from None
    return result


@asynccontextmanager
async def stand_in() -> AsyncIterator[tuple[StandIn, str]]:
    """A running stand-in, and its URL."""
    api = StandIn()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {n.lower(): v.strip() for n, _, v in (x.partition(":") for x in head[1:-2])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        fault = api.faults.pop(0) if api.faults else ""
        if fault == "drop":
            writer.transport.abort()
            return
        if fault.isdigit():
            writer.write(
                f"HTTP/1.1 {fault} x\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n".encode()
            )
            await writer.drain()
            writer.close()
            return
        try:
            code, answer = 200, api.answer(method, target, headers, body)
        except Status as status:
            code, answer = status.code, {"kind": "Status", "code": status.code}
        if fault == "lose":
            writer.transport.abort()
            return
        if fault == "hang":
            await asyncio.sleep(0.5)
        text = json.dumps(answer).encode()
        writer.write(
            f"HTTP/1.1 {code} x\r\ncontent-type: application/json\r\n"
            f"content-length: {len(text)}\r\n\r\n".encode()
            + text
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield api, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
