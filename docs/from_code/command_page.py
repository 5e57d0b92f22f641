"""docs/reference/cli.md: every command with its arguments and options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import typer.main

from streams.cli import app

INTRODUCTION: Final = """# Commands

Every command takes `--help`. Exit codes: 0 done; 1 the work could not be done; 2 the command, its
configuration or a file is wrong; 130 interrupted. `verdict --exit-code` has its own. What a person
can put right is one line on stderr; `DRIFTLINE_DEBUG=1` shows a traceback instead.

"""

_WORDS: Final = {"str": "TEXT", "int": "NUMBER", "Path": "PATH"}


def command_page() -> str:
    """The page."""
    root: Any = typer.main.get_command(app)
    found = list(_commands(root, "driftline"))
    contents = "\n".join(f"- [`{name}`](#{_anchor(name)}): {_first(each)}" for name, each in found)
    return INTRODUCTION + contents + "\n\n" + "\n".join(_section(*each) for each in found)


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    inside = getattr(command, "commands", None)
    if inside is None:
        yield name, command
        return
    for word, each in inside.items():
        yield from _commands(each, f"{name} {word}")


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


def _first(command: Any) -> str:
    return str(command.help).split("\n\n", maxsplit=1)[0].replace("\n", " ").strip()


def _section(name: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    usage = " ".join([name, *("[OPTIONS]" if options else "",), *map(_usage, arguments)])
    lines = [
        f"## {name}",
        "",
        _prose(command.help),
        "",
        "```text",
        " ".join(usage.split()),
        "```",
        "",
    ]
    if arguments or options:
        lines += ["| | | default |", "|---|---|---|"]
        lines += [_row(each) for each in (*arguments, *options)]
        lines.append("")
    return "\n".join(lines)


def _usage(argument: Any) -> str:
    shown = argument.metavar or argument.name.upper()
    return str(shown if argument.required else f"[{shown}]")


def _row(each: Any) -> str:
    if each.param_type_name == "argument":
        name = f"`{each.metavar or each.name.upper()}`"
    else:
        value = "" if each.is_flag else f" {each.metavar or _word(each)}"
        name = ", ".join(f"`{option}{value}`" for option in reversed(each.opts))
    said = _prose(each.help or "").replace("|", "\\|")
    if each.envvar:
        said = f"{said} Variable: `{each.envvar}`.".strip()
    if getattr(each, "multiple", False):
        said += " May be given several times."
    return f"| {name} | {said} | {_default(each)} |"


def _word(option: Any) -> str:
    """What stands for the value of an option."""
    return _WORDS[str(option.bare_type()).removeprefix("list[").removesuffix("]")]


def _default(each: Any) -> str:
    if each.required:
        return "required"
    if each.is_flag if each.param_type_name == "option" else False:
        return "off"
    return f"`{each.default}`" if each.default not in (None, "", [], ()) else ""


def _prose(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", str(text)).strip()
