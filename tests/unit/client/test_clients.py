"""limpet.connect and what it gives, in memory: commands, streams, subsystems, and their ends."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import defer
from twisted.internet.error import ConnectionDone, ConnectionLost, ProcessTerminated
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

import limpet
from limpet.client import clients, connecting
from limpet.client.clients import Client, connect
from limpet.client.config import ConfigError
from limpet.client.errors import (
    ClientError,
    CommandFailed,
    CommandTimedOut,
    ConnectionEnded,
    RequestRefused,
)
from limpet.client.hostpolicy import PinnedHostKeys
from limpet.client.processes import DISCARD, HIGH_WATER, MAX_UNREAD, STDOUT, RemoteProcess, Result
from limpet.client.programs import Ending, Terminal
from limpet.client.streams import CommandSucceeded, reasonFor
from limpet.ssh.keys import Key
from limpet.testing import MemoryNetwork
from tests.pair.dialled import configFor
from tests.pair.stack import HOST_KEY, UserAuth, makeFactory, pattern


class World:
    """A client that is logged in, its server, and the time."""

    def __init__(self) -> None:
        self.server: Any = makeFactory().buildProtocol(None)
        self.reactor = MemoryNetwork(lambda host, port: self.server)
        self.outcomes: list[Any] = []
        connecting = connect(
            "alice@server.test",
            password=UserAuth.password,
            hostKeys=[HOST_KEY.public()],
            configFiles=(),
            only=True,
            reactor=self.reactor,
        )
        self.client: Client = self.result(connecting)

    def result(self, deferred: Any) -> Any:
        """What it comes to in ten seconds; what it fails with is raised."""
        outcome: list[Any] = []
        deferred.addBoth(outcome.append)
        for _ in range(20):
            self.reactor.settle()
            if outcome:
                break
            self.reactor.advance(0.5)
        assert outcome, "nothing came of it"
        if hasattr(outcome[0], "raiseException"):
            outcome[0].raiseException()
        return outcome[0]

    def run(self, command: str, **arguments: Any) -> Any:
        return self.result(self.client.run(command, **arguments))

    def start(self, command: str | None = None, **arguments: Any) -> RemoteProcess:
        process: RemoteProcess = self.result(self.client.start(command, **arguments))
        return process

    @property
    def programs(self) -> Any:
        """What runs at the server."""
        return self.server.factory.portal.realm.avatars[0].programs


@pytest.fixture
def world() -> World:
    return World()


class TestRun:
    def test_outputs(self, world: World) -> None:
        result = world.run("both 300000")
        assert result.stdout == pattern(300000, b"out")
        assert result.stderr == pattern(300000, b"err")
        assert (result.exitStatus, result.exitSignal, result.succeeded) == (7, None, False)

    def test_input(self, world: World) -> None:
        data = pattern(500_000, b"in")
        assert world.run("echo", input=data).stdout == data

    def test_inputFromAFile(self, world: World) -> None:
        data = pattern(500_000, b"in")
        assert world.run("echo", input=io.BytesIO(data)).stdout == data

    @pytest.mark.parametrize(
        ("given", "why"),
        [(OSError(5, "Input/output error"), "Input/output error"), ("", "str"), (None, "NoneType")],
    )
    def test_inputThatCannotBeRead(self, world: World, given: Any, why: str) -> None:
        """Such as a bad disk, a file opened as text, a descriptor that does not block."""

        class File:
            def __init__(self) -> None:
                self.pieces = [b"first", given]

            def read(self, size: int) -> Any:
                piece = self.pieces.pop(0)
                if isinstance(piece, Exception):
                    raise piece
                return piece

        with pytest.raises(ClientError, match=f"the input of .*cannot be read.*{why}") as caught:
            world.run("echo", input=File())
        assert caught.value.__cause__ is not None
        world.reactor.settle()
        assert not world.client.connection.connection.channels

    def test_noInputIsAnEndAtOnce(self, world: World) -> None:
        assert world.run("echo") == Result("echo", b"", b"", 0)

    def test_check(self, world: World) -> None:
        assert world.run("exit 0", check=True).succeeded
        with pytest.raises(CommandFailed, match="exit 3 ended with status 3") as caught:
            world.run("exit 3", check=True)
        assert caught.value.result.exitStatus == 3

    def test_theErrorsLastLineIsInTheMessage(self) -> None:
        result = Result("make", b"", b"one\ntwo: no such file\n", 2)
        with pytest.raises(CommandFailed, match=r"^make ended with status 2: two: no such file$"):
            result.check()

    def test_severalAtOnce(self, world: World) -> None:
        running = [world.client.run(f"exit {status}") for status in range(5)]
        statuses = [world.result(one).exitStatus for one in running]
        assert statuses == [0, 1, 2, 3, 4]

    def test_timeout(self, world: World) -> None:
        running = world.client.run("wait", timeoutSeconds=5)
        world.reactor.settle()
        world.programs[0].proto.childDataReceived(1, b"so far")
        with pytest.raises(CommandTimedOut, match="took longer than 5 s") as caught:
            world.result(running)
        assert caught.value.result.stdout == b"so far"
        assert world.run("exit 1").exitStatus == 1

    def test_noTimerStaysBehind(self, world: World) -> None:
        before = len(world.reactor.getDelayedCalls())
        world.run("exit 0", timeoutSeconds=1000)
        world.reactor.settle()
        assert len(world.reactor.getDelayedCalls()) == before

    def test_cancelled(self, world: World) -> None:
        running = world.client.run("wait")
        world.reactor.settle()
        running.cancel()
        with pytest.raises(defer.CancelledError):
            world.result(running)
        assert not world.client.connection.connection.channels

    def test_cancelledBeforeItBegan(self, world: World) -> None:
        running = world.client.run("wait")
        running.cancel()
        with pytest.raises(defer.CancelledError):
            world.result(running)
        world.reactor.settle()
        assert not world.client.connection.connection.channels

    def test_aLostConnection(self, world: World) -> None:
        running = world.client.run("wait")
        world.reactor.settle()
        world.programs[0].proto.childDataReceived(1, b"so far")
        world.reactor.settle()
        world.reactor.pairs[0].cut()
        with pytest.raises(ConnectionEnded, match="while the command 'wait' ran") as caught:
            world.result(running)
        assert caught.value.result.stdout == b"so far"
        assert caught.value.result.exitStatus is None

    def test_afterTheEnd(self, world: World) -> None:
        world.result(world.client.close())
        with pytest.raises(ConnectionEnded):
            world.run("exit 0")

    def test_closedHereWhileItRan(self, world: World) -> None:
        running = world.client.run("wait")
        world.reactor.settle()
        world.client.close()
        with pytest.raises(ConnectionEnded):
            world.result(running)

    def test_refused(self, world: World) -> None:
        def refuse(proto: Any, command: bytes) -> None:
            raise ValueError("no")

        world.server.factory.portal.realm.avatars[0].execCommand = refuse
        with pytest.raises(RequestRefused, match="the server refuses the command 'ls'"):
            world.run("ls")
        assert not world.client.connection.connection.channels

    def test_tooManySessions(self, world: World) -> None:
        world.server.service.maxSessions = 1
        world.start("wait")
        with pytest.raises(RequestRefused, match="MaxSessions"):
            world.run("exit 0")

    def test_aSignal(self, world: World) -> None:
        running = world.client.run("wait")
        world.reactor.settle()
        proto = world.programs[0].proto
        proto.childConnectionLost(1)
        proto.childConnectionLost(2)
        proto.processEnded(Failure(ProcessTerminated(signal=15, status=15)))
        result = world.result(running)
        assert (result.exitStatus, result.exitSignal) == (None, "TERM")
        with pytest.raises(CommandFailed, match="was ended by signal TERM"):
            result.check()

    def test_aTerminalAndVariables(self, world: World) -> None:
        seen: list[Any] = []
        avatar = world.server.factory.portal.realm.avatars[0]
        avatar.getPty = lambda *arguments: seen.append(arguments)
        world.run("exit 0", terminal=Terminal("vt100", 33, 99, ((53, 1),)))
        assert seen == [(b"vt100", (33, 99, 0, 0), [(53, 1)])]


class TestProcess:
    def test_conversation(self, world: World) -> None:
        process = world.start("echo")
        process.write(b"one\ntwo")
        first = defer.Deferred.fromCoroutine(process.readUntil(b"\n"))
        assert world.result(first) == b"one\n"
        assert world.result(process.read(2)) == b"tw"
        process.writeEOF()
        assert world.result(defer.Deferred.fromCoroutine(process.readAll())) == b"o"
        assert world.result(process.read()) == b""
        assert world.result(process.wait()).exitStatus == 0

    def test_lines(self, world: World) -> None:
        process = world.start("echo")
        process.write(b"one\ntwo\nthree")
        process.writeEOF()

        async def lines() -> list[bytes]:
            return [line async for line in process]

        assert world.result(defer.Deferred.fromCoroutine(lines())) == [
            b"one\n",
            b"two\n",
            b"three",
        ]

    @pytest.mark.parametrize("name", ["readUntil", "readAll"])
    def test_whatHasComeStaysForTheNextOneWhereAReadIsCancelled(
        self, world: World, name: str
    ) -> None:
        process = world.start("echo")
        reading = process.readUntil(b"\n") if name == "readUntil" else process.readAll()
        given = defer.Deferred.fromCoroutine(reading)
        given.addErrback(lambda failure: failure.trap(defer.CancelledError))
        for _ in range(3):
            process.write(b"abc")
            world.reactor.settle()
        given.cancel()
        assert world.result(process.read()) == b"abcabcabc"

    def test_aLineCostsItsBytesAndNotAllThatWait(self, world: World) -> None:
        """What is searched and copied grows with what is read: not with its square."""
        process = world.start("wait")
        process.outputReceived(b"x\n" * 100_000)
        taken = 0

        async def lines() -> None:
            nonlocal taken
            for _ in range(100):
                taken += len(await process.readUntil(b"\n"))

        tracemalloc.start()
        defer.Deferred.fromCoroutine(lines())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert taken == 200
        assert peak < 100_000

    def test_aMarkThatDoesNotCome(self, world: World) -> None:
        process = world.start("echo")
        process.write(bytes(300))
        with pytest.raises(ValueError, match="within 200"):
            world.result(defer.Deferred.fromCoroutine(process.readUntil(b"x", 200)))
        assert world.result(process.read()) == bytes(300)

    @pytest.mark.parametrize(("stderr", "out"), [(STDOUT, b"ab"), (DISCARD, b"a")])
    def test_errorsElsewhere(self, world: World, stderr: str, out: bytes) -> None:
        process = world.start("wait", stderr=stderr)
        program = world.programs[0]
        program.proto.childDataReceived(1, b"a")
        program.proto.childDataReceived(2, b"b")
        program.end(0)
        world.reactor.settle()
        assert world.result(defer.Deferred.fromCoroutine(process.readAll())) == out

    def test_whatNobodyReadsIsWithheld(self, world: World) -> None:
        """Row G: memory is bounded by what was granted."""
        process = world.start("wait")
        proto = world.programs[0].proto
        for _ in range(200):
            proto.childDataReceived(1, bytes(65536))
            world.reactor.settle()
        waiting = process.channel.localWindowSize + HIGH_WATER
        assert process._out.size <= waiting
        total = 0
        while total < 200 * 65536:
            total += len(world.result(process.read()))
        assert total == 200 * 65536

    def test_aReadThatOnlyUnreadErrorsHoldUp(self, world: World) -> None:
        process = world.start("wait")
        reading = process.read()
        proto = world.programs[0].proto
        for _ in range(MAX_UNREAD // 65536 + 1):
            proto.childDataReceived(2, bytes(65536))
            world.reactor.settle()
        with pytest.raises(ClientError, match="16 MiB of stderr are unread"):
            world.result(reading)
        # Nothing of them is lost.
        total = 0
        while total < MAX_UNREAD + 65536:
            total += len(world.result(process.readError()))

    def test_oneReaderAtATime(self, world: World) -> None:
        process = world.start("wait")
        reading = process.read()
        with pytest.raises(RuntimeError):
            process.read()
        reading.addErrback(lambda reason: None)
        reading.cancel()
        world.programs[0].proto.childDataReceived(1, b"x")
        assert world.result(process.read()) == b"x"

    def test_drained(self, world: World) -> None:
        process = world.start("wait")
        assert process.drained().called
        world.reactor.pairs[0].clientTransport.full = True
        process.write(bytes(8 << 20))
        waiting = process.drained()
        assert not waiting.called
        world.reactor.pairs[0].clientTransport.full = False
        world.result(waiting)

    def test_drainedNeverAfterALoss(self, world: World) -> None:
        process = world.start("wait")
        world.reactor.pairs[0].clientTransport.full = True
        process.write(bytes(8 << 20))
        waiting = process.drained()
        world.reactor.pairs[0].cut()
        with pytest.raises(ConnectionEnded):
            world.result(waiting)

    def test_readersAndWaitersOfALostConnection(self, world: World) -> None:
        process = world.start("wait")
        reading, waiting = process.read(), process.wait()
        world.reactor.pairs[0].cut()
        for one in (reading, waiting, process.read(), process.wait()):
            with pytest.raises(ConnectionEnded):
                world.result(one)

    def test_shell(self, world: World) -> None:
        process = world.start()
        process.write(b"hello")
        assert world.result(process.read()) == b"hello"
        process.close()
        assert world.result(process.wait()).closed


class Peer(Protocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.out = b""
        self.err = b""
        self.reasons: list[Any] = []

    def dataReceived(self, data: bytes) -> None:
        self.out += data

    def errReceived(self, data: bytes) -> None:
        self.err += data

    def connectionLost(self, reason: Any = None) -> None:
        self.reasons.append(reason.value)


class TestSubsystem:
    def test_protocol(self, world: World) -> None:
        class Server(Protocol):
            """Answers in capitals."""

            def dataReceived(self, data: bytes) -> None:
                transport: Any = self.transport
                transport.write(data.upper())

        avatar = world.server.factory.portal.realm.avatars[0]
        avatar.subsystemLookup[b"shout"] = lambda *arguments, **keywords: Server()
        peer = Peer()
        assert world.result(world.client.subsystem("shout", peer)) is peer
        assert peer.transport is not None
        peer.transport.write(b"hello")
        world.reactor.settle()
        assert peer.out == b"HELLO"
        peer.transport.loseConnection()
        world.reactor.settle()
        assert [type(reason) for reason in peer.reasons] == [ConnectionDone]

    def test_process(self, world: World) -> None:
        with pytest.raises(RequestRefused, match="the server refuses the subsystem none"):
            world.result(world.client.subsystem("none"))


class Aside:
    """Stands in for a thread: what it is given is done when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
        self.waiting: list[Any] = []
        monkeypatch.setattr(module, "aside", self)

    def __call__(self, reactor: Any, function: Any, *arguments: Any) -> defer.Deferred[Any]:
        done: defer.Deferred[Any] = defer.Deferred()
        self.waiting.append((done, function, arguments))
        return done

    def do(self) -> None:
        (done, function, arguments) = self.waiting.pop()
        done.callback(function(*arguments))


class TestMatchExec:
    """Its command may take ten seconds, in which the reactor stood still."""

    @pytest.fixture
    def mark(self, tmp_path: Path) -> Path:
        return tmp_path / "mark"

    @pytest.fixture
    def file(self, tmp_path: Path, mark: Path) -> Path:
        file = tmp_path / "config"
        file.write_text(
            f'LimpetMatchExec yes\nMatch host gate exec "touch {mark}"\nPort 5\n'
            "Host target\nProxyJump gate\n"
        )
        return file

    def test_itIsRunAside(self, file: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        aside = Aside(monkeypatch, clients)
        reactor = MemoryNetwork(lambda host, port: None)
        connect("gate", configFiles=[file], reactor=reactor, hostKeys=[HOST_KEY.public()])
        reactor.settle()
        assert (mark.exists(), reactor.connectors) == (False, [])
        aside.do()
        reactor.settle()
        assert (mark.exists(), reactor.connectors[0].port) == (True, 5)

    def test_thatOfAJumpHostToo(
        self, file: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        aside = Aside(monkeypatch, connecting)
        reactor = MemoryNetwork(lambda host, port: None)
        connect("target", configFiles=[file], reactor=reactor, hostKeys=[HOST_KEY.public()])
        reactor.settle()
        assert (mark.exists(), reactor.connectors) == (False, [])
        aside.do()
        reactor.settle()
        assert (mark.exists(), reactor.connectors[0].port) == (True, 5)

    def test_whatFailsThereFailsTheConnection(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        aside = Aside(monkeypatch, clients)
        file.write_text('LimpetMatchExec yes\nMatch exec "/nowhere/program"\n')
        failed: list[Any] = []
        connect("gate", configFiles=[file], reactor=MemoryNetwork()).addErrback(failed.append)
        ((done, function, arguments),) = aside.waiting
        with pytest.raises(ConfigError, match="/nowhere/program cannot be run"):
            function(*arguments)
        done.errback(ConfigError("it cannot be run"))
        assert failed[0].check(ConfigError)


class TestArguments:
    @pytest.mark.parametrize("destination", ["", "-oProxyCommand=x", "a b", "alice@"])
    def test_whatIsNoDestination(self, destination: str) -> None:
        failed: list[Any] = []
        connect(destination, configFiles=()).addErrback(failed.append)
        assert failed[0].check(ConfigError)

    def test_aKeyThatIsNotThere(self, tmp_path: Any) -> None:
        failed: list[Any] = []
        connect("h", keys=[tmp_path / "none"], configFiles=()).addErrback(failed.append)
        assert "cannot be read: No such file" in failed[0].getErrorMessage()

    def test_anOptionThatIsNone(self) -> None:
        failed: list[Any] = []
        connect("h", options={"Port": "x"}, configFiles=()).addErrback(failed.append)
        assert failed[0].check(ConfigError)

    def test_whoVouchesForTheHost(self) -> None:
        with pytest.raises(TypeError, match="says nothing about host keys"):
            connect("h", hostKeys=3, configFiles=())  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="begins with SHA256:"):
            PinnedHostKeys(["MD5:00"])
        pinned = PinnedHostKeys([HOST_KEY.public().displayFingerprint()])
        assert pinned.verify(configFor(), None, HOST_KEY.public().blob(), None) is True
        with pytest.raises(ClientError):
            pinned.verify(configFor(), None, Key.generate("ed25519").public().blob(), None)

    def test_theShortNames(self) -> None:
        assert limpet.connect is connect
        assert limpet.Client is Client


def test_reasonsOfAStreamsEnd(world: World) -> None:
    """CommandSucceeded, ProcessTerminated, ConnectionDone and ConnectionLost are different."""
    assert isinstance(reasonFor(Ending(exitStatus=0)), CommandSucceeded)
    assert isinstance(reasonFor(Ending(exitStatus=0)), ConnectionDone)
    failed = reasonFor(Ending(exitStatus=3))
    assert isinstance(failed, ProcessTerminated)
    assert failed.exitCode == 3
    signalled = reasonFor(Ending(exitSignal="TERM"))
    assert isinstance(signalled, ProcessTerminated)
    assert signalled.signal == 15
    assert type(reasonFor(Ending())) is ConnectionDone
    assert type(reasonFor(Ending(lost=True))) is ConnectionLost
