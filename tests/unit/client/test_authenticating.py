"""Logging in as the configuration says: what is sent to the server, and who is asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import defer
from twisted.logger import capturedLogs
from zope.interface import implementer

from limpet.client.authenticating import ConfiguredUserAuth, Credentials
from limpet.client.interaction import IUserInterface, NobodyToAsk
from limpet.core import authentication
from limpet.ssh.keys import Key
from limpet.wire.fields import NS, boolean, u32
from tests.pair.dialled import configFor
from tests.unit.ssh.userauth.doubles import Connection, Transport

KEY = Key.generate("ed25519")
RSA = Key.generate("rsa", 2048)


@implementer(IUserInterface)
class Person:
    """Answers from a list; a None in it means that nobody answers."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[bytes, bool]] = []
        self.told: list[bytes] = []

    def prompt(self, text: bytes) -> Any:
        return defer.succeed(False)

    def warn(self, text: bytes) -> None:
        self.told.append(text)

    show = warn

    def ask(self, prompt: bytes, echo: bool) -> Any:
        self.asked.append((prompt, echo))
        answer = self.answers.pop(0)
        return defer.fail(NobodyToAsk("no answer")) if answer is None else defer.succeed(answer)


class Login:
    """A client that logs in, and what it has sent."""

    def __init__(
        self,
        credentials: Credentials | None = None,
        person: Person | None = None,
        extensions: dict[bytes, bytes] | None = None,
        connectAgent: Any = None,
        **options: Any,
    ) -> None:
        self.person = person or Person()
        self.auth = ConfiguredUserAuth(
            configFor(**options),
            Connection(),
            credentials or Credentials(),
            self.person,
            connectAgent,
        )
        self.transport = Transport()
        self.transport.peerExtensions = extensions or {}
        self.transport.setService(self.auth)

    def refuse(self, *methods: bytes, partial: bool = False) -> None:
        self.auth.packetReceived(51, authentication.encodeFailure(methods, partial))

    def accept(self, algorithm: bytes, key: Key) -> None:
        self.auth.packetReceived(60, NS(algorithm) + NS(key.public().blob()))

    def question(self, *prompts: tuple[bytes, bool]) -> None:
        body = NS(b"Title") + NS(b"Text") + NS(b"") + u32(len(prompts))
        for prompt, echo in prompts:
            body += NS(prompt) + boolean(echo)
        self.auth.packetReceived(60, body)

    @property
    def sent(self) -> list[Any]:
        """Method and fields of each request; the answers of each response."""
        found: list[Any] = []
        for number, payload in self.transport.packets:
            if number == 50:
                request = authentication.parseRequest(payload)
                found.append((request.method, request.fields))
            elif number == 61:
                found.append(payload)
        return found

    @property
    def methods(self) -> list[bytes]:
        return [entry[0] for entry in self.sent if isinstance(entry, tuple)]


def offers(login: Login) -> list[tuple[bytes, bytes, bool]]:
    """Algorithm, key, and whether it is signed, of each request by key."""
    found = []
    for entry in login.sent:
        if isinstance(entry, tuple) and entry[0].startswith(b"publickey"):
            fields = authentication.parsePublicKey(entry[1], entry[0] == authentication.HOST_BOUND)
            found.append((fields.algorithm, fields.blob, fields.signature is not None))
    return found


class TestOrder:
    def test_publickeyQuestionsPassword(self) -> None:
        login = Login(Credentials(keys=[KEY]), Person(b"pw"))
        login.refuse(b"password", b"keyboard-interactive", b"publickey")
        login.refuse(b"password", b"keyboard-interactive", b"publickey")
        login.refuse(b"password")
        assert login.methods == [b"none", b"publickey", b"keyboard-interactive", b"password"]

    def test_asPreferred(self) -> None:
        login = Login(
            Credentials(keys=[KEY]),
            Person(b"pw"),
            PreferredAuthentications="password,publickey",
            NumberOfPasswordPrompts=1,
        )
        for _ in range(3):
            login.refuse(b"publickey", b"password", b"keyboard-interactive")
        assert login.methods == [b"none", b"password", b"publickey"]
        assert login.transport.disconnected[0][0] == 14

    @pytest.mark.parametrize(
        ("setting", "method"),
        [
            ("PubkeyAuthentication", b"publickey"),
            ("PasswordAuthentication", b"password"),
            ("KbdInteractiveAuthentication", b"keyboard-interactive"),
        ],
    )
    def test_excluded(self, setting: str, method: bytes) -> None:
        options: dict[str, Any] = {setting: "no"}
        login = Login(Credentials(keys=[KEY]), Person(b"pw"), **options)
        login.refuse(method)
        assert login.methods == [b"none"]
        text = f"not tried: {method.decode()}: the configuration excludes it"
        assert text in str(login.auth.failure())


class TestKeys:
    def test_eachIsOfferedBeforeItSigns(self) -> None:
        login = Login(Credentials(keys=[KEY, RSA]))
        login.refuse(b"publickey")
        login.refuse(b"publickey")
        login.accept(b"rsa-sha2-512", RSA)
        assert offers(login) == [
            (b"ssh-ed25519", KEY.public().blob(), False),
            (b"rsa-sha2-512", RSA.public().blob(), False),
            (b"rsa-sha2-512", RSA.public().blob(), True),
        ]

    def test_whatTheServerAnnounces(self) -> None:
        login = Login(
            Credentials(keys=[RSA]), extensions={b"server-sig-algs": b"rsa-sha2-256,ssh-rsa"}
        )
        login.refuse(b"publickey")
        assert offers(login) == [(b"rsa-sha2-256", RSA.public().blob(), False)]

    def test_noSHA1(self) -> None:
        login = Login(Credentials(keys=[RSA]), extensions={b"server-sig-algs": b"ssh-rsa"})
        login.refuse(b"publickey")
        assert offers(login) == []
        assert "no signature algorithm in common" in str(login.auth.failure())

    def test_whatTheConfigurationAccepts(self) -> None:
        login = Login(Credentials(keys=[KEY, RSA]), PubkeyAcceptedAlgorithms="rsa-sha2-256")
        login.refuse(b"publickey")
        assert offers(login) == [(b"rsa-sha2-256", RSA.public().blob(), False)]

    def test_boundToTheHostWhereTheServerKnowsThat(self) -> None:
        extensions = {b"publickey-hostbound@openssh.com": b"0"}
        login = Login(Credentials(keys=[KEY]), extensions=extensions)
        setattr(login.transport, "hostKeyBlob", b"host key")  # noqa: B010
        login.refuse(b"publickey")
        login.accept(b"ssh-ed25519", KEY)
        (_, offered), (method, signed) = login.sent[-2:]
        assert method == authentication.HOST_BOUND
        assert authentication.parsePublicKey(offered, True).hostKeyBlob == b"host key"
        fields = authentication.parsePublicKey(signed, True)
        data = authentication.signedData(
            login.transport.sessionID,
            b"alice",
            b"ssh-connection",
            b"ssh-ed25519",
            KEY.public().blob(),
            b"host key",
        )
        assert fields.signature is not None
        assert KEY.public().verify(fields.signature, data)

    def test_unbound(self) -> None:
        login = Login(
            Credentials(keys=[KEY]),
            extensions={b"publickey-hostbound@openssh.com": b"0"},
            PubkeyAuthentication="unbound",
        )
        setattr(login.transport, "hostKeyBlob", b"host key")  # noqa: B010
        login.refuse(b"publickey")
        assert login.methods == [b"none", b"publickey"]

    def test_twoKeysOneAfterTheOther(self) -> None:
        login = Login(Credentials(keys=[KEY, RSA]))
        login.refuse(b"publickey")
        login.accept(b"ssh-ed25519", KEY)
        login.refuse(b"publickey", partial=True)
        login.accept(b"rsa-sha2-512", RSA)
        assert [signed for _, _, signed in offers(login)] == [False, True, False, True]
        assert "accepted, and not enough" in login.auth.tried[0]

    def test_aFileWhoseNameIsNotUTF8KeepsNoOtherKeyFromBeingOffered(self, tmp_path: Path) -> None:
        odd = os.fsdecode(bytes(tmp_path) + b"/k\xff")
        login = Login(
            Credentials(keys=[KEY]),
            IdentityFile=odd,
            CertificateFile=odd,
        )
        login.refuse(b"publickey")
        assert [blob for _, blob, _ in offers(login)] == [KEY.public().blob()]
        assert all(b"k\\udcff" in text for text in login.person.told)

    def test_anAgentThatFails(self) -> None:
        login = Login(connectAgent=lambda: defer.fail(OSError("no agent at /x")))
        login.refuse(b"publickey")
        assert "the agent: no agent at /x" in str(login.auth.failure())

    def test_onlyWhatWasGiven(self) -> None:
        connected: list[int] = []
        login = Login(Credentials(keys=[KEY], only=True), connectAgent=lambda: connected.append(1))
        login.refuse(b"publickey")
        login.refuse(b"publickey")
        assert not connected
        assert len(offers(login)) == 1


class TestPasswords:
    def test_theOneGivenThenTheTyped(self) -> None:
        login = Login(Credentials(password=b"given"), Person(b"one", b"two", b"three", b"four"))
        for _ in range(5):
            login.refuse(b"password")
        sent = [authentication.parsePassword(entry[1]).password for entry in login.sent[1:]]
        assert sent == [b"given", b"one", b"two", b"three"]
        wrong = b"alice@server.test does not take that password; try again\n"
        assert login.person.told == [wrong, wrong]
        assert login.transport.disconnected[0][0] == 14

    def test_nobodyAnswers(self) -> None:
        login = Login(person=Person(None))
        with capturedLogs() as logged:
            login.refuse(b"password")
        assert logged == []
        assert login.methods == [b"none", b"none"]
        assert "not tried: password: no answer" in str(failureOf(login))

    def test_batchModeAsksNobody(self) -> None:
        login = Login(BatchMode="yes")
        login.refuse(b"password", b"keyboard-interactive")
        assert login.person.asked == []
        # Nor is the server asked to ask: it might send somebody a code.
        assert login.methods == [b"none"]
        text = str(login.auth.failure())
        for method in ("password", "keyboard-interactive"):
            assert f"not tried: {method}: BatchMode is on, so nobody is asked" in text

    @pytest.mark.parametrize(
        ("given", "methods"),
        [
            ({"password": b"pw"}, [b"none", b"keyboard-interactive"]),
            ({"answer": lambda *asked: [b"pw"]}, [b"none", b"keyboard-interactive"]),
        ],
    )
    def test_batchModeTriesWhatWasGiven(self, given: dict[str, Any], methods: list[bytes]) -> None:
        login = Login(Credentials(**given), BatchMode="yes")
        login.refuse(b"keyboard-interactive", b"password")
        assert login.methods == methods
        login.question((b"Password: ", False))
        assert login.sent[-1] == u32(1) + NS(b"pw")

    def test_aPasswordThatHasToBeChanged(self) -> None:
        login = Login(person=Person(b"old", b"old", b"new"))
        login.refuse(b"password")
        login.auth.packetReceived(60, NS(b"Expired.") + NS(b""))
        assert [prompt for prompt, _ in login.person.asked][1:] == [
            b"(alice@server.test) Expired.\n(alice@server.test) Old password: ",
            b"(alice@server.test) New password: ",
        ]
        fields = authentication.parsePassword(login.sent[-1][1])
        assert (fields.password, fields.newPassword) == (b"old", b"new")


def failureOf(login: Login) -> Any:
    """The failure, once the server has named its methods again."""
    login.refuse(b"password")
    return login.auth.failure()


class TestQuestions:
    def test_areAskedOneByOne(self) -> None:
        login = Login(person=Person(b"a", b"b"))
        login.refuse(b"keyboard-interactive")
        login.question((b"Name: ", True), (b"Secret: ", False))
        assert login.person.told == [b"Title\nText\n"]
        assert login.person.asked == [
            (b"(alice@server.test) Name: ", True),
            (b"(alice@server.test) Secret: ", False),
        ]
        assert login.sent[-1] == u32(2) + NS(b"a") + NS(b"b")

    def test_aPasswordAnswersTheOneSecretQuestion(self) -> None:
        login = Login(Credentials(password=b"pw", only=True))
        login.refuse(b"keyboard-interactive")
        login.question((b"Password: ", False))
        assert login.sent[-1] == u32(1) + NS(b"pw")
        # And only once: a server that asks again did not like it.
        login.refuse(b"keyboard-interactive")
        login.question((b"Password: ", False))
        assert login.methods == [b"none", b"keyboard-interactive", b"keyboard-interactive", b"none"]

    @pytest.mark.parametrize("prompts", [[(b"Code: ", True)], [(b"A", False), (b"B", False)]])
    def test_aPasswordAnswersNothingElse(self, prompts: Any) -> None:
        login = Login(Credentials(password=b"pw", only=True))
        login.refuse(b"keyboard-interactive")
        login.question(*prompts)
        assert b"pw" not in repr(login.sent).encode()

    def test_theProgramAnswers(self) -> None:
        asked: list[Any] = []

        def answer(*arguments: Any) -> Any:
            asked.append(arguments)
            return [b"42"]

        login = Login(Credentials(answer=answer))
        login.refuse(b"keyboard-interactive")
        login.question((b"Code: ", True))
        assert asked == [(b"Title", b"Text", [(b"Code: ", True)])]
        assert login.sent[-1] == u32(1) + NS(b"42")

    def test_noQuestions(self) -> None:
        login = Login()
        login.refuse(b"keyboard-interactive")
        login.question()
        assert login.sent[-1] == u32(0)


def test_theBannerIsShown() -> None:
    login = Login()
    login.auth.packetReceived(53, NS(b"hello\x07") + NS(b""))
    assert login.person.told == [b"hello\\x07"]


def test_failuresHoldNoSecrets() -> None:
    login = Login(Credentials(password=b"sesame"), Person(b"opensesame"))
    for _ in range(3):
        login.refuse(b"password")
    assert "sesame" not in str(login.auth.failure())
    assert "sesame" not in repr(login.auth.credentials)
