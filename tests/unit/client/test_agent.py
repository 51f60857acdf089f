"""`limpet.client.agent`: reaching an agent, binding to a session, and lending it to programs."""

from __future__ import annotations

import os
from typing import Any

import pytest
from twisted.internet.task import Clock

from limpet.client.agent import (
    SSHAgentForwardingChannel,
    bindToSession,
    connectToAgent,
    sessionBind,
)
from limpet.client.clients import Client
from limpet.client.errors import RequestRefused
from limpet.client.programs import AGENT_REQUEST
from limpet.ssh.agent import AgentBroken, SSHAgentClient
from limpet.wire import numbers as n
from limpet.wire.agent import SessionBind
from limpet.wire.fields import Reader, u32
from tests.agents import HOST_KEY, SESSION, Joined
from tests.attacks.test_E_client import PASSWORD, asking
from tests.pair.dialled import Dialled, Ear


class Transport:
    """A client's transport after its first key exchange."""

    hostKeyBlob: Any = HOST_KEY.blob()
    sessionID: Any = SESSION
    hostKeySignature: Any = HOST_KEY.sign(SESSION)


def outcomeOf(deferred: Any) -> Any:
    found: list[Any] = []
    deferred.addBoth(found.append)
    return getattr(found[0], "value", found[0])


class TestConnecting:
    def test_no_agent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        failure = outcomeOf(connectToAgent(Clock()))
        assert isinstance(failure, AgentBroken)
        assert "SSH_AUTH_SOCK is not set" in str(failure)

    @pytest.mark.parametrize("path", ["a\0b", "/" + "x" * 4000])
    def test_no_path(self, path: str) -> None:
        assert isinstance(outcomeOf(connectToAgent(Clock(), path)), AgentBroken)

    def test_the_variable_names_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        dialled: list[Any] = []

        class Reactor(Clock):
            def connectUNIX(self, path: Any, factory: Any, **arguments: Any) -> None:
                dialled.append(path)

        monkeypatch.setitem(os.environ, "SSH_AUTH_SOCK", "/here")
        connectToAgent(Reactor())
        connectToAgent(Reactor(), "/there")
        assert dialled == ["/here", "/there"]


class TestBinding:
    def test_what_binds(self) -> None:
        assert sessionBind(Transport(), True) == SessionBind(
            HOST_KEY.blob(), SESSION, HOST_KEY.sign(SESSION), isForwarding=True
        )

    @pytest.mark.parametrize("missing", ["hostKeyBlob", "sessionID", "hostKeySignature"])
    def test_before_the_keys_there_is_nothing(self, missing: str) -> None:
        transport = Transport()
        setattr(transport, missing, None)
        assert sessionBind(transport, False) is None
        assert outcomeOf(bindToSession(SSHAgentClient(), transport, False)) is False

    def test_an_agent_that_knows_of_it(self) -> None:
        joined = Joined()
        assert joined.outcome(bindToSession(joined.agent, Transport(), False)) is True
        assert joined.server.bindings.hops[0].sessionId == SESSION

    def test_an_agent_that_does_not(self) -> None:
        joined = Joined()
        joined.server.agentc_EXTENSION = None
        assert joined.outcome(bindToSession(joined.agent, Transport(), False)) is False

    def test_an_agent_that_goes_away(self) -> None:
        joined = Joined()
        bound = bindToSession(joined.agent, Transport(), False)
        joined.cut()
        assert isinstance(outcomeOf(bound), AgentBroken)


def test_a_channel_is_made_as_conch_documents_it() -> None:
    channel = SSHAgentForwardingChannel(remoteWindow=1, remoteMaxPacket=2, conn=None)
    assert channel.name == b"auth-agent@openssh.com"
    channel.closed()


# ── lending it to programs ────────────────────────────────────────────────────────────────────


def loggedIn(**options: Any) -> tuple[Client, Dialled, Ear]:
    dialled, ear = asking(credentials=PASSWORD, IdentityAgent="/an/agent", **options)
    ear.refuse(b"password")
    dialled.settle()
    ear.say(n.MSG_USERAUTH_SUCCESS)
    dialled.settle()
    assert dialled.client is not None
    ear.heard.clear()
    return Client(dialled.client), dialled, ear


def requestsOf(dialled: Dialled, ear: Ear) -> list[bytes]:
    """What is asked for on the channel that the client opened."""
    ear.say(n.MSG_CHANNEL_OPEN_CONFIRMATION, u32(0) + u32(0) + u32(1000) + u32(1000))
    dialled.settle()
    return [
        Reader(body[4:]).string() for number, body in ear.heard if number == n.MSG_CHANNEL_REQUEST
    ]


@pytest.mark.parametrize(
    ("configured", "wanted", "lent"),
    [
        ("no", None, False),
        ("yes", None, True),
        ("no", True, True),
        ("yes", False, False),
        ("/another/agent", None, True),
    ],
)
def test_who_gets_it(configured: str, wanted: bool | None, lent: bool) -> None:
    client, dialled, ear = loggedIn(ForwardAgent=configured)
    client.run("x", forwardAgent=wanted).addErrback(lambda _: None)
    dialled.settle()
    assert requestsOf(dialled, ear) == ([AGENT_REQUEST] if lent else []) + [b"exec"]
    forwarding = client.connection._service.agentForwarding
    assert (forwarding is not None and forwarding.isAllowed) is lent
    if forwarding is not None:
        assert forwarding.path == (configured if "/" in configured else "/an/agent")


def test_a_shell_gets_it() -> None:
    client, dialled, ear = loggedIn()
    client.start(forwardAgent=True).addErrback(lambda _: None)
    dialled.settle()
    assert requestsOf(dialled, ear) == [AGENT_REQUEST, b"shell"]


def test_where_there_is_none_to_lend() -> None:
    dialled, ear = asking(credentials=PASSWORD, ForwardAgent="yes")
    ear.refuse(b"password")
    dialled.settle()
    ear.say(n.MSG_USERAUTH_SUCCESS)
    dialled.settle()
    assert dialled.client is not None
    client = Client(dialled.client)
    # Asked for by the program, it is an error; by a configuration that is for all hosts, none.
    for begun in (client.run("x", forwardAgent=True), client.start(forwardAgent=True)):
        failure = outcomeOf(begun)
        assert isinstance(failure, RequestRefused)
        assert "SSH_AUTH_SOCK" in str(failure)
    ear.heard.clear()
    client.run("x").addErrback(lambda _: None)
    dialled.settle()
    assert requestsOf(dialled, ear) == [b"exec"]
