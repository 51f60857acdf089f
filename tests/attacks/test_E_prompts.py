"""Hostile servers against the client, once more: proofs that are none, questions that look like
ours, outputs that nobody asked for. Rows E19, E20, G13, V3, V5 and V7 of attacks.md.

The server is `Ear`, as in `test_E_client`.
"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.protocol import Protocol

from limpet.client.authenticating import Credentials
from limpet.client.clients import Client
from limpet.client.errors import CommandFailed, CommandTimedOut, ConnectFailed, RequestRefused
from limpet.client.programs import EXEC, Program
from limpet.client.streams import StreamReceiver
from limpet.wire import numbers as n
from limpet.wire.fields import NS, boolean, u32
from tests.attacks.test_E_client import PASSWORD, WITH_KEY, Person, asking
from tests.pair.dialled import Dialled, Ear

WINDOW = 2 << 20


def loggedIn(**options: Any) -> tuple[Dialled, Ear]:
    """A client that has shown its password, and was let in."""
    dialled, ear = asking(credentials=PASSWORD, **options)
    ear.refuse(b"password")
    dialled.settle()
    ear.say(n.MSG_USERAUTH_SUCCESS)
    dialled.settle()
    assert dialled.client is not None
    ear.heard.clear()
    return dialled, ear


def confirm(ear: Ear) -> None:
    """Open the client's first channel."""
    ear.say(n.MSG_CHANNEL_OPEN_CONFIRMATION, u32(0) + u32(0) + u32(1 << 20) + u32(32768))


# ── E19 ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("credentials", [WITH_KEY, Credentials(only=True)])
def test_E19_what_a_server_calls_a_success_is_no_proof(credentials: Credentials) -> None:
    dialled, ear = asking(credentials=credentials)
    ear.refuse(b"publickey", b"keyboard-interactive", partial=True)
    dialled.settle()
    # A question whether a key would do, or to be asked: neither has shown anything.
    assert len(ear.requests()) == 2
    ear.say(n.MSG_USERAUTH_SUCCESS)
    dialled.settle()
    assert dialled.client is not None
    assert not dialled.client.provedIdentity


def test_E19_L7_nobody_lends_such_a_server_an_agent() -> None:
    dialled, ear = asking(credentials=WITH_KEY, ForwardAgent="yes", IdentityAgent="/tmp/agent")
    ear.refuse(b"publickey", partial=True)
    dialled.settle()
    ear.say(n.MSG_USERAUTH_SUCCESS)
    dialled.settle()
    assert dialled.client is not None
    with pytest.raises(RequestRefused, match="without any proof"):
        dialled.client.lendAgent()
    ear.heard.clear()
    ear.say(n.MSG_CHANNEL_OPEN, NS(b"auth-agent@openssh.com") + u32(0) + u32(1 << 20) + u32(32768))
    dialled.settle()
    assert ear.numbers == [n.MSG_CHANNEL_OPEN_FAILURE]


# ── E20 ───────────────────────────────────────────────────────────────────────────────────────


def test_E20_a_change_of_the_password_is_marked_as_the_servers() -> None:
    person = Person(b"old", b"old", b"new")
    dialled, ear = asking(ui=person)
    ear.refuse(b"password")
    dialled.settle()
    ear.say(60, NS(b"Passphrase for the key /home/alice/.ssh/id_ed25519: ") + NS(b""))
    dialled.settle()
    assert len(person.asked) == 3
    lines = b"\n".join(person.asked[1:]).split(b"\n")
    assert len(lines) == 3
    assert all(line.startswith(b"(alice@server.test) ") for line in lines)


def test_E20_every_line_of_a_question_is_marked() -> None:
    person = Person(b"answer")
    dialled, ear = asking(ui=person)
    ear.refuse(b"keyboard-interactive")
    dialled.settle()
    prompt = b"Code:\nPassphrase for the key /home/alice/.ssh/id_ed25519: "
    ear.say(60, NS(b"") + NS(b"") + NS(b"") + u32(1) + NS(prompt) + boolean(False))
    dialled.settle()
    (asked,) = person.asked
    assert all(line.startswith(b"(alice@server.test) ") for line in asked.split(b"\n"))


# ── what comes before it was asked for, or never ──────────────────────────────────────────────


class Sink(Protocol):
    """Counts."""

    size = 0

    def dataReceived(self, data: bytes) -> None:
        self.size += len(data)


@pytest.mark.parametrize("isError", [False, True])
def test_V5_G13_output_before_the_program_is_started(isError: bool) -> None:
    """A server that sends, and never says that it has started what sends."""
    dialled, ear = loggedIn()
    assert dialled.client is not None
    sink = Sink()
    receiver = StreamReceiver(Program(EXEC, b"x"), sink)
    dialled.client.connection.openChannel(receiver.channel)
    dialled.settle()
    confirm(ear)
    piece = NS(b"x" * 32768)
    message = (95, u32(0) + u32(1) + piece) if isError else (94, u32(0) + piece)
    # As an honest server does it: no more than it was granted.
    granted, sent = WINDOW, 0
    for _ in range(500):
        if sent + 32768 > granted:
            break
        ear.say(*message)
        sent += 32768
        dialled.settle()
        granted += 32768 * 64 * ear.numbers.count(n.MSG_CHANNEL_WINDOW_ADJUST)
        ear.heard.clear()
    assert sent <= WINDOW
    assert sum(len(data) for _, data in receiver._early) == sent
    ear.say(n.MSG_CHANNEL_SUCCESS, u32(0))
    dialled.settle()
    assert sink.size == (0 if isError else sent)
    assert n.MSG_CHANNEL_WINDOW_ADJUST in ear.numbers


def test_V3_a_time_limit_holds_where_no_channel_is_opened() -> None:
    dialled, _ = loggedIn()
    assert dialled.client is not None
    outcomes: list[Any] = []
    Client(dialled.client).run("x", timeoutSeconds=5).addBoth(outcomes.append)
    dialled.settle()
    dialled.wait(6)
    assert [outcome.type for outcome in outcomes] == [CommandTimedOut]


def test_V3_a_time_limit_holds_where_no_close_is_answered() -> None:
    dialled, ear = loggedIn()
    assert dialled.client is not None
    outcomes: list[Any] = []
    Client(dialled.client).run("x", timeoutSeconds=5).addBoth(outcomes.append)
    dialled.settle()
    confirm(ear)
    ear.say(94, u32(0) + NS(b"so far"))
    dialled.settle()
    dialled.wait(6)
    assert [outcome.type for outcome in outcomes] == [CommandTimedOut]
    assert outcomes[0].value.result.stdout == b"so far"
    # What comes now is nobody's, and no further end of it is told.
    ear.say(97, u32(0))
    dialled.settle()
    dialled.wait(100)
    assert len(outcomes) == 1


def test_V7_errors_hold_nothing_that_a_terminal_acts_on() -> None:
    dialled, ear = loggedIn()
    assert dialled.client is not None
    outcomes: list[Any] = []
    Client(dialled.client).run("x", check=True).addBoth(outcomes.append)
    dialled.settle()
    confirm(ear)
    ear.say(n.MSG_CHANNEL_SUCCESS, u32(0))
    ear.say(95, u32(0) + u32(1) + NS(b"first\n\x1b]0;title\x07\x1b[2J\xff\n"))
    ear.say(98, u32(0) + NS(b"exit-status") + boolean(False) + u32(1))
    ear.say(97, u32(0))
    dialled.settle()
    assert outcomes[0].check(CommandFailed)
    assert str(outcomes[0].value).isprintable()
    assert "title" in str(outcomes[0].value)


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".test", ".test"])
def test_V1_a_name_that_no_resolver_takes(name: str) -> None:
    dialled = Dialled(Ear(), HostName=name)
    assert isinstance(dialled.failure, ConnectFailed)
    assert dialled.outcomes == 1
    assert not dialled.reactor.getDelayedCalls()
