"""What forwarding's messages carry, under the names that Conch documents (RFC 4254 section 7).

Rule: a host is bytes on the wire and str here; one that is not UTF-8 keeps its bytes as surrogates,
and `pack` gives them back.
"""

from __future__ import annotations

from typing import TypeAlias

from limpet.wire.requests import TcpForward, TcpListen

HostPort: TypeAlias = tuple[str, int]


def packOpen_direct_tcpip(
    destination: tuple[str | bytes, int], source: tuple[str | bytes, int]
) -> bytes:
    """What opens a direct-tcpip channel.

    Args:
        destination: Host and port to connect to.
        source: Host and port that the connection comes from.
    """
    return TcpForward(
        hostBytes(destination[0]), destination[1], hostBytes(source[0]), source[1]
    ).encode()


packOpen_forwarded_tcpip = packOpen_direct_tcpip


def unpackOpen_direct_tcpip(data: bytes) -> tuple[HostPort, HostPort]:
    """The destination and the source in what opens a direct-tcpip channel.

    Raises:
        WireError: It is not such data.
    """
    body = TcpForward.decode(data)
    return (hostText(body.host), body.port), (hostText(body.originHost), body.originPort)


unpackOpen_forwarded_tcpip = unpackOpen_direct_tcpip


def packGlobal_tcpip_forward(peer: tuple[str | bytes, int]) -> bytes:
    """What a request for listening, or for its end, carries: the address and the port."""
    return TcpListen(hostBytes(peer[0]), peer[1]).encode()


def unpackGlobal_tcpip_forward(data: bytes) -> HostPort:
    """The address and the port of a request for listening, or for its end.

    Raises:
        WireError: It is not such data.
    """
    body = TcpListen.decode(data)
    return hostText(body.address), body.port


def hostBytes(host: str | bytes) -> bytes:
    """A host as on the wire."""
    return host.encode("utf-8", "surrogateescape") if isinstance(host, str) else host


def hostText(host: bytes) -> str:
    """A host as text."""
    return host.decode("utf-8", "surrogateescape")
