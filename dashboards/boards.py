"""All boards, by the name of their file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from dashboards.drift import drift
from dashboards.fleet import fleet
from dashboards.incidents import incidents
from dashboards.quality import quality
from dashboards.release import release

BOARDS: Final[Mapping[str, Callable[[str], dashboard.Dashboard]]] = {
    "fleet": fleet,
    "release": release,
    "drift": drift,
    "quality": quality,
    "incidents": incidents,
}


def board_json(name: str, database: str) -> dict[str, Any]:
    """One board as Grafana's classic JSON, which 11.6 to 13 read."""
    text = json.dumps(BOARDS[name](database), cls=JSONEncoder)
    found: dict[str, Any] = json.loads(text)
    # The library puts links and marks into a menu; unsaid, they stand above the panels.
    for each in [*found["links"], *found["annotations"]["list"]]:
        del each["placement"]
    return found
