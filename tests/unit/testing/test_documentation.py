"""The tests that docs/testing.md shows, run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import error
from twisted.python.failure import Failure
from zope.interface import implementer

from limpet.avatar import ConchUser
from limpet.interfaces import IConchUser, ISession
from limpet.ssh.factory import SSHFactory
from limpet.ssh.keys import Key
from limpet.ssh.session import SSHSession

PAGE = Path(__file__).parents[3] / "docs" / "testing.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
ROOMS = {b"look": b"A small room.\n", b"north": b"A long corridor.\r\n"}


class Game:
    """The program of a session; to its protocol it is the transport."""

    def __init__(self, proto: Any) -> None:
        self.proto = proto
        self.line = bytearray()

    def write(self, data: bytes) -> None:
        self.line += data
        while b"\r" in self.line:
            command, _, self.line = self.line.partition(b"\r")
            self.proto.outReceived(ROOMS[bytes(command)])

    def loseConnection(self) -> None:
        """The player is gone."""


@implementer(ISession)
class Player(ConchUser):
    def __init__(self) -> None:
        super().__init__()
        self.channelLookup[b"session"] = SSHSession

    def openShell(self, proto: Any) -> None:
        proto.makeConnection(Game(proto))

    def execCommand(self, proto: Any, command: bytes) -> None:
        self.openShell(proto)
        proto.outReceived(ROOMS[command])
        proto.processEnded(Failure(error.ProcessDone(0)))

    def getPty(self, *ignored: Any) -> None:
        """It plays on any terminal."""

    def windowChanged(self, *ignored: Any) -> None:
        """And at any size."""

    def eofReceived(self) -> None:
        """It has heard enough."""

    def closed(self) -> None:
        """It is over."""


@implementer(IRealm)
class Realm:
    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        return IConchUser, Player(), lambda: None


def makeFactory() -> SSHFactory:
    factory = SSHFactory()
    key = Key.generate("ed25519")
    factory.privateKeys = {key.sshType(): key}
    factory.publicKeys = {key.sshType(): key.public()}
    users = InMemoryUsernamePasswordDatabaseDontUse(alice=b"secret")
    factory.portal = Portal(Realm(), [users])
    return factory


@pytest.mark.parametrize("example", EXAMPLES)
def test_theExamples(example: str) -> None:
    names: dict[str, Any] = {"makeFactory": makeFactory}
    exec(compile(example, str(PAGE), "exec"), names)
    (test,) = (value for name, value in names.items() if name.startswith("test_"))
    test()


def test_thereAreExamples() -> None:
    assert len(EXAMPLES) == 2
