"""Endpoints as Conch documents them, and what its lack: errors, status 0, subsystems, shells."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import defer, error
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.python.filepath import FilePath
from zope.interface.verify import verifyObject

from limpet.client.errors import ConnectionEnded, HandshakeFailed, RequestRefused
from limpet.client.knownhosts import KnownHostsFile
from limpet.endpoints import (
    AuthenticationFailed,
    CommandSucceeded,
    NewConnection,
    SSHCommandAddress,
    SSHCommandClientEndpoint,
    SSHShellClientEndpoint,
    SSHSubsystemClientEndpoint,
    _ISSHConnectionCreator,
)
from limpet.error import ConchError, HostKeyChanged, UserRejectedKey
from limpet.ssh.keys import Key
from limpet.testing import MemoryNetwork
from tests.pair.dialled import Ear
from tests.pair.stack import HOST_KEY, UserAuth, makeFactory


class Collector(Protocol):
    """Keeps what it is told, and the address it was made for."""

    address: Any = None

    def __init__(self) -> None:
        self.out, self.err = b"", b""
        self.reasons: list[Any] = []

    def dataReceived(self, data: bytes) -> None:
        self.out += data

    def errReceived(self, data: bytes) -> None:
        self.err += data

    def connectionLost(self, reason: Any = None) -> None:
        self.reasons.append(reason.value)


class Collectors(Factory):
    """Makes `Collector`s."""

    noisy = False

    def buildProtocol(self, addr: Any) -> Collector:
        made = Collector()
        made.address = addr
        return made


class Judge:
    """A user interface that gives one answer to every question."""

    def __init__(self, answer: bool) -> None:
        self.answer = answer
        self.asked: list[bytes] = []

    def prompt(self, text: bytes) -> defer.Deferred[bool]:
        self.asked.append(text)
        return defer.succeed(self.answer)

    def warn(self, text: bytes) -> None:
        self.asked.append(text)


class World:
    """A server in memory, its host key in a known_hosts file, and a reactor that leads there."""

    def __init__(self, directory: Any) -> None:
        self.server: Any = makeFactory().buildProtocol(None)
        self.reactor = MemoryNetwork(lambda host, port: self.server)
        self.path = directory / "known_hosts"
        self.write(HOST_KEY)

    def write(self, key: Key) -> None:
        line = b"server.test,192.0.2.1 " + key.public().toString("OPENSSH")
        self.path.write_bytes(line + b"\n")

    @property
    def knownHosts(self) -> KnownHostsFile:
        return KnownHostsFile.fromPath(FilePath(str(self.path)))

    def endpoint(self, command: bytes, **arguments: Any) -> SSHCommandClientEndpoint:
        usual: dict[str, Any] = {
            "password": UserAuth.password,
            "knownHosts": self.knownHosts,
            "ui": Judge(False),
        }
        return SSHCommandClientEndpoint.newConnection(
            self.reactor, command, b"alice", b"server.test", **(usual | arguments)
        )

    def result(self, deferred: Any) -> Any:
        outcome: list[Any] = []
        deferred.addBoth(outcome.append)
        for _ in range(20):
            self.reactor.settle()
            if outcome:
                break
            self.reactor.advance(0.5)
        if hasattr(outcome[0], "raiseException"):
            outcome[0].raiseException()
        return outcome[0]

    def connect(self, endpoint: Any) -> Collector:
        protocol: Collector = self.result(endpoint.connect(Collectors()))
        self.reactor.settle()
        return protocol


@pytest.fixture
def world(tmp_path: Any) -> World:
    return World(tmp_path)


class TestCommand:
    def test_provides(self, world: World) -> None:
        endpoint = world.endpoint(b"exit 0")
        assert verifyObject(IStreamClientEndpoint, endpoint)
        assert verifyObject(_ISSHConnectionCreator, endpoint._creator)

    def test_outputsAndStatus(self, world: World) -> None:
        protocol = world.connect(world.endpoint(b"both 1000"))
        assert (len(protocol.out), len(protocol.err)) == (1000, 1000)
        (reason,) = protocol.reasons
        assert isinstance(reason, error.ProcessTerminated)
        assert reason.exitCode == 7

    def test_statusZeroIsKnownForOne(self, world: World) -> None:
        """Conch gives ConnectionDone, which is also that of a connection that was dropped."""
        (reason,) = world.connect(world.endpoint(b"exit 0")).reasons
        assert isinstance(reason, CommandSucceeded)
        assert isinstance(reason, error.ConnectionDone)
        assert reason.exitCode == 0

    def test_aDroppedConnection(self, world: World) -> None:
        protocol = world.connect(world.endpoint(b"wait"))
        world.reactor.pairs[0].cut()
        assert [type(reason) for reason in protocol.reasons] == [error.ConnectionLost]

    def test_theConnectionEndsWithTheCommand(self, world: World) -> None:
        world.connect(world.endpoint(b"exit 0"))
        assert world.reactor.pairs[0].ended
        assert not world.reactor.getDelayedCalls()

    def test_transport(self, world: World) -> None:
        protocol = world.connect(world.endpoint(b"echo"))
        transport: Any = protocol.transport
        transport.write(b"hello")
        world.reactor.settle()
        assert protocol.out == b"hello"
        assert transport.conn.transport.transport is not None
        transport.loseConnection()
        world.reactor.settle()
        assert [type(reason) for reason in protocol.reasons] == [error.ConnectionDone]
        assert world.reactor.pairs[0].ended

    def test_address(self, world: World) -> None:
        address = world.connect(world.endpoint(b"exit 0")).address
        assert isinstance(address, SSHCommandAddress)
        assert (address.username, address.command) == (b"alice", b"exit 0")
        assert address.server.host == "127.0.0.1"

    def test_aProtocolWithoutErrReceived(self, world: World) -> None:
        class Plain(Protocol):
            """Has no place for errors."""

        world.result(world.endpoint(b"both 10").connect(Factory.forProtocol(Plain)))

    def test_noProtocol(self, world: World) -> None:
        class Refusing(Factory):
            """Wants no protocol after all."""

            def buildProtocol(self, addr: Any) -> None:
                return None

        with pytest.raises(error.ConnectingCancelledError):
            world.result(world.endpoint(b"exit 0").connect(Refusing()))
        assert world.reactor.pairs[0].ended


class TestFailures:
    def test_refusedByTCP(self, world: World) -> None:
        def answers(host: str, port: int) -> Any:
            raise error.ConnectionRefusedError()

        world.reactor.answers = answers
        with pytest.raises(error.ConnectionRefusedError):
            world.connect(world.endpoint(b"exit 0"))

    def test_closedBeforeItIsEncrypted(self, world: World) -> None:
        """As Conch has it a ConnectionDone; and with the reason in words."""
        ear = world.server = Ear()
        ear.connectionMade = lambda: ear.transport.loseConnection()  # type: ignore[method-assign]
        with pytest.raises(error.ConnectionDone) as caught:
            world.connect(world.endpoint(b"exit 0"))
        assert isinstance(caught.value, HandshakeFailed)
        assert "MaxStartups" in str(caught.value)

    def test_wrongPassword(self, world: World) -> None:
        with pytest.raises(AuthenticationFailed):
            world.connect(world.endpoint(b"exit 0", password=b"wrong"))
        assert world.reactor.pairs[0].ended

    def test_nothingToLogInWith(self, world: World) -> None:
        with pytest.raises(AuthenticationFailed):
            world.connect(world.endpoint(b"exit 0", password=None))

    def test_aChangedHostKey(self, world: World) -> None:
        world.write(Key.generate("ed25519"))
        with pytest.raises(HostKeyChanged):
            world.connect(world.endpoint(b"exit 0"))

    @pytest.mark.parametrize("answer", [False, True])
    def test_aNewHostIsAskedFor(self, world: World, answer: bool) -> None:
        world.path.write_bytes(b"")
        judge = Judge(answer)
        if answer:
            assert world.connect(world.endpoint(b"exit 0", ui=judge)).reasons
            assert world.path.read_bytes().count(b"\n") == 2
        else:
            with pytest.raises(UserRejectedKey):
                world.connect(world.endpoint(b"exit 0", ui=judge))
        assert HOST_KEY.public().displayFingerprint().encode() in judge.asked[0]

    def test_theCommandIsRefused(self, world: World) -> None:
        def refuse(*arguments: Any) -> None:
            raise ValueError("no")

        world.server.factory.portal.realm.requestAvatar = _refusing(
            world.server.factory.portal.realm.requestAvatar, refuse
        )
        with pytest.raises(RequestRefused) as caught:
            world.connect(world.endpoint(b"ls"))
        # As Conch has it: a ConchError.
        assert isinstance(caught.value, ConchError)
        assert world.reactor.pairs[0].ended

    def test_theConnectionIsLostBeforeTheCommandRuns(self, world: World) -> None:
        """Conch's endpoint waits for ever."""
        ear = world.server = Ear()
        connecting = world.endpoint(b"wait").connect(Collectors())
        outcome: list[Any] = []
        connecting.addErrback(lambda reason: outcome.append(reason.value))
        world.reactor.settle()
        ear.say(52)
        world.reactor.settle()
        assert ear.numbers[-1] == 90
        world.reactor.pairs[0].cut()
        world.reactor.settle()
        assert [type(failure) for failure in outcome] == [ConnectionEnded]

    def test_cancelled(self, world: World) -> None:
        connecting = world.endpoint(b"wait").connect(Collectors())
        outcome: list[Any] = []
        connecting.addErrback(lambda reason: outcome.append(reason.type))
        connecting.cancel()
        world.reactor.settle()
        (cancelled,) = outcome
        assert issubclass(cancelled, defer.CancelledError)
        # As every endpoint of Twisted says it.
        assert issubclass(cancelled, error.ConnectingCancelledError)
        assert not world.reactor.getDelayedCalls()

    def test_noHost(self, world: World) -> None:
        endpoint = SSHCommandClientEndpoint.newConnection(
            world.reactor, b"ls", b"alice", b"-oProxyCommand=x"
        )
        with pytest.raises(Exception, match="is not a host name"):
            world.connect(endpoint)


def _refusing(make: Any, refuse: Any) -> Any:
    def requestAvatar(*arguments: Any) -> Any:
        interface, avatar, logout = make(*arguments)
        avatar.execCommand = refuse
        return interface, avatar, logout

    return requestAvatar


class TestExistingConnection:
    def test_itStays(self, world: World) -> None:
        first = world.connect(world.endpoint(b"echo"))
        connection = first.transport.conn  # type: ignore[union-attr]
        for _ in range(3):
            endpoint = SSHCommandClientEndpoint.existingConnection(connection, b"exit 3")
            (reason,) = world.connect(endpoint).reasons
            assert reason.exitCode == 3
        assert not world.reactor.pairs[0].ended
        assert len(world.reactor.pairs) == 1
        first.transport.write(b"still there")  # type: ignore[union-attr]
        world.reactor.settle()
        assert first.out == b"still there"

    def test_aRefusalLeavesNoChannel(self, world: World) -> None:
        first = world.connect(world.endpoint(b"echo"))
        connection = first.transport.conn  # type: ignore[union-attr]
        with pytest.raises(RequestRefused):
            world.connect(SSHSubsystemClientEndpoint.existingConnection(connection, b"none"))
        assert len(connection.channels) == 1

    def test_shell(self, world: World) -> None:
        first = world.connect(world.endpoint(b"echo"))
        connection = first.transport.conn  # type: ignore[union-attr]
        shell = world.connect(SSHShellClientEndpoint.existingConnection(connection))
        shell.transport.write(b"hello")  # type: ignore[union-attr]
        world.reactor.settle()
        assert shell.out == b"hello"

    def test_subsystem(self, world: World) -> None:
        class Server(Protocol):
            """Greets."""

            def connectionMade(self) -> None:
                transport: Any = self.transport
                transport.write(b"welcome")

        first = world.connect(world.endpoint(b"echo"))
        connection = first.transport.conn  # type: ignore[union-attr]
        avatar = world.server.factory.portal.realm.avatars[0]
        avatar.subsystemLookup[b"greet"] = lambda *arguments, **keywords: Server()
        endpoint = SSHSubsystemClientEndpoint.existingConnection(connection, b"greet")
        assert world.connect(endpoint).out == b"welcome"


def test_withoutATerminalTheAnswerIsNo(tmp_path: Any) -> None:
    helper = NewConnection(
        None, b"h", None, b"", b"u", None, None, None, None, None, FilePath(str(tmp_path / "none"))
    )
    answers: list[bool] = []
    helper.ui.prompt(b"Really? ").addCallback(answers.append)
    assert answers == [False]
