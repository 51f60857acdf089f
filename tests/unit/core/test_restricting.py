"""Tests of `limpet.core.restricting`."""

from __future__ import annotations

import pytest

from limpet.core.authorizedkeys import RESTRICTED, UNRESTRICTED, ForwardTarget, Restrictions
from limpet.core.restricting import (
    allowsChannel,
    allowsGlobalRequest,
    allowsRequest,
    forcedRequest,
)
from limpet.wire.fields import NS
from limpet.wire.requests import TcpForward, TcpListen

TARGET = TcpForward(b"db.example", 5432, b"::1", 1).encode()
LISTEN = TcpListen(b"localhost", 8080).encode()
OPEN = Restrictions(permitOpen=((ForwardTarget(b"db.example", 5432),),))
HEAR = Restrictions(permitListen=((ForwardTarget(b"localhost", 8080),),))
FORCED = Restrictions(forcedCommand=b"backup")


@pytest.mark.parametrize(
    ("restrictions", "kind", "data", "allowed"),
    [
        (UNRESTRICTED, b"direct-tcpip", TARGET, True),
        (UNRESTRICTED, b"direct-tcpip", b"", True),
        (RESTRICTED, b"direct-tcpip", TARGET, False),
        (OPEN, b"direct-tcpip", TARGET, True),
        (OPEN, b"direct-tcpip", TARGET + b"\0", False),
        (OPEN, b"direct-tcpip", TcpForward(b"db.example", 5433, b"", 0).encode(), False),
        (OPEN & RESTRICTED, b"direct-tcpip", TARGET, False),
        (UNRESTRICTED, b"direct-streamlocal@openssh.com", NS(b"/run/x"), True),
        (OPEN, b"direct-streamlocal@openssh.com", NS(b"/run/x"), False),
        (RESTRICTED, b"tun@openssh.com", b"", False),
        (RESTRICTED, b"session", b"", True),
        (FORCED, b"session", b"", True),
    ],
)
def test_channels(restrictions: Restrictions, kind: bytes, data: bytes, allowed: bool) -> None:
    assert allowsChannel(restrictions, kind, data) is allowed


@pytest.mark.parametrize(
    ("restrictions", "name", "data", "allowed"),
    [
        (UNRESTRICTED, b"tcpip-forward", LISTEN, True),
        (RESTRICTED, b"tcpip-forward", LISTEN, False),
        (HEAR, b"tcpip-forward", LISTEN, True),
        (HEAR, b"tcpip-forward", LISTEN[:-1], False),
        (HEAR, b"tcpip-forward", TcpListen(b"", 8080).encode(), False),
        (HEAR, b"streamlocal-forward@openssh.com", NS(b"/run/x"), False),
        (RESTRICTED, b"cancel-tcpip-forward", LISTEN, True),
        (RESTRICTED, b"keepalive@openssh.com", b"", True),
    ],
)
def test_globalRequests(
    restrictions: Restrictions, name: bytes, data: bytes, allowed: bool
) -> None:
    assert allowsGlobalRequest(restrictions, name, data) is allowed


def test_requestsOnChannels() -> None:
    names = (b"pty-req", b"x11-req", b"auth-agent-req@openssh.com", b"env", b"signal", b"shell")
    assert all(allowsRequest(UNRESTRICTED, name) for name in names)
    assert [allowsRequest(RESTRICTED, name) for name in names] == [False] * 3 + [True] * 3


def test_forcedCommands() -> None:
    assert forcedRequest(UNRESTRICTED, b"exec", NS(b"ls")) == (b"exec", NS(b"ls"))
    assert forcedRequest(FORCED, b"exec", NS(b"ls")) == (b"exec", NS(b"backup"))
    assert forcedRequest(FORCED, b"shell", b"") == (b"exec", NS(b"backup"))
    assert forcedRequest(FORCED, b"subsystem", NS(b"sftp")) is None
    assert forcedRequest(FORCED, b"env", b"x") == (b"env", b"x")
