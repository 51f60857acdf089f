"""`limpet.ssh.agent.SSHAgentClient`: what it sends, and what it makes of the answers."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from limpet.core.framing import packFrame
from limpet.error import ConchError
from limpet.ssh.agent import AgentBroken, AgentError, AgentRefused, Constraints, SSHAgentClient
from limpet.ssh.keys import Key
from limpet.testing import MemoryTransport
from limpet.wire import agent as wire
from limpet.wire.agent import SignRequest
from limpet.wire.fields import NS, u32
from tests.agents import HOST_KEY, SESSION, bindTo
from tests.keymaking import makeCertificate, makeKey

KEY = makeKey()
RSA = makeKey("rsa", 2048)


class Client:
    """A client, what it wrote, and what came of what it asked."""

    def __init__(self) -> None:
        self.transport = MemoryTransport("client", Clock(), 1)
        self.agent = SSHAgentClient()
        self.agent.makeConnection(self.transport)  # type: ignore[no-untyped-call]

    def wrote(self) -> bytes:
        """The one message that was written since the last time."""
        data = bytes(self.transport.written)
        self.transport.written.clear()
        assert int.from_bytes(data[:4], "big") == len(data) - 4
        return data[4:]

    def outcome(self, asked: Any, answer: bytes) -> Any:
        found: list[Any] = []
        asked.addBoth(found.append)
        self.agent.dataReceived(packFrame(answer))
        return getattr(found[0], "value", found[0])


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda agent: agent.requestIdentities(), b"\x0b"),
        (lambda agent: agent.removeIdentity(b"blob"), b"\x12" + NS(b"blob")),
        (lambda agent: agent.removeAllIdentities(), b"\x13"),
        (lambda agent: agent.lock(b"p"), b"\x16" + NS(b"p")),
        (lambda agent: agent.unlock(b"p"), b"\x17" + NS(b"p")),
        (lambda agent: agent.addIdentity(b"key", b"c"), b"\x11key" + NS(b"c")),
        (
            lambda agent: agent.addIdentity(b"key", b"c", Constraints(9, True)),
            b"\x19key" + NS(b"c") + b"\x01" + u32(9) + b"\x02",
        ),
        (lambda agent: agent.addIdentity(b"key", b"c", Constraints()), b"\x11key" + NS(b"c")),
        (lambda agent: agent.queryExtensions(), b"\x1b" + NS(b"query")),
        (
            lambda agent: agent.bindSession(bindTo(HOST_KEY, SESSION, True)),
            b"\x1b"
            + NS(b"session-bind@openssh.com")
            + NS(HOST_KEY.blob())
            + NS(SESSION)
            + NS(HOST_KEY.sign(SESSION))
            + b"\x01",
        ),
    ],
)
def test_messages(client: Client, ask: Any, message: bytes) -> None:
    ask(client.agent)
    assert client.wrote() == message


@pytest.mark.parametrize(
    ("blob", "flags", "sent"),
    [
        (KEY.blob(), None, 0),
        (RSA.blob(), None, wire.SIGN_RSA_SHA2_512),
        (makeCertificate(RSA, KEY), None, wire.SIGN_RSA_SHA2_512),
        (makeCertificate(KEY, RSA), None, 0),
        (RSA.blob(), wire.SIGN_RSA_SHA2_256, wire.SIGN_RSA_SHA2_256),
        (RSA.blob(), 0, 0),
        (b"", None, 0),
    ],
)
def test_flags(client: Client, blob: bytes, flags: int | None, sent: int) -> None:
    client.agent.signData(blob, b"data", flags)
    assert client.wrote() == b"\x0d" + SignRequest(blob, b"data", sent).encode()


def test_answers(client: Client) -> None:
    agent = client.agent
    assert client.outcome(agent.removeAllIdentities(), b"\x06") is None
    assert client.outcome(agent.signData(b"", b""), b"\x0e" + NS(b"signature")) == b"signature"
    assert isinstance(client.outcome(agent.removeAllIdentities(), b"\x05"), AgentRefused)
    assert isinstance(client.outcome(agent.queryExtensions(), b"\x1c"), AgentRefused)
    assert client.outcome(
        agent.queryExtensions(), b"\x1d" + NS(b"query") + NS(b"a") + NS(b"b")
    ) == [b"a", b"b"]
    assert client.outcome(agent.sendRequest(99, b""), b"\x63body") == b"\x63body"


def test_extensions_of_agents_of_before_the_RFC(client: Client) -> None:
    answer = b"\x06" + NS(b"a") + NS(b"b")
    assert client.outcome(client.agent.queryExtensions(), answer) == [b"a", b"b"]
    assert client.outcome(client.agent.queryExtensions(), b"\x06") == []
    assert isinstance(client.outcome(client.agent.queryExtensions(), b"\x0e"), AgentBroken)


def test_a_success_with_something_behind_it_is_none(client: Client) -> None:
    outcome = client.outcome(client.agent.removeAllIdentities(), b"\x06x")
    assert isinstance(outcome, AgentBroken)


def test_errors_are_conchs() -> None:
    assert issubclass(AgentError, ConchError)
    assert str(AgentBroken("what happened")) == "what happened"


def test_an_answer_that_nobody_waits_for_any_more(client: Client) -> None:
    agent = client.agent
    given = agent.requestIdentities()
    given.addErrback(lambda _: None)
    given.cancel()
    following = agent.removeAllIdentities()
    client.agent.dataReceived(packFrame(b"\x0c" + u32(0)))
    assert client.outcome(following, b"\x06") is None


def test_a_request_that_no_agent_takes(client: Client) -> None:
    failures: list[Any] = []
    client.agent.signData(b"", b"x" * wire.MAX_MESSAGE_LENGTH).addErrback(failures.append)
    assert failures[0].check(AgentRefused)
    assert not client.transport.written


def test_after_the_end(client: Client) -> None:
    client.agent.disconnect()
    assert client.transport.lost
    failures: list[Any] = []
    client.agent.requestIdentities().addErrback(failures.append)
    assert failures[0].check(AgentBroken)


def test_without_a_clock_nothing_is_timed() -> None:
    agent = SSHAgentClient()
    agent.requestIdentities()
    assert agent._timer is None


def test_conchs_client_hands_out_keys() -> None:
    from limpet.client.agent import SSHAgentClient as HandingOut

    client = Client()
    client.agent = HandingOut()
    client.agent.makeConnection(client.transport)  # type: ignore[no-untyped-call]
    listed = client.agent.getPublicKeys()
    body = wire.encodeIdentities([(b"no key", b""), (KEY.blob(), b""), (RSA.blob(), b"")])
    assert client.outcome(listed, b"\x0c" + body) is None
    assert isinstance(KEY, Key)
    assert client.agent.getPublicKey() == KEY.public()
    assert client.agent.getPublicKey() == RSA.public()
    assert client.agent.getPublicKey() is None
