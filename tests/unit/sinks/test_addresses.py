"""Which URLs and addresses may be called."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from sinks.addresses import AllowList, UrlError, parse_allow_list, parse_url, permitted
from sinks.egress import (
    EgressSettings,
)

NOTHING = AllowList(frozenset(), ())


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "host", "host:", ":80", "host:0", "a b:80"])
def test_the_allow_list_says_which_entry_is_wrong(entry: str) -> None:
    with pytest.raises(ValueError, match="allow_private"):
        EgressSettings(allow_private=(entry,))


def test_a_listed_network_opens_its_addresses_only() -> None:
    allowed = parse_allow_list(("10.1.0.0/16",))
    target = parse_url("http://deployer.internal/", allowed)
    from_text = parse_url("http://10.1.2.3/", allowed).address
    assert from_text is not None
    assert permitted(target, from_text, allowed)
    with pytest.raises(UrlError):
        parse_url("http://10.2.0.1/", allowed)
    with pytest.raises(UrlError):
        parse_url("https://10.1.2.3/", NOTHING)


def test_a_wrapped_address_is_judged_by_what_it_wraps() -> None:
    target = parse_url("https://deployer.example/", NOTHING)
    listed = parse_allow_list(("10.0.0.0/8",))
    public = [ip_address(text) for text in ("::ffff:93.184.215.14", "64:ff9b::5db8:d70e")]
    inside = [ip_address(text) for text in ("::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::")]
    assert all(permitted(target, address, NOTHING) for address in public)
    assert not any(permitted(target, address, NOTHING) for address in inside)
    assert permitted(target, inside[0], listed)
