"""What each setting means, in a sentence: for the reference and for editors.

The sentences stand in config_meanings.yaml, by class and by the name that a file uses. A test holds
them to the classes: none is missing and none is left over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, get_args

import yaml

from streams.config_reader import is_settings, members, settings_fields

FILE: Final = Path(__file__).with_name("config_meanings.yaml")


@cache
def all_meanings() -> Mapping[str, Mapping[str, str]]:
    """Everything in the file: by class, by public name."""
    read: dict[str, dict[str, str]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return read


def meanings(wanted: type) -> Mapping[str, str]:
    """The meaning of each setting of a class, its own and those that it inherits."""
    found: dict[str, str] = {}
    for each in reversed(wanted.__mro__):
        found |= all_meanings().get(each.__name__, {})
    return found


def settings_in(wanted: Any) -> Iterator[type]:
    """The classes of settings that a type holds: itself, in a list, in a mapping, or in a union."""
    for member in members(wanted):
        if is_settings(member):
            yield member
        else:
            for part in get_args(member):
                if part is not Ellipsis:
                    yield from settings_in(part)


def settings_below(wanted: type) -> dict[str, type]:
    """A class of settings and every class below it, by name, in the order of declaration."""
    found = {wanted.__name__: wanted}
    for kind in settings_fields(wanted).values():
        for each in settings_in(kind):
            if each.__name__ not in found:
                found |= settings_below(each)
    return found
