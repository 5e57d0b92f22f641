"""The commands of a command line, by the words that one types."""

from __future__ import annotations

from typing import Any


def commands(command: Any, name: str) -> dict[str, Any]:
    """Every command below ``command``, which is called ``name``, that has none below itself."""
    inside = getattr(command, "commands", None)
    if inside is None:
        return {name: command}
    return {
        key: found
        for word, each in inside.items()
        for key, found in commands(each, f"{name} {word}").items()
    }
