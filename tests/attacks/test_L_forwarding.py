"""attacks.md, row L7 (and G11, E19): what a server may do with an agent that was lent to it."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from limpet.client.agent import (
    MAX_FORWARDED_CONNECTIONS,
    AgentForwarding,
    SSHAgentForwardingChannel,
    SSHAgentForwardingLocal,
)
from limpet.client.connecting import ClientService
from limpet.core.framing import FrameReceiver, packFrame
from limpet.error import ConchError
from limpet.ssh.agent import AgentBroken, SSHAgentFactory
from limpet.ssh.keys import Key
from limpet.testing import Pair
from limpet.wire import agent as wire
from limpet.wire.agent import SignRequest
from limpet.wire.fields import NS, Reader, u32
from limpet.wire.numbers import OPEN_ADMINISTRATIVELY_PROHIBITED, OPEN_RESOURCE_SHORTAGE
from tests.agents import HOST_KEY, SESSION, Joined, bindTo, fileToSign, login, sessionNumber
from tests.keymaking import makeKey

KEY = makeKey()
OTHER = makeKey(number=1)
NEXT_HOST = makeKey(number=2)

FAILURE = bytes((wire.AGENT_FAILURE,))


class ServersTransport:
    """The client's SSH transport, as far as forwarding needs it."""

    clock = None

    def __init__(self, signature: bytes | None = None) -> None:
        self.hostKeyBlob = HOST_KEY.blob()
        self.sessionID = SESSION
        self.hostKeySignature = HOST_KEY.sign(SESSION) if signature is None else signature


class ServersConnection:
    """The client's SSH connection: it keeps what is sent to the server."""

    takesViews = False

    def __init__(self, transport: ServersTransport) -> None:
        self.transport = transport
        self.sent = bytearray()
        self.closed = False

    def logPrefix(self) -> str:
        return "test"

    def sendData(self, channel: Any, data: bytes) -> None:
        self.sent += data

    def sendClose(self, channel: Any) -> None:
        if not self.closed:
            self.closed = True
            channel.localClosed = True
            channel.closed()

    def adjustWindow(self, channel: Any, count: int) -> None:
        """The peer may send again."""


class Lent:
    """A channel of the server's and behind it the agent, whose requests are all remembered."""

    def __init__(self, transport: ServersTransport | None = None) -> None:
        self.clock = Clock()
        self.factory = SSHAgentFactory(self.clock, confirm=lambda approval: True)
        Joined(self.factory, clock=self.clock).add(KEY, OTHER)
        self.conn = ServersConnection(ServersTransport() if transport is None else transport)
        self.forwarding = AgentForwarding(self.clock)
        self.forwarding.isAllowed = True
        self.asked: list[int] = []
        self.pairs: list[Pair] = []
        self.refusal: BaseException | None = None
        self.channel = self.open()

    def connect(self, reactor: Any, path: Any, protocol: Any) -> Deferred[Any]:
        local = protocol()
        local.clock = reactor
        server: Any = self.factory.buildProtocol(None)
        dispatch = server._dispatch

        def remember(kind: int, data: bytes) -> None:
            self.asked.append(kind)
            dispatch(kind, data)

        server._dispatch = remember
        self.pairs.append(Pair(local, server, clock=self.clock))
        return succeed(local)

    def open(self) -> SSHAgentForwardingChannel:
        channel = self.forwarding.makeChannel(2**20, 32768, b"")
        channel.conn = self.conn
        channel.id = 0
        channel.connect = self.connect
        prepared = channel.prepareToOpen(b"")
        self.pump()
        opened: list[Any] = []
        prepared.addCallbacks(
            opened.append, lambda failure: setattr(self, "refusal", failure.value)
        )
        if opened:
            channel.channelOpen(b"")
        self.asked.clear()
        return channel

    def pump(self) -> None:
        for pair in self.pairs:
            pair.pump()

    def says(self, data: bytes) -> list[bytes]:
        """What the server gets to hear when it sends these bytes."""
        self.channel.dataReceived(data)
        self.pump()
        frames = FrameReceiver(wire.MAX_MESSAGE_LENGTH)
        frames.feed(bytes(self.conn.sent))
        self.conn.sent.clear()
        found = []
        while (frame := frames.next()) is not None:
            found.append(frame)
        return found

    def ask(self, kind: int, body: bytes = b"") -> bytes:
        (answer,) = self.says(packFrame(bytes((kind,)) + body))
        return answer

    def sign(self, data: bytes, key: Key = KEY) -> bytes:
        return self.ask(wire.AGENTC_SIGN_REQUEST, SignRequest(key.blob(), data).encode())

    def bind(self, *arguments: Any, **settings: Any) -> bytes:
        body = wire.encodeExtension(
            wire.EXTENSION_SESSION_BIND, bindTo(*arguments, **settings).encode()
        )
        return self.ask(wire.AGENTC_EXTENSION, body)


def test_theAgentIsToldThatItIsForwarded() -> None:
    lent = Lent()
    (hop,) = lent.pairs[0].server.bindings.hops
    assert (hop.sessionId, hop.isForwarding) == (SESSION, True)


def test_listingAndLoginsGoThrough() -> None:
    lent = Lent()
    listed = lent.ask(wire.AGENTC_REQUEST_IDENTITIES)
    assert len(wire.decodeIdentities(listed[1:])) == 2
    data = login(KEY, sessionNumber(2))
    answer = lent.sign(data)
    assert KEY.verify(Reader(answer[1:]).string(), data)


@pytest.mark.parametrize(
    "data",
    [b"", b"x" * 32, fileToSign(), login(KEY)[:-1], login(KEY, SESSION)],
    ids=["nothing", "a hash", "a file", "half a login", "the session of the server itself"],
)
def test_L7_nothingButLoginsIsSigned(data: bytes) -> None:
    lent = Lent()
    assert lent.sign(data) == FAILURE
    assert lent.asked == []


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (wire.AGENTC_ADD_IDENTITY, makeKey(number=5).privateBlob() + NS(b"")),
        (wire.AGENTC_ADD_ID_CONSTRAINED, makeKey(number=5).privateBlob() + NS(b"") + b"\2"),
        (wire.AGENTC_REMOVE_IDENTITY, NS(KEY.blob())),
        (wire.AGENTC_REMOVE_ALL_IDENTITIES, b""),
        (wire.AGENTC_ADD_SMARTCARD_KEY, NS(b"/tmp/evil.so") + NS(b"")),
        (wire.AGENTC_REMOVE_SMARTCARD_KEY, NS(b"/tmp/evil.so") + NS(b"")),
        (wire.AGENTC_LOCK, NS(b"x")),
        (wire.AGENTC_UNLOCK, NS(b"x")),
        (wire.AGENTC_EXTENSION, NS(b"anything@example.com")),
        (wire.AGENTC_REQUEST_RSA_IDENTITIES, b""),
        (wire.AGENTC_REMOVE_ALL_RSA_IDENTITIES, b""),
        (0, b""),
        (254, b"x" * 1000),
    ],
)
def test_L7_nothingElseReachesTheAgent(kind: int, body: bytes) -> None:
    lent = Lent()
    assert lent.ask(kind, body) == FAILURE
    assert lent.asked == []
    assert lent.ask(wire.AGENTC_REQUEST_IDENTITIES)[0] == wire.AGENT_IDENTITIES_ANSWER


def test_L7_answersKeepTheOrderOfTheQuestions() -> None:
    lent = Lent()
    good = (
        bytes((wire.AGENTC_SIGN_REQUEST,))
        + SignRequest(KEY.blob(), login(KEY, sessionNumber(3))).encode()
    )
    bad = bytes((wire.AGENTC_LOCK,)) + NS(b"x")
    answers = lent.says(b"".join(map(packFrame, (bad, good, bad, good, good, bad))))
    kinds = [answer[0] for answer in answers]
    assert kinds == [5, 14, 5, 14, 14, 5]


def test_L7_oneQuestionAtATime() -> None:
    lent = Lent()
    request = packFrame(bytes((wire.AGENTC_REQUEST_IDENTITIES,)))
    lent.channel.dataReceived(request * 1000)
    assert len(lent.pairs[0].client._pending) == 1
    assert lent.channel.inputPaused
    lent.pump()
    assert len(lent.asked) == 1000
    assert not lent.channel.inputPaused


def test_whatWasAskedBeforeTheEndIsAnswered() -> None:
    """A program may end its direction and wait for the answer, as with the agent itself."""
    lent = Lent()
    ask = packFrame(bytes((wire.AGENTC_REQUEST_IDENTITIES,)))
    lent.channel.dataReceived(ask + ask)
    lent.channel.eofReceived()
    assert not lent.conn.closed
    assert len(lent.says(b"")) == 2
    assert lent.conn.closed


@pytest.mark.parametrize("length", [0, wire.MAX_MESSAGE_LENGTH + 1, 2**32 - 1])
def test_L7_aLengthThatNoMessageHasEndsTheChannel(length: int) -> None:
    lent = Lent()
    assert lent.says(u32(length)) == []
    assert lent.conn.closed
    assert lent.pairs[0].clientTransport.lost


def test_L7_furtherHopsAreBound() -> None:
    lent = Lent()
    assert lent.bind(NEXT_HOST, sessionNumber(2)) == bytes((wire.AGENT_SUCCESS,))
    assert lent.sign(login(KEY, sessionNumber(2)))[0] == wire.AGENT_SIGN_RESPONSE
    assert lent.sign(login(KEY, sessionNumber(3))) == FAILURE


def test_L7_aHopThatIsNotWhatItSays() -> None:
    lent = Lent()
    assert lent.bind(NEXT_HOST, sessionNumber(2), signer=OTHER) == FAILURE
    assert lent.sign(login(KEY, sessionNumber(2))) == FAILURE
    assert lent.ask(wire.AGENTC_REQUEST_IDENTITIES) == FAILURE
    assert lent.asked == []


def test_L7_aServerWhoseKeyCannotBeVerified() -> None:
    lent = Lent(ServersTransport(signature=OTHER.sign(SESSION)))
    assert isinstance(lent.refusal, ConchError)
    assert lent.refusal.data == OPEN_ADMINISTRATIVELY_PROHIBITED
    assert lent.pairs[0].clientTransport.lost
    assert lent.forwarding._open == 0


def test_L7_manyChannels() -> None:
    lent = Lent()
    for _ in range(MAX_FORWARDED_CONNECTIONS - 1):
        lent.open()
    for _ in range(1000):
        with pytest.raises(ConchError) as refusal:
            lent.forwarding.makeChannel(2**20, 32768, b"")
        assert refusal.value.data == OPEN_RESOURCE_SHORTAGE
    lent.channel.loseConnection()
    lent.forwarding.makeChannel(2**20, 32768, b"")


def test_L7_theEndOfTheChannelIsTheEndOfTheConnection() -> None:
    lent = Lent()
    lent.channel.eofReceived()
    assert lent.pairs[0].clientTransport.lost
    assert lent.forwarding._open == 0


def test_L7_theEndOfTheAgentIsTheEndOfTheChannel() -> None:
    lent = Lent()
    lent.pairs[0].cut()
    assert lent.conn.closed
    assert lent.forwarding._open == 0


def test_L7_anAgentThatGoesAwayWhileItIsAsked() -> None:
    lent = Lent()
    lent.channel.dataReceived(packFrame(bytes((wire.AGENTC_REQUEST_IDENTITIES,))))
    lent.pairs[0].cut()
    assert lent.conn.closed
    assert lent.conn.sent == b""


def test_L7_theConnectionEndsWhileTheAgentIsBeingReached() -> None:
    forwarding = AgentForwarding(Clock())
    forwarding.isAllowed = True
    channel = forwarding.makeChannel(2**20, 32768, b"")
    channel.conn = ServersConnection(ServersTransport())
    reached: Deferred[SSHAgentForwardingLocal] = Deferred()
    channel.connect = lambda *arguments: reached
    failures: list[Any] = []
    prepared = channel.prepareToOpen(b"")
    prepared.addErrback(failures.append)
    prepared.cancel()
    assert len(failures) == 1
    assert forwarding._open == 0


def test_L7_noAgent() -> None:
    forwarding = AgentForwarding(Clock())
    forwarding.isAllowed = True
    channel = forwarding.makeChannel(2**20, 32768, b"")
    channel.conn = ServersConnection(ServersTransport())
    channel.connect = lambda *arguments: fail(AgentBroken("there is no agent at /nowhere"))
    failures: list[Any] = []
    channel.prepareToOpen(b"").addErrback(failures.append)
    assert isinstance(failures[0].value, ConchError)
    assert "nowhere" not in str(failures[0].value)
    assert forwarding._open == 0


@pytest.mark.parametrize("state", ["never asked for", "not lent"])
def test_G11_L7_aChannelThatNobodyAskedFor(state: str) -> None:
    service = ClientService(lambda: None)
    if state == "not lent":
        service.agentForwarding = AgentForwarding(Clock())
    service.transport = ServersTransport()
    with pytest.raises(ConchError) as refusal:
        service.getChannel(b"auth-agent@openssh.com", 2**20, 32768, b"")
    assert refusal.value.data == OPEN_ADMINISTRATIVELY_PROHIBITED
