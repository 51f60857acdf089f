"""attacks.md, G12 and E9: what a key forbids is forbidden to every application's avatar.

The avatar here is one that has never heard of restrictions, as every avatar that was written for
Conch, and gives whatever it is asked for.
"""

from __future__ import annotations

import struct
from typing import Any

import pytest
from twisted.cred.portal import IRealm, Portal
from zope.interface import implementer

from limpet.checkers import InMemorySSHKeyDB, SSHPublicKeyChecker
from limpet.core.authorizedkeys import AuthorizedKey, parseLine
from limpet.interfaces import IConchUser
from limpet.ssh.channel import SSHChannel
from limpet.ssh.keys import Key
from limpet.ssh.session import SSHSession
from limpet.wire import numbers as n
from limpet.wire.fields import NS, u32
from tests.pair.attacker import Attacker
from tests.pair.stack import Avatar, makeFactory

KEY = Key.generate("ed25519")
PTY = NS(b"xterm") + struct.pack(">4L", 80, 24, 0, 0) + NS(b"")
X11 = b"\0" + NS(b"MIT-MAGIC-COOKIE-1") + NS(b"00") + u32(0)


class Session(SSHSession):
    """A session of an application that forwards agents and displays."""

    def request_x11_req(self, data: bytes) -> int:
        return 1

    def request_auth_agent_req_openssh_com(self, data: bytes) -> int:
        return 1

    def requestReceived(self, requestType: bytes, data: bytes) -> Any:
        if requestType == b"auth-agent-req@openssh.com":
            return 1
        return super().requestReceived(requestType, data)


class Generous(Avatar):
    """Somebody who may do everything, for all the avatar knows."""

    def __init__(self, username: bytes) -> None:
        super().__init__(username)
        self.subsystems: list[bytes] = []
        self.channelLookup[b"session"] = Session
        for kind in (b"direct-tcpip", b"direct-streamlocal@openssh.com", b"tun@openssh.com"):
            self.channelLookup[kind] = SSHChannel

    def lookupSubsystem(self, subsystem: bytes, data: bytes) -> Any:
        self.subsystems.append(subsystem)
        return None

    def gotGlobalRequest(self, requestType: bytes, data: bytes) -> Any:
        return 1


@implementer(IRealm)
class Realm:
    def __init__(self) -> None:
        self.avatars: list[Generous] = []

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        avatar = Generous(avatarId)
        self.avatars.append(avatar)
        return IConchUser, avatar, lambda: None


def loggedIn(options: str) -> Attacker:
    """Alice, logged in by a key with these options."""
    line = KEY.public().toString("OPENSSH")
    entry = parseLine(options.encode() + b" " + line if options else line)
    assert isinstance(entry, AuthorizedKey)
    factory = makeFactory()
    factory.portal = Portal(Realm(), [SSHPublicKeyChecker(InMemorySSHKeyDB({b"alice": [entry]}))])
    attacker = Attacker(factory)
    attacker.service()
    attacker.publicKey(KEY)
    attacker.pump()
    assert attacker.numbers()[-1] == n.MSG_USERAUTH_SUCCESS
    attacker.open()
    attacker.pump()
    attacker.client.heard.clear()
    return attacker


FORBIDDEN = {
    "pty": {"restrict", "no-pty", "restrict,pty,no-pty"},
    "x11": {"restrict", "no-X11-forwarding"},
    "agent": {"restrict", "no-agent-forwarding", "restrict,pty"},
    "tcp": {"restrict", "no-port-forwarding", 'permitopen="192.0.2.1:80"'},
    "unix": {"restrict", "no-port-forwarding", 'permitopen="192.0.2.1:80"'},
    "tunnel": {"restrict", "no-port-forwarding"},
    "listen": {"restrict", "no-port-forwarding", 'permitlisten="8080"'},
    "listenUnix": {"restrict", "no-port-forwarding", 'permitlisten="8080"'},
    "subsystem": {'command="x"', 'restrict,command="x"'},
}


def tries(attacker: Attacker, what: str) -> bool:
    """Whether it is granted."""
    if what == "pty":
        attacker.ask(0, b"pty-req", PTY)
    elif what == "x11":
        attacker.ask(0, b"x11-req", X11)
    elif what == "agent":
        attacker.ask(0, b"auth-agent-req@openssh.com")
    elif what == "subsystem":
        attacker.ask(0, b"subsystem", NS(b"sftp"))
        attacker.pump()
        return bool(attacker.avatars[0].subsystems)
    elif what == "tcp":
        attacker.open(b"direct-tcpip", 1, extra=NS(b"10.0.0.1") + u32(22) + NS(b"x") + u32(1))
    elif what == "unix":
        attacker.open(b"direct-streamlocal@openssh.com", 1, extra=NS(b"/run/x") + NS(b"") + u32(0))
    elif what == "tunnel":
        attacker.open(b"tun@openssh.com", 1, extra=u32(1) + u32(0))
    elif what == "listen":
        attacker.send(n.MSG_GLOBAL_REQUEST, NS(b"tcpip-forward") + b"\1" + NS(b"") + u32(9090))
    else:
        assert what == "listenUnix"
        attacker.send(
            n.MSG_GLOBAL_REQUEST, NS(b"streamlocal-forward@openssh.com") + b"\1" + NS(b"/run/x")
        )
    attacker.pump()
    return attacker.numbers()[-1] in (
        n.MSG_CHANNEL_SUCCESS,
        n.MSG_CHANNEL_OPEN_CONFIRMATION,
        n.MSG_REQUEST_SUCCESS,
    )


@pytest.mark.parametrize("what", FORBIDDEN)
def test_G12_withoutOptionsTheAvatarDecides(what: str) -> None:
    assert tries(loggedIn(""), what)


@pytest.mark.parametrize(
    ("what", "options"),
    [(what, options) for what, several in FORBIDDEN.items() for options in sorted(several)],
)
def test_G12_whatTheKeyForbidsIsDenied(what: str, options: str) -> None:
    assert not tries(loggedIn(options), what)


@pytest.mark.parametrize(
    ("what", "options"),
    [
        ("pty", "restrict,pty"),
        ("x11", "restrict,X11-forwarding"),
        ("agent", "restrict,agent-forwarding"),
        ("tcp", "restrict,port-forwarding"),
        ("tcp", 'permitopen="10.0.0.1:22"'),
        ("listen", 'permitlisten="9090"'),
        ("subsystem", "restrict"),
    ],
)
def test_G12_whatTheKeyAllowsIsAllowed(what: str, options: str) -> None:
    assert tries(loggedIn(options), what)


@pytest.mark.parametrize("options", ['command="exit 3"', 'restrict,command="exit 3"'])
@pytest.mark.parametrize("how", [b"shell", b"exec"])
def test_E9_forcedCommandRunsInstead(options: str, how: bytes) -> None:
    attacker = loggedIn(options)
    attacker.ask(0, how, NS(b"echo") if how == b"exec" else b"")
    attacker.pump()
    assert [program.command for program in attacker.avatars[0].programs] == [b"exit 3"]


@pytest.mark.parametrize("extra", [b"", NS(b"10.0.0.1"), NS(b"10.0.0.1") + u32(22 + 65536) * 2])
def test_G12_targetThatDoesNotParseIsDenied(extra: bytes) -> None:
    attacker = loggedIn('permitopen="10.0.0.1:*"')
    attacker.open(b"direct-tcpip", 1, extra=extra)
    attacker.pump()
    assert attacker.numbers()[-1] == n.MSG_CHANNEL_OPEN_FAILURE
