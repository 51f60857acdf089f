"""Hostile servers against the client: before the keys, while logging in, and afterwards.

The server is `Ear`: it exchanges keys properly and then says whatever the row asks for.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from twisted.internet import defer
from zope.interface import implementer

from limpet.client import authenticating
from limpet.client.authenticating import Credentials
from limpet.client.connecting import KEX_SECONDS
from limpet.client.errors import (
    AuthenticationFailed,
    ClientError,
    ConnectionEnded,
    HandshakeFailed,
    HostKeyRefused,
)
from limpet.client.hostpolicy import JudgedHostKeys, PinnedHostKeys
from limpet.client.interaction import IUserInterface
from limpet.core import authentication
from limpet.core.phases import Phase
from limpet.ssh.channel import SSHChannel
from limpet.ssh.keys import Key
from limpet.wire import numbers as n
from limpet.wire.fields import NS, boolean, u32
from tests.pair.dialled import Dialled, Ear
from tests.pair.stack import HOST_KEY, makeFactory

KEY = Key.generate("ed25519")
SECRET = b"correct horse"
PASSWORD = Credentials(password=SECRET, only=True)
WITH_KEY = Credentials(keys=[KEY], only=True)


@implementer(IUserInterface)
class Person:
    """Answers what it is asked, and remembers it all."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.asked: list[bytes] = []
        self.shown: list[bytes] = []

    def prompt(self, text: bytes) -> defer.Deferred[bool]:
        self.asked.append(text)
        return defer.succeed(False)

    def warn(self, text: bytes) -> None:
        self.shown.append(text)

    def show(self, text: bytes) -> None:
        self.shown.append(text)

    def ask(self, prompt: bytes, echo: bool) -> defer.Deferred[bytes]:
        self.asked.append(prompt)
        return defer.succeed(self.answers.pop(0))


def secretLeft(ear: Ear) -> bool:
    """Whether the secret reached the server in any message."""
    return any(SECRET in payload for _, payload in ear.heard)


def saidNothing(ear: Ear) -> bool:
    """Whether the server has heard nothing but that the client goes."""
    return set(ear.numbers) <= {n.MSG_DISCONNECT}


def asking(ear: Ear | None = None, **arguments: Any) -> tuple[Dialled, Ear]:
    """A client that has asked to log in."""
    ear = Ear() if ear is None else ear
    dialled = Dialled(ear, **arguments)
    assert ear.numbers[:2] == [n.MSG_SERVICE_REQUEST, n.MSG_USERAUTH_REQUEST]
    return dialled, ear


# ── A: before the keys ────────────────────────────────────────────────────────────────────────


class Mute:
    """A server that accepts a connection and says no more than it is given."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.transport: Any = None

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self.next()

    def next(self) -> None:
        if self.pieces:
            self.transport.write(self.pieces.pop(0))

    def dataReceived(self, data: bytes) -> None:
        """It says nothing."""

    def connectionLost(self, reason: Any) -> None:
        """It does not mind."""


@pytest.mark.parametrize("timeout", [None, 5])
def test_A2_a_server_that_never_speaks(timeout: int | None) -> None:
    options: dict[str, Any] = {} if timeout is None else {"ConnectTimeout": timeout}
    dialled = Dialled(Mute(), **options)
    dialled.wait((timeout or KEX_SECONDS) - 1)
    assert dialled.outcomes == 0
    dialled.wait(2)
    assert isinstance(dialled.failure, HandshakeFailed)
    dialled.wait(10)
    assert dialled.ended
    assert dialled.outcomes == 1
    assert not dialled.reactor.getDelayedCalls()


def test_A2_one_byte_every_ten_seconds() -> None:
    mute = Mute(*(bytes([byte]) for byte in b"SSH-2.0-slow" * 10))
    dialled = Dialled(mute)
    for _ in range(int(KEX_SECONDS / 10) + 1):
        mute.next()
        dialled.wait(10)
    assert isinstance(dialled.failure, HandshakeFailed)
    assert dialled.outcomes == 1


def test_A2_a_server_that_stops_after_its_kexinit() -> None:
    ear = Ear()
    ear._keyExchangeMessage = lambda number, packet: None  # type: ignore[method-assign]
    dialled = Dialled(ear, credentials=PASSWORD)
    dialled.wait(KEX_SECONDS + 1)
    assert isinstance(dialled.failure, HandshakeFailed)


def test_A2_a_server_that_accepts_no_service() -> None:
    dialled = Dialled(Ear(accepts=False), credentials=PASSWORD)
    dialled.wait(KEX_SECONDS + 1)
    assert isinstance(dialled.failure, ClientError)
    assert dialled.outcomes == 1


def test_A2_a_server_that_answers_no_login() -> None:
    dialled, ear = asking(credentials=PASSWORD)
    dialled.wait(authenticating.ANSWER_SECONDS - 1)
    assert dialled.outcomes == 0
    dialled.wait(2)
    assert isinstance(dialled.failure, AuthenticationFailed)
    assert "no answer within 60 s" in str(dialled.failure)
    assert not secretLeft(ear)


def test_A2_a_person_may_think_as_long_as_they_like() -> None:
    thinking: defer.Deferred[bytes] = defer.Deferred()
    person = Person()
    person.ask = lambda prompt, echo: thinking  # type: ignore[method-assign]
    dialled, ear = asking(ui=person)
    ear.refuse(b"password")
    dialled.settle()
    dialled.wait(3600)
    assert dialled.outcomes == 0
    thinking.callback(SECRET)
    dialled.settle()
    assert secretLeft(ear)


# ── C: injection before keys ──────────────────────────────────────────────────────────────────


class Early(Ear):
    """Says one message as its first, before its KEXINIT or in its place."""

    number = 0
    payload = b""
    instead = False

    def sendKexInit(self) -> None:
        if not self.instead:
            super().sendKexInit()
        self.say(self.number, self.payload)


@pytest.mark.parametrize("instead", [False, True])
@pytest.mark.parametrize(
    ("number", "payload"),
    [
        (n.MSG_SERVICE_ACCEPT, NS(b"ssh-userauth")),
        (n.MSG_EXT_INFO, u32(0)),
        (52, b""),
        (60, NS(b"") * 3 + u32(1) + NS(b"Password: ") + boolean(False)),
        (53, NS(b"hello") + NS(b"")),
        (90, NS(b"session") + u32(0) * 3),
    ],
)
def test_C4_injected_before_the_keys(number: int, payload: bytes, instead: bool) -> None:
    ear = Early()
    ear.number, ear.payload, ear.instead = number, payload, instead
    dialled = Dialled(ear, credentials=PASSWORD, ui=Person(SECRET))
    dialled.run()
    assert isinstance(dialled.failure, HandshakeFailed)
    # Not even the request for the service has left.
    assert n.MSG_SERVICE_REQUEST not in ear.numbers
    assert not secretLeft(ear)


def test_C5_a_third_ext_info() -> None:
    dialled, ear = asking(credentials=PASSWORD)
    ear.say(n.MSG_EXT_INFO, u32(0))
    ear.say(n.MSG_EXT_INFO, u32(0))
    dialled.settle()
    assert dialled.outcomes == 1
    assert isinstance(dialled.failure, ClientError)


def test_C12_another_host_key_in_a_later_exchange() -> None:
    other = Key.generate("ed25519")
    server: Any = makeFactory().buildProtocol(None)
    dialled = Dialled(server, credentials=PASSWORD)
    dialled.run()
    assert dialled.client is not None
    server.factory.privateKeys = {b"ssh-ed25519": other}
    server.factory.publicKeys = {b"ssh-ed25519": other.public()}
    # Ours would keep the key that it had.
    server._keptHostKey = None
    server.sendKexInit()
    dialled.settle()
    assert isinstance(dialled.client.whyClosed, ConnectionEnded)
    assert "host key changed" in str(dialled.client.whyClosed)


# ── D: what a server shows of itself ──────────────────────────────────────────────────────────


@pytest.mark.parametrize("change", ["empty", "other hash", "other key", "other algorithm"])
def test_D6_a_signature_that_is_none(change: str) -> None:
    class Forging(Ear):
        def _kexContext(self, suite: Any) -> Any:
            context = super()._kexContext(suite)
            made = {
                "empty": lambda data: b"",
                "other hash": lambda data: HOST_KEY.sign(data + b"x"),
                "other key": lambda data: KEY.sign(data),
                "other algorithm": lambda data: NS(b"ssh-rsa") + NS(bytes(64)),
            }[change]
            return dataclasses.replace(context, sign=made)

    judged: list[Any] = []

    def judge(*arguments: Any) -> bool:
        judged.append(arguments)
        return True

    policy = JudgedHostKeys(judge)
    ear = Forging()
    dialled = Dialled(ear, credentials=PASSWORD, hostKeys=policy)
    assert isinstance(dialled.failure, HandshakeFailed)
    assert not judged
    assert saidNothing(ear)


# ── E: while logging in ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [50, 61, 5, 80, 90, 94, 98])
def test_E2_messages_of_the_other_role_or_of_a_later_phase(number: int) -> None:
    dialled, ear = asking(credentials=PASSWORD)
    ear.say(number, b"")
    dialled.settle()
    assert isinstance(dialled.failure, AuthenticationFailed)
    assert dialled.ended
    assert not secretLeft(ear)


def test_E19_a_login_without_proof_is_known_for_one() -> None:
    dialled, ear = asking(credentials=WITH_KEY)
    ear.say(52)
    dialled.settle()
    assert dialled.client is not None
    assert not dialled.client.provedIdentity


def test_E20_acceptance_of_a_key_that_was_not_offered() -> None:
    dialled, ear = asking(credentials=WITH_KEY)
    ear.refuse(b"publickey")
    dialled.settle()
    ear.say(60, NS(b"ssh-ed25519") + NS(HOST_KEY.public().blob()))
    dialled.settle()
    assert isinstance(dialled.failure, AuthenticationFailed)
    assert [method for method, _ in ear.requests()] == [b"none", authentication.HOST_BOUND]


def test_E20_refusals_without_end() -> None:
    dialled, ear = asking(ui=Person(*[SECRET] * 100), NumberOfPasswordPrompts=100)
    for _ in range(100_000):
        if dialled.failure is not None:
            break
        ear.refuse(b"password")
        dialled.settle()
    assert isinstance(dialled.failure, AuthenticationFailed)
    assert len(ear.requests()) <= 33


def test_E20_a_password_is_asked_for_three_times() -> None:
    person = Person(b"one", b"two", b"three", b"four")
    dialled, ear = asking(ui=person)
    for _ in range(5):
        ear.refuse(b"password")
        dialled.settle()
    assert person.asked == [b"alice@server.test's password: "] * 3
    assert isinstance(dialled.failure, AuthenticationFailed)


def test_E20_questions_without_end() -> None:
    dialled, ear = asking(ui=Person(*[b"x"] * 100))
    ear.refuse(b"keyboard-interactive")
    dialled.settle()
    question = NS(b"") * 3 + u32(1) + NS(b"More? ") + boolean(True)
    for _ in range(100):
        ear.say(60, question)
        dialled.settle()
    assert isinstance(dialled.failure, AuthenticationFailed)
    assert len(ear.heard) < 40


def test_E20_prompts_beyond_the_payload() -> None:
    dialled, ear = asking(ui=Person(SECRET))
    ear.refuse(b"keyboard-interactive")
    dialled.settle()
    ear.say(60, NS(b"") * 3 + u32(0xFFFFFFFF))
    dialled.settle()
    assert isinstance(dialled.failure, AuthenticationFailed)
    assert not secretLeft(ear)


def test_E20_banners_without_end() -> None:
    person = Person()
    dialled, ear = asking(ui=person)
    for _ in range(40):
        ear.say(53, NS(b"x" * 4000) + NS(b""))
    dialled.settle()
    assert isinstance(dialled.failure, AuthenticationFailed)
    assert sum(map(len, person.shown)) <= authentication.MAX_TEXT_LENGTH


def test_E20_what_a_server_asks_is_marked_as_the_servers() -> None:
    """A question of the server's cannot pass for one about a key of the user's."""
    person = Person(b"x")
    dialled, ear = asking(ui=person)
    ear.refuse(b"keyboard-interactive")
    dialled.settle()
    text = b"Passphrase for the key /home/alice/.ssh/id\x1b[2K: "
    ear.say(60, NS(b"") * 3 + u32(1) + NS(text) + boolean(False))
    dialled.settle()
    assert person.asked == [
        b"(alice@server.test) Passphrase for the key /home/alice/.ssh/id\\x1b[2K: "
    ]


@pytest.mark.parametrize("outcome", ["false", "failure", "none", "text", "cancelled"])
def test_E21_no_password_before_the_host_is_verified(outcome: str) -> None:
    verdict: defer.Deferred[Any] = defer.Deferred()
    ear = Ear()
    dialled = Dialled(
        ear,
        credentials=PASSWORD,
        hostKeys=JudgedHostKeys(lambda host, port, key: verdict),
        ConnectTimeout=5,
    )
    # What a person takes to judge a key is no time of the server's.
    dialled.wait(100)
    assert dialled.outcomes == 0
    assert saidNothing(ear)
    if outcome == "failure":
        verdict.errback(ValueError("no"))
    elif outcome == "cancelled":
        dialled.connecting.cancel()
    else:
        verdict.callback({"false": False, "none": None, "text": "yes"}[outcome])
    dialled.settle()
    assert saidNothing(ear)
    assert dialled.ended
    assert dialled.outcomes == 1
    if outcome != "cancelled":
        assert isinstance(dialled.failure, HostKeyRefused)


def test_E21_the_password_goes_where_it_was_said_to_go() -> None:
    """The control of the test above: with a yes it does leave."""
    ear = Ear()
    dialled = Dialled(ear, credentials=PASSWORD, hostKeys=JudgedHostKeys(lambda *_: True))
    ear.refuse(b"password")
    dialled.settle()
    assert secretLeft(ear)


# ── K: who vouches for the host ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "error", [MemoryError(), ValueError("x"), TimeoutError(), KeyError("x"), RuntimeError()]
)
@pytest.mark.parametrize("step", ["algorithms", "verify", "later"])
def test_K1_a_verifier_that_breaks(error: Exception, step: str) -> None:
    class Breaking(PinnedHostKeys):
        def algorithms(self, config: Any) -> Any:
            if step == "algorithms":
                raise error
            return super().algorithms(config)

        def verify(self, config: Any, address: Any, keyBlob: bytes, ui: Any) -> Any:
            if step == "later":
                return defer.fail(error)
            raise error

    ear = Ear()
    dialled = Dialled(ear, credentials=PASSWORD, hostKeys=Breaking([HOST_KEY]))
    assert dialled.failure is not None
    assert dialled.client is None
    assert saidNothing(ear)
    assert dialled.outcomes == 1


@pytest.mark.parametrize("verdict", [1, "yes", [True], object()])
def test_K1_only_true_is_true(verdict: object) -> None:
    class Odd(PinnedHostKeys):
        def verify(self, config: Any, address: Any, keyBlob: bytes, ui: Any) -> Any:
            return verdict

    ear = Ear()
    dialled = Dialled(ear, hostKeys=Odd([]))
    assert isinstance(dialled.failure, HostKeyRefused)
    assert saidNothing(ear)


def test_K5_requests_that_the_server_makes_of_a_client() -> None:
    server: Any = makeFactory().buildProtocol(None)
    dialled = Dialled(server, credentials=PASSWORD)
    dialled.run()
    assert dialled.client is not None
    answers: list[Any] = []
    keys = b"".join(NS(KEY.public().blob()) for _ in range(10))
    for name, data in (
        (b"roaming@appgate.com", b""),
        (b"hostkeys-00@openssh.com", keys),
        (b"tcpip-forward", NS(b"") + u32(0)),
        (b"no-more-sessions@openssh.com", b""),
    ):
        asked = server.service.sendGlobalRequest(name, data, wantReply=True)
        asked.addCallbacks(lambda _: answers.append("yes"), lambda _: answers.append("no"))
    dialled.settle()
    assert answers == ["no"] * 4
    assert dialled.client.whyClosed is None


@pytest.mark.parametrize(
    "kind", [b"session", b"direct-tcpip", b"x11", b"auth-agent@openssh.com", b"forwarded-tcpip"]
)
def test_K5_channels_that_the_server_opens(kind: bytes) -> None:
    server: Any = makeFactory().buildProtocol(None)
    dialled = Dialled(server, credentials=PASSWORD)
    dialled.run()
    outcome: list[str] = []

    class Channel(SSHChannel):
        name = kind

        def channelOpen(self, specificData: bytes) -> None:
            outcome.append("open")

        def openFailed(self, reason: Any) -> None:
            outcome.append("refused")

    server.service.openChannel(Channel(), NS(b"127.0.0.1") + u32(1) + NS(b"127.0.0.1") + u32(1))
    dialled.settle()
    assert outcome == ["refused"]


def test_V6_nothing_of_a_refused_server_stays() -> None:
    for number in (50, 61, 90):
        dialled, ear = asking(credentials=PASSWORD)
        ear.say(number)
        dialled.settle()
        dialled.wait(10)
        assert not dialled.reactor.getDelayedCalls()


def test_E8_phase_table_knows_both_roles() -> None:
    """The control of E2: the same messages are what a server has to take."""
    server: Any = makeFactory().buildProtocol(None)
    dialled = Dialled(server, credentials=PASSWORD)
    dialled.run()
    assert server.phase is Phase.CONNECTION
