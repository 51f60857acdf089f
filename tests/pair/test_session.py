"""Whole sessions in memory: the same result however the stream is cut, or a clean end."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import defer
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from zope.interface import directlyProvides

from limpet.core.rekey import RekeyPolicy
from limpet.ssh.connection import SSHConnection
from limpet.testing import Portions, randomPortions, singleBytes, whole
from limpet.wire import numbers as n
from limpet.wire.fields import NS, u32
from tests.pair.attacker import Attacker
from tests.pair.stack import OUTPUT_SIZE, CommandChannel, Stack, pattern

PORTIONS = {
    "whole": whole,
    "single bytes": singleBytes,
    "random": randomPortions(11, 5000),
    "small": randomPortions(12, 30),
}


def assertComplete(channel: CommandChannel, size: int = OUTPUT_SIZE) -> None:
    """`both` has written all it writes, and ended as it should, in the order of the RFC."""
    assert bytes(channel.out) == pattern(size, b"out")
    assert bytes(channel.err) == pattern(size, b"err")
    assert channel.status == 7
    assert channel.events == ["open", "success", "data", "eof", "exit-status", "closed"]


def both(size: int = OUTPUT_SIZE) -> bytes:
    return b"both %d" % size


@pytest.mark.parametrize("name", PORTIONS)
def test_outputIsCompleteAndInOrder(name: str) -> None:
    size = 20_000 if name == "single bytes" else OUTPUT_SIZE
    channel = CommandChannel(both(size))
    stack = Stack([channel], PORTIONS[name])
    stack.run()
    assertComplete(channel, size)


@pytest.mark.parametrize("window", [1, 7, 1000, 40_000])
def test_smallWindowsLoseNothing(window: int) -> None:
    size = 3_000 if window < 10 else 50_000
    channel = CommandChannel(both(size), localWindow=window, localMaxPacket=window)
    stack = Stack([channel])
    stack.run()
    assertComplete(channel, size)


@pytest.mark.parametrize("portions", [whole, randomPortions(5)], ids=["whole", "random"])
def test_inputIsEchoed(portions: Portions) -> None:
    sent = pattern(700_000, b"in")
    channel = CommandChannel(b"echo", sent)
    stack = Stack([channel], portions)
    stack.run()
    assert bytes(channel.out) == sent
    assert channel.status == 0
    assert channel.events[-3:] == ["eof", "exit-status", "closed"]


@pytest.mark.parametrize("before", [[], [(b"pty-req", NS(b"vt100") + bytes(16) + NS(b"\0"))]])
def test_inputThatEndsBeforeTheProgramBegins(before: list[tuple[bytes, bytes]]) -> None:
    """A client need not wait: the program gets what came before it, and hears of its end."""
    attacker = Attacker().login()
    attacker.open()
    for name, body in before:
        attacker.ask(0, name, body, wantReply=False)
    attacker.send(n.MSG_CHANNEL_DATA, u32(0) + NS(b"early"))
    attacker.send(n.MSG_CHANNEL_EOF, u32(0))
    attacker.run()
    attacker.take()
    attacker.ask(0, b"exec", NS(b"echo"))
    attacker.run()
    assert attacker.take() == [
        (n.MSG_CHANNEL_SUCCESS, u32(0)),
        (n.MSG_CHANNEL_DATA, u32(0) + NS(b"early")),
        (n.MSG_CHANNEL_EOF, u32(0)),
        (n.MSG_CHANNEL_REQUEST, u32(0) + NS(b"exit-status") + b"\0" + u32(0)),
        (n.MSG_CHANNEL_CLOSE, u32(0)),
    ]


def test_aSubsystemAnswersWhatWasAskedBeforeTheEndOfItsInput() -> None:
    """A client may send all its requests and their end, and then listen."""
    attacker = Attacker().login()
    asked: list[defer.Deferred[Any]] = []

    class Slow(Protocol):
        transport: Any

        def dataReceived(self, data: bytes) -> None:
            asked.append(defer.Deferred().addCallback(self.answer))

        def answer(self, data: bytes) -> None:
            self.transport.write(data)
            if ended:
                self.transport.loseConnection()

        def readConnectionLost(self) -> None:
            ended.append(True)

        def writeConnectionLost(self) -> None: ...

    ended: list[bool] = []
    directlyProvides(slow := Slow(), IHalfCloseableProtocol)
    attacker.avatars[-1].subsystemLookup[b"slow"] = lambda data, avatar: slow
    attacker.open()
    attacker.ask(0, b"subsystem", NS(b"slow"))
    attacker.send(n.MSG_CHANNEL_DATA, u32(0) + NS(b"question"))
    attacker.send(n.MSG_CHANNEL_EOF, u32(0))
    attacker.run()
    attacker.take()
    asked[0].callback(b"answer")
    attacker.run()
    assert attacker.take() == [
        (n.MSG_CHANNEL_DATA, u32(0) + NS(b"answer")),
        (n.MSG_CHANNEL_EOF, u32(0)),
        (n.MSG_CHANNEL_REQUEST, u32(0) + NS(b"exit-status") + b"\0" + u32(0)),
        (n.MSG_CHANNEL_CLOSE, u32(0)),
    ]


@pytest.mark.parametrize("halfCloseable", [False, True])
def test_aSubsystemHearsOfTheEndOfItsInputAlsoWhereASessionWasPrepared(
    halfCloseable: bool,
) -> None:
    """Debian's ssh sends LANG before every subsystem; its sftp waited for ever for the end."""
    attacker = Attacker().login()
    ended: list[bool] = []

    class Sink(Protocol):
        def readConnectionLost(self) -> None:
            ended.append(True)
            self.transport.loseConnection()  # type: ignore[union-attr]

        def writeConnectionLost(self) -> None: ...

    sink = Sink()
    if halfCloseable:
        directlyProvides(sink, IHalfCloseableProtocol)
    attacker.avatars[-1].subsystemLookup[b"sink"] = lambda data, avatar: sink
    attacker.open()
    attacker.ask(0, b"env", NS(b"LANG") + NS(b"C.UTF-8"), wantReply=False)
    attacker.ask(0, b"subsystem", NS(b"sink"))
    attacker.run()
    attacker.take()
    attacker.send(n.MSG_CHANNEL_EOF, u32(0))
    attacker.run()
    assert attacker.take() == [
        (n.MSG_CHANNEL_EOF, u32(0)),
        (n.MSG_CHANNEL_REQUEST, u32(0) + NS(b"exit-status") + b"\0" + u32(0)),
        (n.MSG_CHANNEL_CLOSE, u32(0)),
    ]
    assert ended == [True] * halfCloseable


def test_manySessionsSideBySide() -> None:
    channels = [CommandChannel(both(40_000 + number)) for number in range(10)]
    stack = Stack(channels, randomPortions(6))
    stack.run()
    for number, channel in enumerate(channels):
        assertComplete(channel, 40_000 + number)
    assert stack.server.service.channels == {}
    assert stack.client.service.channels == {}


def test_theEleventhSessionIsRefusedAndTheOthersWork() -> None:
    channels = [CommandChannel(b"echo", b"x") for _ in range(11)]
    stack = Stack(channels)
    stack.pump()
    # `echo` ends with the client's EOF, so a session may end before the next is opened.
    for channel in channels:
        assert channel.events[-1] in ("closed", "failed")


def test_noiseBetweenAllPackets() -> None:
    def noisy(client: Any, server: Any) -> None:
        for end in (client, server):
            send = end._sendNow

            def withNoise(
                number: int, payload: bytes, data: Any = b"", send: Any = send, end: Any = end
            ) -> None:
                if end.sessionID is not None and end._keyExchangeState == end._KEY_EXCHANGE_NONE:
                    send(2, b"\x00\x00\x00\x05noise")
                    send(4, b"\x00\x00\x00\x00\x05noise\x00\x00\x00\x00")
                send(number, payload, data)

            end._sendNow = withNoise

    channel = CommandChannel(both())
    stack = Stack([channel], randomPortions(7), noisy)
    stack.run()
    assertComplete(channel)


def received(channel: CommandChannel, overridden: bool) -> list[type]:
    """The types in which the client's handler of channel data gets large data."""
    seen: list[type] = []

    def watched(client: Any, server: Any) -> None:
        dispatch = client.dispatchMessage

        def dispatchMessage(number: int, payload: Any) -> None:
            dispatch(number, payload)

        if overridden:
            client.dispatchMessage = dispatchMessage

    stack = Stack([channel], randomPortions(7), watched)
    handler = SSHConnection.ssh_CHANNEL_DATA

    def ssh_CHANNEL_DATA(self: Any, packet: Any) -> None:
        if len(packet) > 5000:
            seen.append(type(packet))
        handler(self, packet)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SSHConnection, "ssh_CHANNEL_DATA", ssh_CHANNEL_DATA)
        stack.run()
    assertComplete(channel)
    return seen


def test_largeDataComesAsAView() -> None:
    assert set(received(CommandChannel(both()), overridden=False)) == {memoryview}


def test_butAsBytesThroughAnApplicationsOwnDispatch() -> None:
    assert set(received(CommandChannel(both()), overridden=True)) == {bytes}


def test_anApplicationsOwnSendPacketSeesWholeMessages() -> None:
    seen: list[bytes] = []

    def watched(client: Any, server: Any) -> None:
        send = server.sendPacket

        def sendPacket(number: int, payload: bytes) -> None:
            if number == 94:
                seen.append(payload)
            send(number, payload)

        server.sendPacket = sendPacket

    channel = CommandChannel(both())
    stack = Stack([channel], randomPortions(7), watched)
    stack.run()
    assertComplete(channel)
    assert b"".join(payload[8:] for payload in seen) == bytes(channel.out)


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "aes128-ctr"])
def test_rekeyingAllTheTimeLosesNothing(cipher: str) -> None:
    exchanges: list[int] = []

    def eager(client: Any, server: Any) -> None:
        client.rekeyPolicy = server.rekeyPolicy = RekeyPolicy(maxBytes=64 * 1024)
        client.supportedCiphers = [cipher.encode()]
        newKeys = server._newKeys

        def counted() -> None:
            exchanges.append(1)
            newKeys()

        server._newKeys = counted

    channel = CommandChannel(both())
    stack = Stack([channel], randomPortions(8), eager)
    stack.run()
    assertComplete(channel)
    assert len(exchanges) > 3


def test_compressedSession() -> None:
    def compressed(client: Any, server: Any) -> None:
        client.supportedCompressions = server.supportedCompressions = [b"zlib@openssh.com"]

    channel = CommandChannel(both())
    stack = Stack([channel], randomPortions(9), compressed)
    stack.run()
    assertComplete(channel)
    assert stack.server.outgoingCompression is not None


def test_userIsLoggedOutOnce() -> None:
    channel = CommandChannel(b"exit 3")
    stack = Stack([channel])
    stack.run()
    assert channel.status == 3
    (avatar,) = stack.avatars
    assert avatar.loggedOut == 0
    stack.client.loseConnection()
    stack.pump()
    assert stack.ended
    assert avatar.loggedOut == 1
    assert stack.clock.getDelayedCalls() == []


def test_cutAtEveryDeliveryEndsCleanly() -> None:
    def run(failAt: int | None) -> tuple[Stack, CommandChannel]:
        channel = CommandChannel(both(60_000))
        stack = Stack([channel], randomPortions(10, 2000))
        stack.failAt = failAt
        stack.run()
        return stack, channel

    whole, channel = run(None)
    assertComplete(channel, 60_000)
    assert whole.operations > 50
    for failAt in range(1, whole.operations + 1):
        stack, channel = run(failAt)
        assert stack.ended, failAt
        # What did arrive is a prefix of what was sent: nothing is swapped, doubled or made up.
        assert pattern(60_000, b"out").startswith(bytes(channel.out))
        assert pattern(60_000, b"err").startswith(bytes(channel.err))
        # Everybody was told, once, and nothing is left over.
        assert channel.events.count("closed") == int("open" in channel.events)
        assert all(avatar.loggedOut == 1 for avatar in stack.avatars)
        assert stack.clock.getDelayedCalls() == []
        assert stack.client.service is None
        assert stack.server.service is None


class TestKeepalive:
    def asking(self) -> Attacker:
        attacker = Attacker(keepaliveSeconds=10.0).login()
        attacker.take()
        return attacker

    def asked(self, attacker: Attacker, seconds: float) -> int:
        """How often the server asks for a sign of life meanwhile."""
        attacker.clock.advance(seconds)
        attacker.pump()
        heard = attacker.take()
        assert all(payload.startswith(NS(b"keepalive@openssh.com")) for _, payload in heard)
        return len(heard)

    def test_aSilentPeerIsAskedAndThenLeft(self) -> None:
        attacker = self.asking()
        assert [self.asked(attacker, 10) for _ in range(3)] == [1, 1, 1]
        attacker.clock.advance(10)
        attacker.pump()
        assert attacker.ended

    def test_onlyOneThatIsSilentIsAsked(self) -> None:
        attacker = self.asking()
        for _ in range(10):
            for _ in range(3):
                attacker.send(n.MSG_IGNORE, NS(b"here"))
            attacker.pump()
            assert self.asked(attacker, 10) == 0

    def test_itsAnswerIsASignOfLifeAndNoMore(self) -> None:
        attacker = self.asking()
        for _ in range(10):
            assert self.asked(attacker, 10) == 1
            attacker.send(n.MSG_REQUEST_FAILURE)
            attacker.pump()
        assert not attacker.ended


def test_aFullTransportPausesTheProgram() -> None:
    """What a program writes beyond the window stays with the channel, and moves when it may."""
    channel = CommandChannel(both(), localWindow=2 << 20)
    stack = Stack([channel])
    original = stack.serverTransport.write

    def slow(data: bytes) -> None:
        original(data)
        if len(stack.serverTransport.written) > 200_000:
            raise AssertionError("written far beyond what the transport asked for")

    stack.serverTransport.write = slow  # type: ignore[method-assign]
    stack.run()
    assertComplete(channel)
