"""All files that Grafana reads: boards, and the provisioning of data source, boards and alerts.

A fault in an alerting file keeps Grafana from starting, so tests hold these files to what Grafana
reads. The policy tree is not among them: a file replaces it for the whole organisation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

import yaml

from dashboards.boards import BOARDS, board_json
from dashboards.clickhouse_query import PLUGIN
from dashboards.contact_points import contact_points
from dashboards.rules import rule_group
from dashboards.settings import READER_PASSWORD, GrafanaSettings

BOARD_FILES: Final = PurePosixPath("dashboards")
PROVISIONING: Final = PurePosixPath("provisioning")

_MADE_BY: Final = "# Made by `driftline grafana build`; change the settings, not this file.\n"


def files(settings: GrafanaSettings, database: str) -> dict[PurePosixPath, str]:
    """Every file by its path: ``dashboards/*.json`` and ``provisioning/**/*.yaml``."""
    found = {
        BOARD_FILES / f"{name}.json": board_text(board_json(name, database)) for name in BOARDS
    }
    alerting = PROVISIONING / "alerting"
    documents = {
        PROVISIONING / "datasources" / "driftline.yaml": _source_file(settings, database),
        PROVISIONING / "dashboards" / "driftline.yaml": _provider_file(settings),
        alerting / "rules.yaml": {"apiVersion": 1, "groups": [rule_group(settings, database)]},
        alerting / "contact-points.yaml": _contacts_file(settings),
    }
    return found | {path: _yaml(document) for path, document in documents.items()}


def board_text(board: Mapping[str, Any]) -> str:
    return json.dumps(board, indent=2, ensure_ascii=False) + "\n"


def source(settings: GrafanaSettings, database: str, password: str) -> dict[str, Any]:
    """The data source, as in a file and for the API alike."""
    own = settings.source
    return {
        "uid": own.uid,
        "name": own.name,
        "type": PLUGIN,
        "access": "proxy",
        "jsonData": {
            "host": own.host,
            "port": own.port,
            "protocol": own.protocol,
            "secure": own.secure,
            "username": own.user,
            "defaultDatabase": database,
            "dialTimeout": "10",
            "queryTimeout": "30",
        },
        "secureJsonData": {"password": password},
    }


def _source_file(settings: GrafanaSettings, database: str) -> dict[str, Any]:
    entry = {**source(settings, database, f"${READER_PASSWORD}"), "editable": False}
    return {"apiVersion": 1, "datasources": [entry]}


def _provider_file(settings: GrafanaSettings) -> dict[str, Any]:
    provider = {
        "name": "driftline",
        "orgId": 1,
        "folder": settings.folder,
        "folderUid": settings.folder_uid,
        "type": "file",
        "disableDeletion": False,
        "allowUiUpdates": False,
        "updateIntervalSeconds": 30,
        "options": {"path": settings.boards_path},
    }
    return {"apiVersion": 1, "providers": [provider]}


def _contacts_file(settings: GrafanaSettings) -> dict[str, Any]:
    points = [
        {"orgId": 1, "name": name, "receivers": receivers}
        for name, receivers in contact_points(settings, lambda variable: f"${variable}")
    ]
    return {"apiVersion": 1, "contactPoints": points}


class _Dumper(yaml.SafeDumper):
    """Long queries as blocks, so that people and ``diff`` can read them; no aliases."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML passes it
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _yaml(document: Mapping[str, Any]) -> str:
    return _MADE_BY + yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )
