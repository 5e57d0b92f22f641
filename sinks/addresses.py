"""Which addresses an outgoing call may reach, and which URLs are worth resolving at all.

Public unicast addresses are allowed. Everything else needs an entry in the list of the operator:
``host:port`` (a name or an address), or a network such as ``10.0.0.0/8``. A listed *name* opens
loopback and private networks only; link-local, metadata, multicast and unspecified addresses must
be listed as addresses, so that nobody reaches them by answering a DNS query.

Sources: the IANA special-purpose address registries (through the ``ipaddress`` module), RFC 6052
(NAT64), RFC 3056 (6to4), RFC 4380 (Teredo), the host rules of the WHATWG URL standard.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL_CHARS = 3000

_URL = re.compile(r"[!-\[\]-~]+")  # printable ASCII without space and backslash
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE)
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)", re.IGNORECASE)
_NAT64 = ip_network("64:ff9b::/96")
_V4_COMPATIBLE = ip_network("::/96")
# Ranges that ``is_global`` calls global in some Python version, but that are no place for a call:
# a cloud's host agent on a public address, 6to4 relays, reserved and site-local space.
_NEVER_PUBLIC: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "168.63.129.16/32",
        "192.88.99.0/24",
        "192.0.0.0/24",
        "198.18.0.0/15",
        "240.0.0.0/4",
        "0.0.0.0/8",
        "100.64.0.0/10",
        "fec0::/10",
        "fc00::/7",
        "100::/64",
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
    )
)


class UrlError(ValueError):
    """A URL that is not called, whatever it resolves to. The text never quotes the URL."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, taken apart. ``host`` is in lower case, without brackets and without a last dot."""

    scheme: str
    host: str
    port: int
    path: str
    address: Address | None
    """The host, if it is an address and not a name."""

    @property
    def authority(self) -> str:
        """The value of the Host header, and what logs may show."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return host if self.port == default else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class AllowList:
    """What the operator opened: names and addresses with a port, and networks."""

    hosts: frozenset[tuple[str, int]]
    networks: tuple[Network, ...]

    def names(self, target: Target) -> bool:
        """True if ``host:port`` of the target is listed as it is written."""
        return (target.host, target.port) in self.hosts

    def holds(self, address: Address, port: int) -> bool:
        """True if the address itself is listed, alone or within a network."""
        return (str(address), port) in self.hosts or any(
            address in network for network in self.networks if network.version == address.version
        )


def parse_allow_list(entries: tuple[str, ...]) -> AllowList:
    """Read the operator's list. Raises ValueError that names the entry and what it should be."""
    hosts: set[tuple[str, int]] = set()
    networks: list[Network] = []
    for entry in entries:
        if "/" in entry:
            try:
                networks.append(ip_network(entry))
            except ValueError:
                raise ValueError(
                    f"allow_private: {entry!r} is no network; write for example 10.0.0.0/8"
                ) from None
            continue
        host, _, port = entry.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(
                f"allow_private: {entry!r} needs a host and a port, for example "
                "deployer.internal:8080 or [::1]:8080, or a network such as 10.0.0.0/8"
            )
        try:
            canonical, _ = _host(host.removeprefix("[").removesuffix("]"))
        except UrlError as error:
            raise ValueError(f"allow_private: {entry!r}: {error}") from None
        hosts.add((canonical, int(port)))
    return AllowList(frozenset(hosts), tuple(networks))


def parse_url(url: str, allowed: AllowList) -> Target:
    """Take a URL apart and refuse what can be refused without a resolver.

    Refused are: other schemes than https and http, credentials, fragments, hosts in odd
    spellings, localhost and addresses that are not allowed, reserved ports, and http to a host
    that is not listed (a network in the list is judged after resolving, see `permitted`).
    """
    if len(url) > MAX_URL_CHARS or not _URL.fullmatch(url):
        raise UrlError(
            "the URL is empty, too long, or has spaces, backslashes or non-ASCII characters"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UrlError("the URL cannot be parsed: check its host and port") from None
    if parts.scheme not in ("https", "http"):
        raise UrlError("only https is called (and http where the host is listed)")
    if "@" in parts.netloc:
        raise UrlError("the URL holds credentials; put secrets into a file or the environment")
    if parts.fragment:
        raise UrlError("the URL has a fragment (#...); remove it")
    host, address = _host(parts.hostname or "")
    port = port if port is not None else (443 if parts.scheme == "https" else 80)
    path = parts.path or "/"
    target = Target(
        parts.scheme, host, port, f"{path}?{parts.query}" if parts.query else path, address
    )
    if allowed.names(target):
        return target
    if host == "localhost" or host.endswith(".localhost"):
        raise UrlError(
            f"{target.authority} is this machine; list it in egress.allow_private to call it"
        )
    if port == 0 or (port < 1024 and port not in (80, 443)):
        raise UrlError(
            f"port {port} is reserved; use another, or list host:port in egress.allow_private"
        )
    if address is not None and not permitted(target, address, allowed):
        raise UrlError(
            f"{target.authority} is not public; list it in egress.allow_private to call it"
        )
    if target.scheme == "http" and not allowed.networks:
        raise UrlError(
            f"{target.authority} is called without TLS; use https, or list host:port in"
            " egress.allow_private"
        )
    return target


def permitted(target: Target, address: Address, allowed: AllowList) -> bool:
    """True if ``target`` may be called at ``address``, which it resolved to."""
    faces = _faces(address)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    if allowed.holds(mapped or address, target.port):
        return True
    named = allowed.names(target)
    if named and all(_loopback_or_private(face) for face in faces):
        return True
    if target.scheme == "http" and not named:
        return False
    return all(_public(face) for face in faces)


def _host(text: str) -> tuple[str, Address | None]:
    """The host in one spelling, and the address it is, if any."""
    host = text.lower().removesuffix(".")
    if not host or len(host) > 253:
        raise UrlError("the URL has no host, or one that is too long")
    if "%" in host:
        raise UrlError("the host has an escape or a zone; write it plainly")
    if ":" in host:
        try:
            v6 = IPv6Address(host)
        except ValueError:
            raise UrlError("the host is no IPv6 address") from None
        return str(v6), v6
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # Resolvers read 2130706433, 0x7f.1 and 017700000001 as addresses: only one spelling is
        # accepted, so that a reader sees where a call goes.
        try:
            v4 = IPv4Address(host)
        except ValueError:
            raise UrlError("the host is a number in an odd spelling; write a.b.c.d") from None
        return str(v4), v4
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlError("the host is no DNS name; write other scripts as xn--...")
    return host, None


def _faces(address: Address) -> tuple[Address, ...]:
    """The address and the IPv4 addresses in it; only those where it is mapped or translated."""
    if isinstance(address, IPv4Address):
        return (address,)
    mapped = address.ipv4_mapped
    if mapped is not None:
        return (mapped,)
    if address.sixtofour is not None:
        return address, address.sixtofour
    if address.teredo is not None:
        return address, *address.teredo
    if address in _V4_COMPATIBLE and int(address) > 1:
        return address, IPv4Address(int(address))
    if address in _NAT64:
        # In a network with IPv6 only, this is how the public IPv4 internet is reached.
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    return (address,)


def _public(address: Address) -> bool:
    if any(address in network for network in _NEVER_PUBLIC if network.version == address.version):
        return False
    return address.is_global and not (
        address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or address.is_loopback
        or address.is_link_local
    )


def _loopback_or_private(address: Address) -> bool:
    """What a listed name opens: this machine and the operator's networks, and public addresses."""
    if address.is_loopback or _public(address):
        return True
    carrier = IPv4Network("100.64.0.0/10")
    inside = address.is_private or (isinstance(address, IPv4Address) and address in carrier)
    # IPv6 metadata services live in unique local space under well-known addresses.
    well_known = address in (ip_address("fd00:ec2::254"), ip_address("100.100.100.200"))
    return (
        inside
        and not well_known
        and not (
            address.is_link_local
            or address.is_multicast
            or address.is_unspecified
            or address.is_reserved
            or (isinstance(address, IPv4Address) and address in IPv4Network("0.0.0.0/8"))
        )
    )
