"""Patterns with `*` and `?`, and networks, as OpenSSH's files have them (ssh_config(5), PATTERNS).

Rule: matching takes a step for each byte of the pattern and of the text, whatever they are: users
write patterns, and peers the texts. A pattern never becomes a regular expression. What is too long,
or is not the form it claims to be, matches nothing, and in a list makes the whole list match
nothing.

A pattern list is patterns joined by commas; one that begins with `!` excludes what it matches, and
such an exclusion beats every match.
"""

from __future__ import annotations

import ipaddress

MAX_PATTERN_LENGTH = 1024
"""Longest single pattern, and longest text that is matched, in bytes (ours)."""

MAX_PATTERNS = 256
"""Most patterns of one list (ours)."""

_ADDRESS_BYTES = frozenset(b"0123456789abcdefABCDEF.:*?/")
"""What a pattern of an address, or a network, is made of."""

_STAR = ord("*")
_ANY = ord("?")


def matchPattern(pattern: bytes, text: bytes) -> bool:
    """Whether all of `text` is as `pattern` says: `*` any bytes or none, `?` exactly one.

    All that the pattern could have taken so far is followed at once, a bit for each place in it:
    a step for each byte of the text, however many stars there are.
    """
    if len(pattern) > MAX_PATTERN_LENGTH or len(text) > MAX_PATTERN_LENGTH:
        return False
    if _STAR not in pattern and _ANY not in pattern:
        return pattern == text
    # Bit n stands for the n-th byte to be matched, stars aside; where a star stands before it, the
    # place stays open whatever comes.
    place = 1
    stays = 0
    anything = 0
    places: dict[int, int] = {}
    for byte in pattern:
        if byte == _STAR:
            stays |= place
            continue
        if byte == _ANY:
            anything |= place
        else:
            places[byte] = places.get(byte, 0) | place
        place <<= 1
    reached = 1
    for byte in text:
        reached = (reached & (places.get(byte, 0) | anything)) << 1 | reached & stays
        if not reached:
            return False
    return bool(reached & place)


def matchPatternList(patterns: bytes, text: bytes) -> bool:
    """Whether `text` matches a pattern of the list and none of those that begin with `!`."""
    items = patterns.split(b",")
    if len(items) > MAX_PATTERNS:
        return False
    found = False
    for item in items:
        if item.startswith(b"!"):
            if len(item) > MAX_PATTERN_LENGTH or matchPattern(item[1:], text):
                return False
        elif item and matchPattern(item, text):
            found = True
    return found


def matchAddressList(patterns: bytes, address: str) -> bool:
    """Whether `address` matches a list of patterns and networks and none of those after a `!`.

    Args:
        patterns: A pattern list whose items may also be networks, `192.0.2.0/24`, `2001:db8::/32`.
            The name of a host matches nothing; where one is excluded, nothing matches the list.
        address: A numeric IPv4 or IPv6 address; anything else matches nothing, not even `*`. An
            IPv4 address in IPv6's clothes (`::ffff:192.0.2.1`) counts as the IPv4 address.
    """
    parsed = parseAddress(address)
    if parsed is None:
        return False
    text = str(parsed).encode("ascii")
    items = patterns.split(b",")
    if len(items) > MAX_PATTERNS:
        return False
    found = False
    for item in items:
        excludes = item.startswith(b"!")
        body = item[1:] if excludes else item
        if not body or len(body) > MAX_PATTERN_LENGTH:
            return False
        if excludes and not _ADDRESS_BYTES.issuperset(body):
            # A host's name: whether it is this one cannot be known, so nobody is let in.
            return False
        if b"/" in body:
            network = _network(body)
            if network is None:
                return False
            hit = parsed.version == network.version and parsed in network
        else:
            hit = matchPattern(body.lower(), text) or _sameAddress(body, parsed)
        if hit and excludes:
            return False
        found = found or hit
    return found


def canonicalNetwork(text: str) -> str:
    """A network, or an address as the network of itself, in the form that lists are matched by.

    Args:
        text: Also with a mask, 10.0.0.0/255.0.0.0; what is IPv4 in IPv6's clothes is IPv4.

    Raises:
        ValueError: It is none.
    """
    network = ipaddress.ip_network(text)
    first, length = network.network_address, network.prefixlen
    mapped = getattr(first, "ipv4_mapped", None)
    if mapped is not None and length >= 96:
        first, length = mapped, length - 96
    return f"{str(first).partition('%')[0]}/{length}"


def parseAddress(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The numeric address in `address`, without its scope; None where there is none."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed


def plainAddress(address: str) -> str:
    """`address`; the IPv4 address, where it is one in IPv6's clothes."""
    parsed = parseAddress(address) if address.startswith("::") else None
    return str(parsed) if parsed is not None and parsed.version == 4 else address


def _network(text: bytes) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    if not text.isascii():
        return None
    address, _, prefix = text.decode("ascii").partition("/")
    if not (prefix.isdigit() and len(prefix) <= 3):
        return None
    try:
        # Strict: 192.0.2.1/24 is more likely a slip than a network, and OpenSSH refuses it too.
        return ipaddress.ip_network(f"{address}/{prefix}", strict=True)
    except ValueError:
        return None


def _sameAddress(text: bytes, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether `text` is another way to write `address`."""
    return text.isascii() and parseAddress(text.decode("ascii")) == address
