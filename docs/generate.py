"""Writes the pages of docs/reference that follow from the code.

python -m docs.generate            writes them
python -m docs.generate --check    exit 1 if one is not what it should be
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dashboards.generated_files import generate
from docs.from_code.command_page import command_page
from docs.from_code.http_page import http_page, openapi_file
from docs.from_code.settings_page import settings_page
from streams.config_view import json_schema

HERE: Final = Path(__file__).resolve().parent
_MADE: Final = "<!-- Made by `python -m docs.generate`: change the code, not this file. -->\n\n"


def generated() -> dict[Path, str]:
    """Every generated file and what it should hold."""
    folder = HERE / "reference"
    pages = {
        "configuration.md": settings_page(),
        "cli.md": command_page(),
        "http.md": http_page(),
    }
    files = {folder / name: _MADE + text.rstrip() + "\n" for name, text in pages.items()}
    schema = json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"
    return files | {
        folder / "configuration.schema.json": schema,
        folder / "openapi.json": openapi_file(),
    }


def main(arguments: Sequence[str]) -> int:
    """Write, or with ``--check`` compare."""
    return generate(generated(), HERE.parent, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
