"""SOCKS requests: the same for every way in which they arrive, and no surprise in any bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from limpet.core.destinations import Rule, faultOfHost, reachedAddress
from limpet.core.socks import MAX_REQUEST, SocksError, SocksNegotiation, Target

HOSTS = st.binary(min_size=1, max_size=255).filter(lambda host: b"\0" not in host)
PORTS = st.integers(0, 65535)


def negotiated(data: bytes, cuts: list[int]) -> tuple[bytes, Target | None, bytes]:
    negotiation = SocksNegotiation()
    answers, target = b"", None
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, stop in zip(edges, edges[1:], strict=False):
        if target is not None:
            negotiation.rest += data[start:stop]
            continue
        answer, target = negotiation.feed(data[start:stop])
        answers += answer
    return answers, target, negotiation.rest


@given(HOSTS, PORTS, st.binary(max_size=40), st.lists(st.integers(0, 1000), max_size=6))
def test_names_by_socks_5(host: bytes, port: int, rest: bytes, cuts: list[int]) -> None:
    data = b"\5\1\0" + b"\5\1\0\3" + bytes([len(host)]) + host + port.to_bytes(2, "big") + rest
    assert negotiated(data, cuts) == (b"\5\0", Target(host, port), rest)


@given(HOSTS, PORTS, HOSTS, st.binary(max_size=40), st.lists(st.integers(0, 1000), max_size=6))
def test_names_by_socks_4a(
    host: bytes, port: int, user: bytes, rest: bytes, cuts: list[int]
) -> None:
    data = b"\4\1" + port.to_bytes(2, "big") + b"\0\0\0\1" + user + b"\0" + host + b"\0" + rest
    assert negotiated(data, cuts) == (b"", Target(host, port), rest)


@given(st.lists(st.binary(max_size=300), max_size=12))
def test_any_bytes(pieces: list[bytes]) -> None:
    negotiation = SocksNegotiation()
    for piece in pieces:
        try:
            _, target = negotiation.feed(piece)
        except SocksError:
            return
        if target is not None:
            return
        assert len(negotiation.rest) <= MAX_REQUEST + 300


@given(st.text(max_size=60))
def test_any_rule(text: str) -> None:
    """A rule is one, or it says what is wrong; and one that is, judges anything."""
    try:
        rule = Rule.parse(text)
    except ValueError:
        return
    rule.matchesHost(b"example.org", "192.0.2.1")
    rule.matchesHost(b"::1", "::1")


@given(st.binary(max_size=300), st.integers(-5, 70000), st.text(max_size=40))
def test_any_host(host: bytes, port: int, address: str) -> None:
    fault = faultOfHost(host, port)
    assert fault is None or b"\n" not in fault.encode()
    reachedAddress(address)
