"""Laws of the configuration's readers."""

from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st

from streams.config import ConfigError, build_config
from streams.durations import format_duration, parse_duration
from streams.yaml_file import Fields, Items, Node, Scalar, YamlError, parse_node, parse_yaml

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
TREES = st.recursive(
    TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def plain(node: Node) -> object:
    match node:
        case Scalar():
            return node.text
        case Items():
            return [plain(item) for item in node.items]
        case Fields():
            return {key: plain(child) for key, child in node.fields.items()}


@given(st.integers(0, 100 * 365 * 86_400_000))
def test_a_duration_that_is_written_is_read_back(ms: int) -> None:
    assert parse_duration(format_duration(ms)) == ms


@given(TREES)
def test_a_tree_that_is_written_is_read_back(tree: object) -> None:
    text = yaml.safe_dump(tree, default_style='"', allow_unicode=True)
    assert plain(parse_node(text.encode(), "f")) == tree


def refused(data: bytes) -> str:
    """Why bytes are no configuration, "" if they are one. Any other error is a bug."""
    try:
        build_config(parse_yaml(data, "f"), {})
    except (YamlError, ConfigError) as error:
        return str(error) or "no reason"
    return ""


@given(st.binary(max_size=200))
def test_any_bytes_are_a_configuration_or_are_refused_in_words(data: bytes) -> None:
    assert refused(data) != "no reason"


@given(st.text(alphabet="{}[]:,-#&*!|>'\"%@` \n\tab01.~?", max_size=80))
def test_any_punctuation_is_a_configuration_or_is_refused_in_words(text: str) -> None:
    assert refused(text.encode()) != "no reason"
