"""A whole login in memory: client and server with authentication, connection and sessions.

The server's programs are small and deterministic, so that a test can say to the byte what has to
arrive: `echo` returns its input, `both N` writes N bytes to each output, `exit N` ends with N.
"""

from __future__ import annotations

import hashlib
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import defer, error
from twisted.python.failure import Failure
from zope.interface import implementer

from limpet.avatar import ConchUser
from limpet.interfaces import IConchUser, ISession
from limpet.ssh.channel import SSHChannel
from limpet.ssh.connection import SSHConnection
from limpet.ssh.factory import SSHFactory
from limpet.ssh.keys import Key
from limpet.ssh.session import SSHSession
from limpet.ssh.transport import SSHClientTransport
from limpet.ssh.userauth import SSHUserAuthClient
from limpet.testing import Pair, Portions, whole
from limpet.wire.fields import NS, Reader

HOST_KEY = Key.generate("ed25519")
OUTPUT_SIZE = 300_000


def pattern(size: int, seed: bytes) -> bytes:
    """`size` bytes in which every position is different enough to notice a loss or a swap."""
    block = b"".join(hashlib.sha256(seed + bytes([at])).digest() for at in range(256))
    return (block * (size // len(block) + 1))[:size]


class Program:
    """The child's transport: what the client sends arrives here."""

    def __init__(self, proto: Any, command: bytes) -> None:
        self.proto = proto
        self.command = command
        self.received = bytearray()
        self.closed = False

    def run(self) -> None:
        name, _, argument = self.command.partition(b" ")
        if name == b"both":
            size = int(argument)
            out, err = pattern(size, b"out"), pattern(size, b"err")
            # In turns, as a real program's outputs come.
            for at in range(0, size, 50_000):
                self.proto.childDataReceived(1, out[at : at + 50_000])
                self.proto.childDataReceived(2, err[at : at + 50_000])
            self.end(7)
        elif name == b"exit":
            self.end(int(argument))

    def write(self, data: bytes) -> None:
        self.received += data
        if self.command == b"echo":
            self.proto.childDataReceived(1, data)

    def closeStdin(self) -> None:
        if self.command == b"echo" and not self.closed:
            self.end(0)

    def end(self, code: int) -> None:
        self.closed = True
        self.proto.childConnectionLost(1)
        self.proto.childConnectionLost(2)
        reason = error.ProcessTerminated(exitCode=code) if code else error.ProcessDone(0)
        self.proto.processEnded(Failure(reason))

    def loseConnection(self) -> None:
        self.closed = True


@implementer(ISession)
class Avatar(ConchUser):
    """A user whose programs live in memory."""

    def __init__(self, username: bytes) -> None:
        super().__init__()
        self.username = username
        self.channelLookup[b"session"] = SSHSession
        self.programs: list[Program] = []
        self.loggedOut = 0

    def execCommand(self, proto: Any, command: bytes) -> None:
        program = Program(proto, command)
        self.programs.append(program)
        proto.makeConnection(program)
        program.run()

    def openShell(self, proto: Any) -> None:
        self.execCommand(proto, b"echo")

    def getPty(self, term: bytes, windowSize: Any, modes: Any) -> None:
        """Nothing to do for programs in memory."""

    def windowChanged(self, newWindowSize: Any) -> None:
        """Nothing to do for programs in memory."""

    def eofReceived(self) -> None:
        for program in self.programs:
            program.closeStdin()

    def closed(self) -> None:
        """The channel is gone."""


@implementer(IRealm)
class Realm:
    """Gives everybody an `Avatar`, and remembers them."""

    def __init__(self) -> None:
        self.avatars: list[Avatar] = []

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        avatar = Avatar(avatarId)
        self.avatars.append(avatar)

        def logout() -> None:
            avatar.loggedOut += 1

        return IConchUser, avatar, logout


class CommandChannel(SSHChannel):
    """A client's session that runs one command and keeps everything that happens, in order."""

    name = b"session"

    def __init__(self, command: bytes, input: bytes = b"", **settings: Any) -> None:
        super().__init__(**settings)
        self.command = command
        self.input = input
        self.out = bytearray()
        self.err = bytearray()
        self.events: list[str] = []
        self.status: int | None = None

    def channelOpen(self, specificData: bytes) -> None:
        self.events.append("open")
        reply = self.conn.sendRequest(self, b"exec", NS(self.command), wantReply=1)
        reply.addCallbacks(self.started, lambda failure: self.events.append("refused"))

    def started(self, _: Any) -> None:
        self.events.append("success")
        if self.input:
            self.write(self.input)
        self.conn.sendEOF(self)

    def openFailed(self, reason: Any) -> None:
        self.events.append("failed")

    def event(self, name: str) -> None:
        if not self.events or self.events[-1] != name:
            self.events.append(name)

    def dataReceived(self, data: bytes) -> None:
        self.event("data")
        self.out += data

    def extReceived(self, dataType: int, data: bytes) -> None:
        self.event("data")
        self.err += data

    def eofReceived(self) -> None:
        self.event("eof")

    def request_exit_status(self, data: bytes) -> int:
        self.event("exit-status")
        self.status = Reader(data).u32()
        return 0

    def closed(self) -> None:
        self.event("closed")


class Connection(SSHConnection):
    """A client's connection that opens its channels when it starts."""

    def __init__(self, channels: list[CommandChannel]) -> None:
        super().__init__()
        self.wanted = channels

    def serviceStarted(self) -> None:
        super().serviceStarted()
        for channel in self.wanted:
            self.openChannel(channel)


class UserAuth(SSHUserAuthClient):
    """Logs in with one password."""

    password = b"correct horse"

    def getPassword(self, prompt: Any = None) -> Any:
        return defer.succeed(self.password)

    def getPublicKey(self) -> Any:
        return None


class Client(SSHClientTransport):
    """A client that logs in and opens what it was given."""

    def __init__(self, channels: list[CommandChannel]) -> None:
        self.channels = channels

    def verifyHostKey(self, pubKey: bytes, fingerprint: bytes) -> Any:
        return defer.succeed(pubKey == HOST_KEY.public().blob())

    def connectionSecure(self) -> None:
        self.requestService(UserAuth(b"alice", Connection(self.channels)))


def makeFactory() -> SSHFactory:
    """A server's factory with one user, alice."""
    factory = SSHFactory()
    factory.privateKeys = {b"ssh-ed25519": HOST_KEY}
    factory.publicKeys = {b"ssh-ed25519": HOST_KEY.public()}
    checker = InMemoryUsernamePasswordDatabaseDontUse(alice=UserAuth.password)
    factory.portal = Portal(Realm(), [checker])
    factory.startFactory()
    return factory


class Stack(Pair):
    """Client and server of `makeFactory`, joined.

    Args:
        channels: What the client opens once it is logged in.
        portions: How the streams are cut.
        change: Called with both protocols before they are connected.
    """

    def __init__(
        self, channels: list[CommandChannel], portions: Portions = whole, change: Any = None
    ) -> None:
        self.factory = makeFactory()
        client = Client(channels)
        server = self.factory.buildProtocol(None)
        if change is not None:
            change(client, server)
        super().__init__(client, server, portions)

    @property
    def avatars(self) -> list[Avatar]:
        """Those of the server's realm."""
        avatars: list[Avatar] = self.factory.portal.realm.avatars
        return avatars

    def run(self) -> None:
        """Let all that can happen happen, authentication's delays included."""
        self.pump()
        for _ in range(20):
            self.clock.advance(0.5)
            self.pump()
