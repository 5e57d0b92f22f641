"""The file of tokens: who may what."""

from __future__ import annotations

from pathlib import Path

import pytest

from sinks.grants import Scope, TokenFileError, read_grants
from tests.unit.sinks.operations_scene import (
    HOOK,
    OPERATOR,
    READER,
)


def test_the_token_file_gives_scopes_and_names(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"{READER}\n\n{OPERATOR} operate alice\n{HOOK} hook,read ci\n", "ascii")
    reader, operator, hook = read_grants(str(file))
    assert (reader.may(Scope.READ), reader.may(Scope.OPERATE)) == (True, False)
    assert (operator.may(Scope.READ), operator.may(Scope.HOOK)) == (True, False)
    assert (hook.scopes, hook.name) == (frozenset({Scope.HOOK, Scope.READ}), "ci")
    assert OPERATOR not in repr(operator)


@pytest.mark.parametrize(
    "text", [f"{HOOK} hook\n", f"{READER} admin\n", f"{READER} read a b\n", "short read\n", "\n"]
)
def test_a_token_file_that_would_open_the_door_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(text, "ascii")
    with pytest.raises(TokenFileError) as refused:
        read_grants(str(file))
    assert READER not in str(refused.value)
