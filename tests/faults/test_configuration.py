"""K: configuration as an attack. What is refused is refused with its place, in bounded time and
memory, with exit code 2 and one line a problem; no secret is repeated; what Python's own YAML
reader makes of the same files shows what the guard is against."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from streams.cli import main
from streams.config import ConfigError, load_config

MOST_S: Final = 5.0
_LAUGHS: Final = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
)


@dataclass(frozen=True, slots=True)
class Attack:
    """``line``: where it is found, 0 for the file as a whole; ``word``: stands in the answer."""

    data: bytes
    word: str
    line: int = 1


ATTACKS: Final = {
    "K1-billion-laughs": Attack(_LAUGHS.encode(), "anchor"),
    "K1-alias": Attack(b"time: &t {pane: 5s}\nmodels: {m: *t}\n", "anchor"),
    "K1-too-large": Attack(b"# " + b"x" * 1_000_001, "larger than", 0),
    "K1-too-many": Attack(b"inputs: [" + b"a," * 30_000 + b"]", "more than 20,000"),
    "K2-nesting": Attack(b"a: " + b"[" * 20_000, "nested deeper"),
    "K2-python-tag": Attack(b"time: !!python/object/apply:os.system ['true']\n", "tag"),
    "K2-tag": Attack(b"store: {path: !secret x}\n", "tag"),
    "K2-duplicate-key": Attack(b"time: {}\nserve: {}\ntime: {}\n", "stands twice", 3),
    "K2-two-documents": Attack(b"time: {}\n---\nserve: {}\n", "second document", 2),
    "K2-merge-key": Attack(b"time:\n  <<: {pane: 5s}\n", "<<", 2),
    "K2-tab": Attack(b"time:\n\tpane: 5s\n", "tab", 2),
    "K2-binary": Attack(b"\x7fELF\x02\x01\x00\x00", "control character"),
    "K2-not-utf8": Attack(b"kafka:\n  prefix: \xff\xfe\n", "UTF-8", 2),
    "K2-list": Attack(b"- a\n- b\n", "mapping"),
    "K2-text": Attack(b"hello\n", "mapping"),
    "K2-on-for-true": Attack(b"summarize:\n  compiled: on\n", "true or false", 2),
    "K2-octal": Attack(b"serve:\n  port: 0123\n", "leading zero", 2),
    "K2-octal-0o": Attack(b"serve:\n  port: 0o17777777\n", "port", 2),
    "K2-sexagesimal": Attack(b"serve:\n  port: 1:30\n", "whole number", 2),
    "K2-float-for-int": Attack(b"serve:\n  port: 1e3\n", "whole number", 2),
    "K2-vast-number": Attack(b"serve:\n  port: " + b"9" * 5_000 + b"\n", "", 2),
    "K2-unknown-key": Attack(b"time:\n  windws: [1m]\n", "windws", 2),
    "K2-class-attribute": Attack(b"time:\n  __class__: x\n", "__class__", 2),
    "K3-nan": Attack(b"detect:\n  min_effect: .nan\n", "", 2),
    "K3-inf": Attack(b"summarize:\n  max_dead_ratio: .inf\n", "not a finite number", 2),
    "K3-negative": Attack(b"time:\n  idle_timeout: -5s\n", "", 2),
    "K3-window-zero": Attack(b"time:\n  windows: [0s]\n", "", 2),
    "K3-window-not-of-panes": Attack(b"time: {pane: 7s, windows: [1m]}\n", "multiple"),
    "K3-lateness": Attack(
        b"time:\n  max_age: 1m\n  allowed_lateness: 2m\n  out_of_orderness: 1s\n", "longer", 3
    ),
    "K3-our-kafka-property": Attack(
        b"kafka:\n  properties: {isolation.level: read_uncommitted}\n", "guarantees", 2
    ),
    "K3-password-in-url": Attack(b"store:\n  url: http://u:hush-hush@h:8123\n", "password", 2),
    "K3-topic-name": Attack(b"inputs:\n  - topic: ../../etc\n", "topic", 2),
    "K3-two-of-a-topic": Attack(b"inputs: [{topic: a}, {topic: a}]\n", "stands twice"),
    "K3-private-address": Attack(
        b"egress:\n  allow_private: [not-a-host]\n", "needs a host and a port", 2
    ),
}


def wrong_with(attack: Attack, file: Path, code: int, out: str, err: str) -> list[str]:
    """The checker: what is wrong with an answer to an attack."""
    place = f"{file}:{attack.line}" if attack.line else str(file)
    printable = set(err) <= {*filter(str.isprintable, err), "\n"}
    asked = {
        "not refused": code == 2 and out == "",
        "an exception": "Traceback" not in err,
        "a secret": "hush-hush" not in err,
        f"not for {attack.word}": attack.word in err,
        f"not at {place}": place in err,
        "too long": len(err) < 4_000,
        "control characters": printable,
    }
    return [what for what, right in asked.items() if not right]


def naive(file: Path) -> int:
    """Without the guard: a reader that leaves everything to the library, and believes it."""
    try:
        yaml.unsafe_load(file.read_bytes())
    except yaml.YAMLError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (ValueError, RecursionError):
        traceback.print_exc()
        return 1
    return 0


@pytest.mark.parametrize("guard", [True, False], ids=["guard", "no-guard"])
@pytest.mark.parametrize("name", ATTACKS)
def test_a_configuration_that_attacks_is_refused_with_its_place(
    name: str, guard: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "driftline.yaml"
    file.write_bytes(ATTACKS[name].data)
    began = time.process_time()
    code = main(["config", "check", str(file)]) if guard else naive(file)
    assert time.process_time() - began < MOST_S
    said = capsys.readouterr()
    found = wrong_with(ATTACKS[name], file, code, said.out, said.err)
    assert (found == []) is guard, found


def test_every_attack_is_one_of_the_matrix() -> None:
    assert {name[:2] for name in ATTACKS} == {"K1", "K2", "K3"}
    assert len(ATTACKS) == 34


# --- what is no file -----------------------------------------------------------------------------


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def dangling(path: Path) -> None:
    path.symlink_to(path.parent / "nothing")


def circle(path: Path) -> None:
    path.symlink_to(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    "make", [folder, pipe, dangling, circle, device], ids=lambda make: f"K2-{make.__name__}"
)
def test_what_is_no_file_is_refused_and_never_waited_for(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "driftline.yaml"
    make(path)
    with pytest.raises(ConfigError, match=r"driftline\.yaml"):
        load_config(path, {})


def test_k2_a_link_to_a_file_is_read_as_orchestrators_mount_them(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("serve: {port: 1234}\n")
    (tmp_path / "link.yaml").symlink_to(tmp_path / "real")
    assert load_config(tmp_path / "link.yaml", {}).serve.port == 1234


@pytest.mark.parametrize("data", [b"", b"\n\n", b"# nothing\n", b"---\n", b"~\n", b"\xef\xbb\xbf"],
                         ids=lambda data: f"K2-nothing-{data!r}")  # fmt: skip
def test_a_file_without_anything_is_all_defaults(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "driftline.yaml"
    file.write_bytes(data)
    assert load_config(file, {}).serve.port == load_config(None, {}).serve.port


# --- variables -----------------------------------------------------------------------------------

VARIABLES: Final = {
    "K2-misspelt": ("DRIFTLINE__TIME__PAIN", "5s", "PAIN"),
    "K2-into-a-class": ("DRIFTLINE__TIME____CLASS__", "x", "CLASS"),
    "K2-empty-part": ("DRIFTLINE__TIME__", "x", "DRIFTLINE__TIME__"),
    "K2-far-index": ("DRIFTLINE__INPUTS__999999999__TOPIC", "x", "INPUTS"),
    "K2-negative-index": ("DRIFTLINE__INPUTS__-1__TOPIC", "x", "INPUTS"),
    "K1-laughs-in-a-variable": ("DRIFTLINE__INPUTS", _LAUGHS, "anchor"),
    "K2-tag-in-a-variable": ("DRIFTLINE__TIME__PANE", "!!python/name:os.system", "duration"),
    "K2-nesting-in-a-variable": ("DRIFTLINE__INPUTS", "[" * 20_000, "nested deeper"),
    "K2-secret-is-not-repeated": ("DRIFTLINE__STORE__URL", "ftp://u:hush-hush@h", "URL"),
}


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_that_attacks_is_refused_by_its_name(name: str) -> None:
    variable, value, word = VARIABLES[name]
    began = time.process_time()
    with pytest.raises(ConfigError) as caught:
        load_config(None, {variable: value})
    assert time.process_time() - began < MOST_S
    assert word in str(caught.value)
    assert "hush-hush" not in str(caught.value)


# --- without the guard ---------------------------------------------------------------------------


def _nodes(value: Any, limit: int) -> int:
    """How many values a walk over what was read would visit, up to ``limit``."""
    count, waiting = 0, [value]
    while waiting and count < limit:
        count += 1
        each = waiting.pop()
        if isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return count


def test_without_our_reader_the_same_files_would_be_believed_or_explode() -> None:
    def plain(name: str) -> Any:
        return yaml.safe_load(ATTACKS[name].data)

    assert _nodes(plain("K1-billion-laughs"), 1_000_000) == 1_000_000
    assert plain("K2-duplicate-key") == {"time": {}, "serve": {}}
    assert plain("K2-on-for-true") == {"summarize": {"compiled": True}}
    assert plain("K2-octal") == {"serve": {"port": 0o123}}
    assert plain("K2-sexagesimal") == {"serve": {"port": 90}}
    assert plain("K2-merge-key") == {"time": {"pane": "5s"}}
    with pytest.raises(RecursionError):
        plain("K2-nesting")
