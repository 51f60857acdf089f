"""From a configuration to a login, in memory: what comes of it, and what is said of failures."""

from __future__ import annotations

import re
from typing import Any

import pytest
from twisted.internet import defer, error
from twisted.internet.address import IPv4Address, IPv6Address
from zope.interface import implementer

from limpet.client.authenticating import Credentials
from limpet.client.config import ClientConfig
from limpet.client.connecting import DiallingCancelled, connect
from limpet.client.errors import (
    AuthenticationFailed,
    ConnectFailed,
    ConnectionEnded,
    HandshakeFailed,
    HostKeyRefused,
)
from limpet.client.hostpolicy import PinnedHostKeys
from limpet.client.interaction import CHOICES, STEPS, IFollower, SilentInterface
from limpet.core.negotiation import HARDENED
from limpet.ssh.keys import Key
from limpet.testing import MemoryNetwork, randomPortions, singleBytes
from tests.pair.dialled import Dialled, Ear, configFor
from tests.pair.stack import HOST_KEY, CommandChannel, makeFactory

PASSWORD = Credentials(password=b"correct horse", only=True)


def server() -> Any:
    return makeFactory().buildProtocol(None)


def loggedIn(**options: Any) -> Dialled:
    dialled = Dialled(server(), credentials=PASSWORD, **options)
    dialled.run()
    assert dialled.failure is None
    return dialled


class TestLogin:
    def test_byPassword(self) -> None:
        dialled = loggedIn()
        assert dialled.client is not None
        assert dialled.client.provedIdentity
        channel = CommandChannel(b"exit 7")
        dialled.client.connection.openChannel(channel)
        dialled.settle()
        assert channel.status == 7

    @pytest.mark.parametrize("portions", [singleBytes, randomPortions(7)])
    def test_inPortionsOfAnySize(self, portions: Any) -> None:
        loggedIn(portions=portions)

    def test_cutAtEveryDelivery(self) -> None:
        """Whichever delivery is the last one, there is one outcome, and nothing stays behind."""
        deliveries = loggedIn().reactor.pairs[0].operations
        assert deliveries >= 10
        for at in range(1, deliveries + 1):
            reactor = MemoryNetwork(lambda host, port: server())
            connecting = connect(
                reactor,
                configFor(ConnectTimeout=20),
                credentials=PASSWORD,
                hostKeys=PinnedHostKeys([HOST_KEY]),
            )
            outcome: list[Any] = []
            connecting.addBoth(outcome.append)
            reactor.advance(0)
            reactor.pairs[0].failAt = at
            for _ in range(20):
                reactor.settle()
                reactor.advance(0.5)
            assert len(outcome) == 1
            assert reactor.pairs[0].ended
            assert not reactor.getDelayedCalls()

    def test_leavesNoTimers(self) -> None:
        dialled = loggedIn(ConnectTimeout=10)
        # What stays is one alarm at each end, for the hourly exchange of keys.
        assert dialled.client is not None
        timers = dialled.client.transport.timers
        assert [name for name in ("kex", "rekey", "grace") if timers.isPending(name)] == ["rekey"]
        assert len(dialled.reactor.getDelayedCalls()) == 2
        dialled.client.close()
        dialled.settle()
        assert not dialled.reactor.getDelayedCalls()

    def test_offersWhatTheConfigurationSays(self) -> None:
        ear = Ear()
        Dialled(ear, Ciphers="aes256-ctr", MACs="hmac-sha2-512", KexAlgorithms="curve25519-sha256")
        assert ear.kexAlg == b"curve25519-sha256"
        assert ear.currentEncryptions.outCipType == b"aes256-ctr"
        assert ear.currentEncryptions.outMACType == b"hmac-sha2-512"

    def test_compression(self) -> None:
        class Compressing(Ear):
            supportedCompressions = (b"zlib@openssh.com", b"none")

        for wanted, used in (("yes", b"zlib@openssh.com"), ("no", b"none")):
            ear = Compressing()
            Dialled(ear, Compression=wanted)
            assert ear.outgoingCompressionType == used


class TestEnd:
    def test_closeIsNoFailure(self) -> None:
        dialled = loggedIn()
        assert dialled.client is not None
        reasons: list[Any] = []
        dialled.client.closed.addCallback(reasons.append)
        dialled.client.close().addCallback(reasons.append)
        dialled.settle()
        dialled.client.closed.addCallback(reasons.append)
        assert reasons == [None, None, None]
        assert dialled.server.ending

    def test_theServersReasonIsTold(self) -> None:
        dialled = loggedIn()
        assert dialled.client is not None
        dialled.server.sendDisconnect(11, b"going down \x1b[31m")
        dialled.settle()
        why = dialled.client.whyClosed
        assert isinstance(why, ConnectionEnded)
        assert str(why) == "server.test ended the connection: going down \\x1b[31m"

    def test_aLostConnection(self) -> None:
        dialled = loggedIn()
        assert dialled.client is not None
        dialled.reactor.pairs[0].cut()
        assert "was lost" in str(dialled.client.whyClosed)

    def test_aServerThatBreaksTheProtocol(self) -> None:
        dialled = loggedIn()
        assert dialled.client is not None
        dialled.server._sendNow(60, b"")
        dialled.settle()
        assert "broke the protocol" in str(dialled.client.whyClosed)

    def test_aServerThatFallsSilent(self) -> None:
        dialled = loggedIn(ServerAliveInterval=10, ServerAliveCountMax=2)
        assert dialled.client is not None
        dialled.reactor.pairs[0].serverTransport.full = True
        dialled.wait(60)
        assert "does not answer any more" in str(dialled.client.whyClosed)

    def test_oneWaiterMayGiveUp(self) -> None:
        dialled = loggedIn()
        assert dialled.client is not None
        waiting = dialled.client.closed
        waiting.addErrback(lambda reason: reason.trap(defer.CancelledError) and None)
        waiting.cancel()
        other = dialled.client.close()
        dialled.settle()
        assert other.called


@implementer(IFollower)
class Follower(SilentInterface):
    """Writes down each step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[int, str]] = []

    def follow(self, level: int, text: str) -> None:
        self.steps.append((level, text))


class TestSteps:
    def followed(self, credentials: Credentials, answers: Any = None) -> list[tuple[int, str]]:
        follower = Follower()
        reactor = MemoryNetwork(answers or (lambda host, port: server()))
        pinned = PinnedHostKeys([HOST_KEY])
        connecting = connect(
            reactor, configFor(), follower, credentials=credentials, hostKeys=pinned
        )
        connecting.addErrback(lambda reason: None)
        for _ in range(20):
            reactor.settle()
            reactor.advance(0.5)
        return follower.steps

    def test_aLogin(self) -> None:
        steps = self.followed(PASSWORD)
        assert [
            re.sub(r"Ed25519 SHA256:\S+|SSH-2\.0-\S+", "…", text.removeprefix("server.test: "))
            for level, text in steps
            if level == STEPS
        ] == [
            "connecting to 192.0.2.1 port 22",
            "connected to 192.0.2.1",
            "the server is …",
            "we are …",
            "keys are exchanged by mlkem768x25519-sha256, strictly; the host signs by ssh-ed25519",
            "to the server: cipher aes128-gcm@openssh.com, MAC of the cipher, compression none",
            "from the server: cipher aes128-gcm@openssh.com, MAC of the cipher, compression none",
            "its host key is …",
            "the host key is accepted",
            "the connection is encrypted; logging in as alice",
            "the server takes: password",
            "trying the password that was given",
            "the server lets us in, by password",
        ]
        choices = [text for level, text in steps if level == CHOICES]
        assert sum("we offer, " in text for text in choices) == 8
        assert sum("the server offers, " in text for text in choices) == 8
        assert not any("correct horse" in text for _, text in steps)

    def test_aWrongPassword(self) -> None:
        steps = self.followed(Credentials(password=b"hunter2", only=True))
        assert (STEPS, "server.test: refused") in steps
        assert not any("hunter2" in text for _, text in steps)

    def test_anAddressThatRefuses(self) -> None:
        def answers(host: str, port: int) -> Any:
            raise error.ConnectionRefusedError()

        (_, (level, text)) = self.followed(PASSWORD, answers)[-2:]
        assert level == STEPS
        assert text.startswith("server.test: 192.0.2.1: connection refused")


class TestDialling:
    def attempt(self, config: ClientConfig, answers: Any, *addresses: Any) -> tuple[Any, Any]:
        found = addresses or (IPv4Address("TCP", "192.0.2.1", 22),)
        reactor = MemoryNetwork(answers, found)
        outcome: list[Any] = []
        pinned = PinnedHostKeys([HOST_KEY])
        connecting = connect(reactor, config, credentials=PASSWORD, hostKeys=pinned)
        connecting.addCallbacks(outcome.append, lambda reason: outcome.append(reason.value))
        reactor.settle()
        return reactor, outcome

    def refusing(self, host: str, port: int) -> Any:
        raise error.ConnectionRefusedError()

    def test_refused(self) -> None:
        _, (why,) = self.attempt(configFor(Port=2222), self.refusing)
        assert isinstance(why, ConnectFailed)
        assert str(why) == (
            "cannot connect to server.test port 2222: connection refused: nothing listens there"
            " (is the port right?)"
        )
        assert why.cause.check(error.ConnectionRefusedError)

    def test_severalAttempts(self) -> None:
        reactor, outcome = self.attempt(configFor(ConnectionAttempts=3), self.refusing)
        assert not outcome
        for _ in range(2):
            reactor.advance(1)
            reactor.settle()
        assert len(reactor.connectors) == 3
        assert isinstance(outcome[0], ConnectFailed)
        assert not reactor.getDelayedCalls()

    def test_aLaterAttemptSucceeds(self) -> None:
        reactor, outcome = self.attempt(configFor(ConnectionAttempts=3), self.refusing)
        reactor.answers = lambda host, port: server()
        for _ in range(10):
            reactor.advance(1)
            reactor.settle()
        assert outcome[0].provedIdentity

    def test_noSuchHost(self) -> None:
        reactor = MemoryNetwork(self.refusing, ())
        failed = connect(reactor, configFor("nowhere.test"), hostKeys=PinnedHostKeys([]))
        outcome: list[Any] = []
        failed.addErrback(lambda reason: outcome.append(reason.value))
        assert "there is no such host" in str(outcome[0])
        assert "-p" not in str(outcome[0])

    def test_aPortInTheName(self) -> None:
        reactor = MemoryNetwork(self.refusing, ())
        failed = connect(reactor, configFor("web1:2222"), hostKeys=PinnedHostKeys([]))
        outcome: list[Any] = []
        failed.addErrback(lambda reason: outcome.append(reason.value))
        assert "for a port write -p 2222 web1, or ssh://web1:2222" in str(outcome[0])

    def test_theNextAddressIsTriedAtOnceWhereOneRefuses(self) -> None:
        def answers(host: str, port: int) -> Any:
            if host == "2001:db8::1":
                raise error.ConnectionRefusedError()
            return server()

        addresses = (IPv6Address("TCP", "2001:db8::1", 22), IPv4Address("TCP", "192.0.2.1", 22))
        reactor, _ = self.attempt(configFor(), answers, *addresses)
        assert [connector.host for connector in reactor.connectors] == ["2001:db8::1", "192.0.2.1"]
        assert len(reactor.pairs) == 1

    def test_theNextAddressIsTriedBesideASilentOne(self) -> None:
        def answers(host: str, port: int) -> Any:
            return None if host == "2001:db8::1" else server()

        addresses = (
            IPv6Address("TCP", "2001:db8::1", 22),
            IPv6Address("TCP", "2001:db8::2", 22),
            IPv4Address("TCP", "192.0.2.1", 22),
        )
        reactor, _ = self.attempt(configFor(), answers, *addresses)
        assert not reactor.pairs
        reactor.advance(0.25)
        reactor.settle()
        # The families take turns, so that a broken one costs a quarter of a second.
        assert [connector.host for connector in reactor.connectors] == ["2001:db8::1", "192.0.2.1"]
        assert len(reactor.pairs) == 1
        assert reactor.connectors[0].isGivenUp

    @pytest.mark.parametrize(("family", "host"), [("inet", "192.0.2.1"), ("inet6", "2001:db8::1")])
    def test_oneFamilyOnly(self, family: str, host: str) -> None:
        addresses = (IPv6Address("TCP", "2001:db8::1", 22), IPv4Address("TCP", "192.0.2.1", 22))
        config = configFor(AddressFamily=family)
        reactor, _ = self.attempt(config, lambda host, port: server(), *addresses)
        assert [connector.host for connector in reactor.connectors] == [host]

    def test_connectTimeoutWhileDialling(self) -> None:
        reactor, outcome = self.attempt(configFor(ConnectTimeout=5), lambda host, port: None)
        reactor.advance(4.9)
        assert not outcome
        reactor.advance(0.2)
        assert isinstance(outcome[0], ConnectFailed)
        assert "no answer within 5 s (ConnectTimeout)" in str(outcome[0])
        assert reactor.connectors[0].isGivenUp
        assert not reactor.getDelayedCalls()

    def test_cancelledWhileDialling(self) -> None:
        reactor = MemoryNetwork(lambda host, port: None)
        connecting = connect(reactor, configFor(ConnectTimeout=5), hostKeys=PinnedHostKeys([]))
        outcome: list[Any] = []
        connecting.addErrback(lambda reason: outcome.append(reason.type))
        reactor.settle()
        connecting.cancel()
        assert outcome == [DiallingCancelled]
        # Whoever comes from Twisted's endpoints waits for the one, everybody else for the other.
        assert issubclass(DiallingCancelled, error.ConnectingCancelledError)
        assert issubclass(DiallingCancelled, defer.CancelledError)
        assert reactor.connectors[0].isGivenUp
        assert not reactor.getDelayedCalls()

    def test_cancelledAtEveryMoment(self) -> None:
        """Whenever it is given up, it fails once, and the connection is closed."""
        assert [self.cancelledAfter(steps) for steps in (0, 1, 2)] == [False] * 3
        assert any(self.cancelledAfter(steps) for steps in range(3, 60))

    def cancelledAfter(self, steps: int) -> bool:
        """Give an attempt up after some steps; whether it was logged in by then."""
        reactor = MemoryNetwork(lambda host, port: server())
        connecting = connect(
            reactor,
            configFor(ConnectTimeout=5),
            credentials=PASSWORD,
            hostKeys=PinnedHostKeys([HOST_KEY]),
        )
        outcome: list[Any] = []
        connecting.addCallbacks(outcome.append, lambda reason: outcome.append(reason.type))
        for _ in range(steps):
            reactor.advance(0.01)
            for pair in reactor.pairs:
                pair._carry(pair.clientTransport, pair.server, pair.serverTransport)
                pair._carry(pair.serverTransport, pair.client, pair.clientTransport)
        if outcome:
            return True
        connecting.cancel()
        reactor.settle()
        assert issubclass(outcome[0], defer.CancelledError)
        assert all(pair.ended for pair in reactor.pairs)
        return False


class TestFailuresInWords:
    def test_nothingInCommon(self) -> None:
        class Modern(Ear):
            supportedKeyExchanges = list(HARDENED.keyExchanges)

        dialled = Dialled(Modern(), KexAlgorithms="curve25519-sha256")
        assert isinstance(dialled.failure, HandshakeFailed)
        assert str(dialled.failure) == (
            "server.test: no common key exchange: we offer curve25519-sha256; the peer offers"
            " mlkem768x25519-sha256; KexAlgorithms +mlkem768x25519-sha256 allows what the server"
            " has"
        )

    def test_nothingOfWhatTheServerHas(self) -> None:
        class Old(Ear):
            supportedCiphers = [b"arcfour"]

        dialled = Dialled(Old())
        assert "Limpet has nothing of what the server offers" in str(dialled.failure)

    def test_noSSHServer(self) -> None:
        class Web:
            """Answers as no SSH server does."""

            def makeConnection(self, transport: Any) -> None:
                transport.write(b"HTTP/1.1 400 Bad Request\r\n" * 2000)

            def dataReceived(self, data: bytes) -> None:
                """It does not listen."""

            def connectionLost(self, reason: Any) -> None:
                """It does not mind."""

        dialled = Dialled(Web())
        assert isinstance(dialled.failure, HandshakeFailed)

    def test_closedAtOnce(self) -> None:
        dialled = Dialled(Ear(), ConnectTimeout=5)
        ear = Ear()
        ear.connectionMade = lambda: ear.transport.loseConnection()  # type: ignore[method-assign]
        dialled = Dialled(ear)
        assert isinstance(dialled.failure, HandshakeFailed)
        assert "MaxStartups" in str(dialled.failure)

    def test_theServersOwnWords(self) -> None:
        ear = Ear()
        ear.sendKexInit = lambda: ear.say(1, b"\0\0\0\x02" + b"\0\0\0\x08go away!" + b"\0" * 4)  # type: ignore[method-assign]
        dialled = Dialled(ear)
        assert str(dialled.failure) == (
            'server.test: the server ended the connection: "go away!" (reason 2)'
        )

    def test_wrongHostKey(self) -> None:
        dialled = Dialled(server(), hostKeys=PinnedHostKeys([Key.generate("ed25519")]))
        assert isinstance(dialled.failure, HostKeyRefused)
        assert dialled.ended

    def test_wrongPassword(self) -> None:
        credentials = Credentials(password=b"hunter2", only=True)
        dialled = Dialled(server(), credentials=credentials)
        dialled.run()
        assert isinstance(dialled.failure, AuthenticationFailed)
        assert dialled.failure.methods == (b"password",)
        assert "hunter2" not in str(dialled.failure)
        assert "tried the password that was given: refused" in str(dialled.failure)

    def test_whatTheConfigurationKeepsFromBeingTried(self) -> None:
        dialled = Dialled(server(), credentials=PASSWORD, PasswordAuthentication="no")
        dialled.run()
        assert "not tried: password: the configuration excludes it" in str(dialled.failure)

    def test_batchMode(self) -> None:
        dialled = Dialled(server(), BatchMode="yes")
        dialled.run()
        assert "BatchMode is on" in str(dialled.failure)

    def test_itIsToldOnce(self) -> None:
        for options in ({}, {"ConnectTimeout": 5}, {"BatchMode": "yes"}):
            dialled = Dialled(server(), **options)
            dialled.run()
            dialled.wait(200)
            assert dialled.outcomes == 1
            assert not dialled.reactor.getDelayedCalls()
