"""Jump hosts: each host on the way is judged by its own name, and all go down together (K6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet import defer
from twisted.internet.address import IPv4Address
from zope.interface import implementer

from limpet.client.config import loadClientConfig
from limpet.client.connecting import connect
from limpet.client.errors import ClientError, ConnectFailed, HandshakeFailed, HostKeyRefused
from limpet.client.interaction import IUserInterface
from limpet.ssh.channel import SSHChannel
from limpet.ssh.keys import Key
from limpet.testing import MemoryNetwork
from limpet.wire.fields import Reader
from limpet.wire.numbers import MSG_CHANNEL_CLOSE
from tests.pair.stack import UserAuth, makeFactory

OUTER_KEY = Key.generate("ed25519")
INNER_KEY = Key.generate("ed25519")


def serverWith(key: Key) -> Any:
    factory = makeFactory()
    factory.privateKeys = {b"ssh-ed25519": key}
    factory.publicKeys = {b"ssh-ed25519": key.public()}
    return factory.buildProtocol(None)


class Bridge(SSHChannel):
    """A direct-tcpip channel of the outer server's that leads to a server in this process.

    Attributes:
        inner: Makes the server that answers.
    """

    name = b"direct-tcpip"
    inner: Any = None
    made: list[Bridge] = []

    def channelOpen(self, specificData: bytes) -> None:
        reader = Reader(specificData)
        self.destination = (reader.string(), reader.u32())
        self.made.append(self)
        self.server = type(self).inner()
        self.server.makeConnection(self)

    def dataReceived(self, data: bytes) -> None:
        self.server.dataReceived(data)

    def getPeer(self) -> Any:
        return IPv4Address("TCP", "192.0.2.7", 1)

    getHost = getPeer


class Silent:
    """Takes the connection and says nothing."""

    def makeConnection(self, transport: Any) -> None:
        transport.write(b"SSH-2.0-x\r\n")

    def dataReceived(self, data: bytes) -> None:
        """It says nothing."""


@implementer(IUserInterface)
class Typist:
    """Types the right password whenever it is asked for one."""

    def prompt(self, text: bytes) -> Any:
        raise AssertionError("nothing is to be judged by a person")

    def warn(self, text: bytes) -> None:
        """Nothing to tell."""

    show = warn

    def ask(self, prompt: bytes, echo: bool) -> Any:
        return defer.succeed(UserAuth.password)


class Way:
    """A login at "inner" by way of "outer"."""

    def __init__(self, tmp_path: Path, known: dict[str, Key], inner: Any, more: str = "") -> None:
        file = tmp_path / "known_hosts"
        file.write_bytes(
            b"".join(
                name.encode() + b" " + key.public().toString("OPENSSH") + b"\n"
                for name, key in known.items()
            )
        )
        config = tmp_path / "config"
        config.write_text(
            f"Host *\n User alice\n UserKnownHostsFile {file}\n GlobalKnownHostsFile /dev/null\n"
            " StrictHostKeyChecking yes\n IdentityAgent none\n IdentityFile /nonexistent\n"
            f"Host inner\n ProxyJump outer\n{more}"
        )
        self.bridges: list[Bridge] = []
        self.outer = serverWith(OUTER_KEY)
        bridges = self.bridges

        class Made(Bridge):
            made = bridges

        Made.inner = inner
        realm = self.outer.factory.portal.realm
        make = realm.requestAvatar

        def requestAvatar(*arguments: Any) -> Any:
            interface, avatar, logout = make(*arguments)
            if inner is None:
                return interface, avatar, logout
            avatar.channelLookup[b"direct-tcpip"] = lambda **keywords: Made(
                remoteWindow=keywords["remoteWindow"],
                remoteMaxPacket=keywords["remoteMaxPacket"],
                conn=avatar.conn,
            )
            return interface, avatar, logout

        realm.requestAvatar = requestAvatar
        self.reactor = MemoryNetwork(lambda host, port: self.outer)
        self.outcomes: list[Any] = []
        connecting = connect(
            self.reactor,
            loadClientConfig("inner", files=[config]),
            Typist(),
        )
        connecting.addCallbacks(self.outcomes.append, self.failed)
        self.run()

    def failed(self, reason: Any) -> None:
        self.outcomes.append(reason.value)

    def run(self) -> None:
        for _ in range(20):
            self.reactor.settle()
            self.reactor.advance(0.5)
        self.reactor.settle()

    @property
    def outcome(self) -> Any:
        (outcome,) = self.outcomes
        return outcome


def test_K6_the_way_through(tmp_path: Path) -> None:
    way = Way(tmp_path, {"outer": OUTER_KEY, "inner": INNER_KEY}, lambda: serverWith(INNER_KEY))
    assert way.outcome.via is not None
    assert way.bridges[0].destination == (b"inner", 22)
    way.outcome.close()
    way.run()
    assert way.reactor.pairs[0].ended
    assert not way.reactor.getDelayedCalls()


def test_K6_the_outer_server_answers_as_the_inner_one(tmp_path: Path) -> None:
    way = Way(tmp_path, {"outer": OUTER_KEY, "inner": INNER_KEY}, lambda: serverWith(OUTER_KEY))
    assert isinstance(way.outcome, HostKeyRefused)
    assert "inner" in str(way.outcome)
    assert way.reactor.pairs[0].ended


def test_K6_the_inner_key_is_not_judged_by_the_outer_name(tmp_path: Path) -> None:
    known = {"outer": OUTER_KEY, "other": INNER_KEY}
    way = Way(tmp_path, known, lambda: serverWith(OUTER_KEY))
    assert isinstance(way.outcome, HostKeyRefused)
    assert "inner" in str(way.outcome)


def test_K6_a_strange_outer_server_carries_nothing(tmp_path: Path) -> None:
    known = {"outer": INNER_KEY, "inner": INNER_KEY}
    way = Way(tmp_path, known, lambda: serverWith(INNER_KEY))
    assert isinstance(way.outcome, HostKeyRefused)
    assert str(way.outcome).startswith("jump host outer: ")
    assert way.outcome.jump == "outer"
    assert not way.bridges


@pytest.mark.parametrize("how", ["cut", "close", "disconnect"])
def test_K6_the_outer_server_closes_in_the_middle(tmp_path: Path, how: str) -> None:
    way = Way(tmp_path, {"outer": OUTER_KEY, "inner": INNER_KEY}, Silent)
    assert not way.outcomes
    if how == "cut":
        way.reactor.pairs[0].cut()
    elif how == "close":
        way.bridges[0].loseConnection()
    else:
        way.outer.sendDisconnect(11, b"bye")
    way.run()
    assert isinstance(way.outcome, HandshakeFailed)
    # The channel alone may be closed by either of them.
    assert way.outcome.jump == (None if how == "close" else "outer")
    assert ("jump host outer: " in str(way.outcome)) is (how != "close")
    assert way.reactor.pairs[0].ended
    assert not way.reactor.getDelayedCalls()


def test_K6_time_is_up_whatever_the_outer_server_does(tmp_path: Path) -> None:
    """One that answers no CLOSE does not make ConnectTimeout any longer."""

    known = {"outer": OUTER_KEY, "inner": INNER_KEY}
    way = Way(tmp_path, known, Silent, "Host inner\n ConnectTimeout 15\n")
    send = way.outer.sendPacket
    way.outer.sendPacket = lambda number, payload: (
        None if number == MSG_CHANNEL_CLOSE else send(number, payload)
    )
    assert not way.outcomes
    way.run()
    assert isinstance(way.outcome, HandshakeFailed)
    assert "ConnectTimeout" in str(way.outcome)
    assert way.reactor.pairs[0].ended


def test_K6_the_outer_server_refuses_to_connect(tmp_path: Path) -> None:
    class Refusing(Exception):
        """The inner host is not there."""

    def inner() -> Any:
        raise Refusing

    way = Way(tmp_path, {"outer": OUTER_KEY, "inner": INNER_KEY}, inner)
    assert isinstance(way.outcome, ClientError)
    assert way.reactor.pairs[0].ended


def test_K6_a_login_that_loses_its_way_says_so(tmp_path: Path) -> None:
    way = Way(tmp_path, {"outer": OUTER_KEY, "inner": INNER_KEY}, lambda: serverWith(INNER_KEY))
    client = way.outcome
    way.reactor.pairs[0].cut()
    way.run()
    assert str(client.whyClosed).startswith("jump host outer: ")
    assert client.whyClosed.jump == "outer"
    assert client.via.whyClosed is not None


def test_K6_a_jump_host_that_never_closes_the_way(tmp_path: Path) -> None:
    """The inner connection ends nevertheless, and takes the outer one along."""
    way = Way(tmp_path, {"outer": OUTER_KEY, "inner": INNER_KEY}, lambda: serverWith(INNER_KEY))
    client = way.outcome
    for name in ("ssh_CHANNEL_CLOSE", "ssh_CHANNEL_EOF", "ssh_CHANNEL_DATA"):
        setattr(way.outer.service, name, lambda packet: None)
    closed: list[Any] = []
    client.close().addCallback(closed.append)
    for _ in range(20):
        way.run()
    assert closed == [None]
    assert way.reactor.pairs[0].ended
    assert not way.reactor.getDelayedCalls()


def test_K6_a_jump_host_that_knows_no_forwarding(tmp_path: Path) -> None:
    way = Way(tmp_path, {"outer": OUTER_KEY, "inner": INNER_KEY}, None)
    assert isinstance(way.outcome, ConnectFailed)
    assert "inner port 22: the jump host outer does not connect to it" in str(way.outcome)
    assert way.outcome.jump is None
    assert way.reactor.pairs[0].ended
