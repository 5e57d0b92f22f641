"""A stand-in for Grafana's HTTP API, as strict as the real one where a push could go wrong.

Forms follow Grafana's documentation of the HTTP API and of alert provisioning (11 to 13): unknown
fields are refused here where Grafana would drop them in silence, secrets are never shown, stored
boards get an id and a version, and rules come back with fields of Grafana's own.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "glsa_test"
REDACTED = "[REDACTED]"

_RULE_FIELDS = {
    "uid", "title", "condition", "data", "for", "keep_firing_for", "missingSeriesEvalsToResolve",
    "noDataState", "execErrState", "isPaused", "labels", "annotations", "notification_settings",
    "folderUID", "ruleGroup", "orgID", "id", "updated", "provenance", "record",
}  # fmt: skip
_SOURCE_FIELDS = {
    "uid", "name", "type", "access", "url", "user", "database", "basicAuth", "isDefault",
    "jsonData", "secureJsonData", "editable",
}  # fmt: skip
_STATES = {"OK", "Alerting", "NoData", "KeepLast", "Error"}


class Refused(Exception):
    """An answer of 4xx."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Grafana:
    """What it holds, and every request that wrote: (method, path)."""

    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    folders: dict[str, dict[str, Any]] = field(default_factory=dict)
    boards: dict[str, dict[str, Any]] = field(default_factory=dict)
    contacts: list[dict[str, Any]] = field(default_factory=list)
    groups: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    written: list[tuple[str, str]] = field(default_factory=list)
    failing: int = 0

    def answer(  # noqa: C901 - a list of what there is
        self, method: str, url: str, body: Any
    ) -> tuple[int, Any]:
        parts = urlsplit(url)
        match method, [unquote(part) for part in parts.path.removeprefix("/api/").split("/")]:
            case "GET", ["datasources", "uid", uid]:
                return 200, _found(self.sources.get(uid))
            case "POST", ["datasources"]:
                return 200, {"datasource": self._put_source(body, body["uid"]), "message": "ok"}
            case "PUT", ["datasources", "uid", uid]:
                _found(self.sources.get(uid))
                return 200, {"datasource": self._put_source(body, uid), "message": "ok"}
            case "GET", ["folders", uid]:
                return 200, _found(self.folders.get(uid))
            case "POST", ["folders"]:
                if body["uid"] in self.folders:
                    raise Refused(409, "a folder with that UID already exists")
                self.folders[body["uid"]] = {"id": 1, "version": 1, **body}
                return 200, self.folders[body["uid"]]
            case "PUT", ["folders", uid]:
                if not body.get("overwrite") and "version" not in body:
                    raise Refused(412, "the folder has been changed by someone else")
                _found(self.folders.get(uid))["title"] = body["title"]
                return 200, self.folders[uid]
            case "GET", ["dashboards", "uid", uid]:
                return 200, _found(self.boards.get(uid))
            case "POST", ["dashboards", "db"]:
                return 200, self._put_board(body)
            case "GET", ["v1", "provisioning", "contact-points"]:
                return 200, self.contacts
            case "POST", ["v1", "provisioning", "contact-points"]:
                if any(each["uid"] == body["uid"] for each in self.contacts):
                    raise Refused(409, "contact point exists")
                self.contacts.append(self._contact(body))
                return 202, self.contacts[-1]
            case "PUT", ["v1", "provisioning", "contact-points", uid]:
                at = [each["uid"] for each in self.contacts].index(uid)
                self.contacts[at] = self._contact(body)
                return 202, {"message": "contactpoint updated"}
            case "GET", ["v1", "provisioning", "folder", folder, "rule-groups", group]:
                return 200, _found(self.groups.get((folder, group)))
            case "PUT", ["v1", "provisioning", "folder", folder, "rule-groups", group]:
                self.groups[folder, group] = self._group(folder, group, body)
                return 200, self.groups[folder, group]
            case "GET", ["annotations"]:
                return 200, self._annotations(parse_qs(parts.query))
            case "POST", ["annotations"]:
                _only(body, {"time", "timeEnd", "tags", "text", "dashboardUID", "panelId"})
                self.annotations.append({"id": len(self.annotations) + 1, **body})
                return 200, {"message": "Annotation added", "id": len(self.annotations)}
            case _:
                raise Refused(404, f"nothing is at {method} {parts.path}")

    def _put_source(self, body: dict[str, Any], uid: str) -> dict[str, Any]:
        _only(body, _SOURCE_FIELDS)
        if body["access"] not in ("proxy", "direct") or not body["type"]:
            raise Refused(400, "bad request data")
        kept = {key: value for key, value in body.items() if key != "secureJsonData"}
        self.secrets += body.get("secureJsonData", {}).values()
        hidden = dict.fromkeys(body.get("secureJsonData", {}), True)
        self.sources[uid] = {"id": 1, "orgId": 1, "version": 1, "secureJsonFields": hidden, **kept}
        return self.sources[uid]

    def _put_board(self, body: dict[str, Any]) -> dict[str, Any]:
        _only(body, {"dashboard", "folderUid", "folderId", "message", "overwrite"})
        if body["folderUid"] not in self.folders:
            raise Refused(400, "folder not found")
        board = body["dashboard"]
        if not board["title"] or not body.get("overwrite"):
            raise Refused(412, "version-mismatch")
        if board["id"] is not None:
            raise Refused(404, "dashboard not found")
        version = self.boards.get(board["uid"], {"dashboard": {"version": 0}})["dashboard"][
            "version"
        ]
        stored = {**board, "id": 7, "version": version + 1}
        self.boards[board["uid"]] = {
            "dashboard": stored,
            "meta": {"folderUid": body["folderUid"], "provisioned": False},
        }
        return {"uid": board["uid"], "status": "success", "version": version + 1}

    def _contact(self, body: dict[str, Any]) -> dict[str, Any]:
        _only(body, {"uid", "name", "type", "settings", "disableResolveMessage", "provenance"})
        settings = json.loads(json.dumps(body["settings"]))
        match body["type"]:
            case "webhook":
                if not urlsplit(settings.get("url", "")).hostname:
                    raise Refused(400, "required field 'url' is not specified")
                self._hide(settings["hmacConfig"], "secret")
            case "pagerduty":
                self._hide(settings, "integrationKey")
            case "slack":
                self._hide(settings, "url")
            case other:
                raise Refused(400, f"unknown contact point type {other}")
        return {**body, "settings": settings, "provenance": "api"}

    def _hide(self, settings: dict[str, Any], name: str) -> None:
        if not settings.get(name):
            raise Refused(400, f"required field '{name}' is not specified")
        self.secrets.append(settings[name])
        settings[name] = REDACTED

    def _group(self, folder: str, group: str, body: dict[str, Any]) -> dict[str, Any]:
        _only(body, {"title", "folderUid", "interval", "rules"})
        if folder not in self.folders:
            raise Refused(400, "folder does not exist")
        if body["title"] != group or body["folderUid"] != folder or body["interval"] % 10:
            raise Refused(400, "invalid alert rule group")
        receivers = {each["name"] for each in self.contacts}
        for rule in body["rules"]:
            _only(rule, _RULE_FIELDS)
            if len(rule["uid"]) > 40 or len(rule["title"]) > 190:
                raise Refused(400, "invalid alert rule: uid or title is too long")
            if not {rule["noDataState"], rule["execErrState"]} <= _STATES:
                raise Refused(400, "unknown state")
            if rule["condition"] not in [part["refId"] for part in rule["data"]]:
                raise Refused(400, "condition does not exist")
            told = rule["notification_settings"]
            if told["receiver"] not in receivers:
                raise Refused(400, f"receiver {told['receiver']} does not exist")
            if not {"alertname", "grafana_folder"} <= set(told["group_by"]):
                raise Refused(400, "group by must have alertname and grafana_folder")
        kept = [{**rule, "id": at, "updated": "now", "provenance": "api"} for at, rule in
                enumerate(body["rules"])]  # fmt: skip
        return {**body, "rules": kept}

    def _annotations(self, asked: dict[str, list[str]]) -> list[dict[str, Any]]:
        first, last = int(asked["from"][0]), int(asked["to"][0])
        found = [
            each
            for each in self.annotations
            if set(asked["tags"]) <= set(each["tags"]) and first <= each["time"] <= last
        ]
        return found[: int(asked["limit"][0])]


def _found(value: dict[str, Any] | None) -> dict[str, Any]:
    if value is None:
        raise Refused(404, "not found")
    return value


def _only(body: dict[str, Any], known: set[str]) -> None:
    unknown = set(body) - known
    if unknown:
        raise Refused(400, f"unknown fields {sorted(unknown)}")


@contextlib.contextmanager
def serving(grafana: Grafana) -> Iterator[str]:
    """The address of a server that answers for ``grafana``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, found = self._answer(body)
            data = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if status == 302:
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.end_headers()
            self.wfile.write(data)

        def _answer(self, body: Any) -> tuple[int, Any]:
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return 401, {"message": "Invalid API key"}
            if grafana.failing:
                return grafana.failing, {"message": f"failed on {body}"}
            try:
                status, found = grafana.answer(self.command, self.path, body)
            except Refused as error:
                return error.status, {"message": f"{error}: {body}"}
            if self.command != "GET":
                grafana.written.append((self.command, self.path))
            return status, found

        do_GET = do_POST = do_PUT = _handle  # noqa: N815 - the names are the library's

        def log_message(self, *_: object) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
