"""SSHUserAuthServer: methods, answers, factors, banner, hooks."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import defer
from zope.interface import implementer

from limpet.checkers import (
    InMemorySSHKeyDB,
    KeyboardInteractiveChecker,
    KeyboardInteractivePasswordChecker,
    SSHProtocolChecker,
    SSHPublicKeyChecker,
)
from limpet.core.authorizedkeys import AuthorizedKey, KeyOptions, Restrictions
from limpet.error import IgnoreAuthentication, PasswordChangeRequired, ValidPublicKey
from limpet.interfaces import IPasswordChangeCredentials
from limpet.ssh.keys import Key
from limpet.ssh.userauth import SSHUserAuthServer
from limpet.wire.errors import WireError
from limpet.wire.fields import NS, boolean, u32
from tests.unit.ssh.userauth.doubles import (
    ALICE_KEY,
    BANNER,
    FAILURE,
    HOST_BLOB,
    MIDDLE,
    OTHER_KEY,
    SUCCESS,
    Passwords,
    Session,
)


def keyChecker(**options: Any) -> SSHPublicKeyChecker:
    """Alice's key, with options."""
    entry = AuthorizedKey(b"ssh-ed25519", ALICE_KEY.public().blob(), KeyOptions(**options))
    return SSHPublicKeyChecker(InMemorySSHKeyDB({b"alice": [entry]}))


class TestNone:
    def test_listsTheMethods(self) -> None:
        session = Session(keyChecker(), Passwords(alice=b"pw"))
        session.none()
        assert session.failures() == [((b"publickey", b"password"), False)]
        assert not session.loggedIn

    def test_noPasswordsInTheClear(self) -> None:
        session = Session(keyChecker(), Passwords(alice=b"pw"))
        session.transport.encrypted = False
        session.transport.setService(session.server)
        session.none()
        assert session.failures() == [((b"publickey",), False)]
        session.password(b"pw")
        session.wait()
        assert not session.loggedIn

    def test_overridden(self) -> None:
        class Open(SSHUserAuthServer):
            def auth_none(self, packet: bytes) -> defer.Deferred[Any]:
                return defer.succeed((None, "avatar", lambda: None))

        session = Session(service=Open)
        session.none()
        assert session.numbers == [SUCCESS]


class TestPublicKey:
    def test_queryThenSignature(self) -> None:
        session = Session()
        session.query()
        ((number, payload),) = session.answers
        assert number == MIDDLE
        assert payload == NS(b"ssh-ed25519") + NS(ALICE_KEY.public().blob())
        session.sign()
        assert session.numbers == [MIDDLE, SUCCESS]
        assert session.realm.loggedIn == [b"alice"]
        assert session.transport.avatar == ("avatar of", b"alice")
        assert session.transport.service.name == b"ssh-connection"

    def test_unknownKey(self) -> None:
        session = Session()
        session.query(OTHER_KEY)
        session.sign(OTHER_KEY)
        session.wait()
        assert session.numbers == [FAILURE, FAILURE]

    def test_wrongSignature(self) -> None:
        session = Session()
        session.sign(OTHER_KEY, shown=ALICE_KEY)
        session.wait()
        assert session.numbers == [FAILURE]

    @pytest.mark.parametrize("algorithm", [b"rsa-sha2-256", b"rsa-sha2-512"])
    def test_rsaWithSha2(self, algorithm: bytes) -> None:
        key = Key.generate("rsa", 2048)
        session = Session(keys={b"alice": [key.public()]})
        session.request(b"publickey", boolean(False) + NS(algorithm) + NS(key.public().blob()))
        assert session.numbers == [MIDDLE]

    def test_hostBound(self) -> None:
        session = Session()
        session.sign(hostKey=HOST_BLOB)
        assert session.numbers == [SUCCESS]

    def test_checkerThatForgetsTheSignature(self) -> None:
        """A checker that says yes to a query logs nobody in; one that does not verify, neither."""

        @implementer(ICredentialsChecker)
        class Careless(SSHPublicKeyChecker):
            def requestAvatarId(self, credentials: Any) -> defer.Deferred[Any]:
                return defer.succeed(credentials.username)

        session = Session(Careless(InMemorySSHKeyDB({})))
        session.query()
        assert session.numbers == [MIDDLE]
        assert session.realm.loggedOut == [b"alice"]
        session.sign(OTHER_KEY, shown=ALICE_KEY)
        session.wait()
        assert session.numbers == [MIDDLE, FAILURE]
        session.sign(OTHER_KEY)
        assert session.numbers == [MIDDLE, FAILURE, SUCCESS]

    def test_restrictionsReachTheTransport(self) -> None:
        allowed = Restrictions(forcedCommand=b"uptime", allowPty=False)
        session = Session(keyChecker(restrictions=allowed))
        session.sign()
        assert session.loggedIn
        assert session.transport.restrictions == allowed


class TestPassword:
    def test_right(self) -> None:
        session = Session(Passwords(alice=b"pw"))
        session.password(b"pw")
        assert session.numbers == [SUCCESS]

    def test_wrongComesLate(self) -> None:
        session = Session(Passwords(alice=b"pw"))
        session.password(b"no")
        assert session.numbers == []
        session.wait(0.99)
        assert session.numbers == []
        session.wait(0.1)
        assert session.numbers == [FAILURE]
        assert session.server.loginAttempts == 1

    def test_changeRequiredAndDone(self) -> None:
        changed: list[tuple[bytes, bytes]] = []

        class Expired(Passwords):
            def requestAvatarId(self, credentials: Any) -> defer.Deferred[Any]:
                return defer.fail(PasswordChangeRequired(b"too old"))

        @implementer(ICredentialsChecker)
        class Changer:
            credentialInterfaces = (IPasswordChangeCredentials,)

            def requestAvatarId(self, credentials: Any) -> defer.Deferred[Any]:
                changed.append((credentials.password, credentials.newPassword))
                return defer.succeed(credentials.username)

        session = Session(Expired(), Changer())
        session.password(b"old")
        assert session.answers == [(MIDDLE, NS(b"too old") + NS(b""))]
        session.request(b"password", b"\xff" + NS(b"old") + NS(b"new"))
        assert changed == [(b"old", b"new")]
        assert session.numbers == [MIDDLE, SUCCESS]

    def test_changeNobodyCanDo(self) -> None:
        """The old password is right, but nothing would be changed: that is no login."""
        session = Session(Passwords(alice=b"pw"))
        session.request(b"password", b"\x01" + NS(b"pw") + NS(b"new"))
        session.wait()
        assert session.numbers == [FAILURE]


class Device:
    """Asks two rounds of questions."""

    def __init__(self) -> None:
        self.answers: list[list[bytes]] = []
        self.failures: list[Any] = []

    def authenticate(self, credentials: Any) -> defer.Deferred[Any]:
        asked = credentials.ask([(b"Pet? ", True), (b"PIN? ", False)], b"Bank", b"Be honest")
        asked.addCallback(self.first, credentials)
        asked.addErrback(self.failed)
        return asked  # type: ignore[no-any-return]

    def first(self, answers: list[bytes], credentials: Any) -> Any:
        self.answers.append(answers)
        return credentials.ask([]).addCallback(lambda last: answers == [b"cat", b"1234"])

    def failed(self, reason: Any) -> Any:
        self.failures.append(reason)
        return reason


KBDINT = NS(b"") + NS(b"pam,otp")


class TestKeyboardInteractive:
    def test_twoRounds(self) -> None:
        device = Device()
        session = Session(KeyboardInteractiveChecker(device))
        session.none()
        assert session.failures() == [((b"keyboard-interactive",), False)]
        session.request(b"keyboard-interactive", KBDINT)
        prompts = NS(b"Pet? ") + b"\x01" + NS(b"PIN? ") + b"\x00"
        assert session.answers[1:] == [
            (MIDDLE, NS(b"Bank") + NS(b"Be honest") + NS(b"") + u32(2) + prompts)
        ]
        session.server.packetReceived(61, u32(2) + NS(b"cat") + NS(b"1234"))
        assert session.answers[2:] == [(MIDDLE, NS(b"") * 3 + u32(0))]
        session.server.packetReceived(61, u32(0))
        assert session.numbers == [FAILURE, MIDDLE, MIDDLE, SUCCESS]

    def test_wrongAnswer(self) -> None:
        session = Session(KeyboardInteractiveChecker(Device()))
        session.request(b"keyboard-interactive", KBDINT)
        session.server.packetReceived(61, u32(2) + NS(b"dog") + NS(b"1234"))
        session.server.packetReceived(61, u32(0))
        session.wait()
        assert session.numbers == [MIDDLE, MIDDLE, FAILURE]

    def test_anotherRequestEndsTheConversation(self) -> None:
        """Without an answer of its own (RFC 4256 section 3.1), but counted."""
        device = Device()
        session = Session(KeyboardInteractiveChecker(device), keyChecker())
        session.request(b"keyboard-interactive", KBDINT)
        session.sign()
        assert session.numbers == [MIDDLE, SUCCESS]
        assert len(device.failures) == 1
        assert session.server.loginAttempts == 1

    def test_passwordByQuestion(self) -> None:
        passwords = Passwords(alice=b"pw")
        session = Session(KeyboardInteractivePasswordChecker(passwords))
        session.request(b"keyboard-interactive", KBDINT)
        session.server.packetReceived(61, u32(1) + NS(b""))
        session.wait()
        assert session.numbers == [MIDDLE, FAILURE]
        assert passwords.asked == []
        session.request(b"keyboard-interactive", KBDINT)
        session.server.packetReceived(61, u32(1) + NS(b"pw"))
        assert session.numbers[-1] == SUCCESS

    def test_typingTimeIsNotDelayed(self) -> None:
        session = Session(KeyboardInteractiveChecker(Device()))
        session.request(b"keyboard-interactive", KBDINT)
        session.wait(40)
        session.server.packetReceived(61, u32(1))
        session.wait(1.1)
        assert session.numbers == [MIDDLE, FAILURE]


class Both(SSHProtocolChecker):
    """A key and a password."""

    def areDone(self, avatarId: Any) -> bool:
        return len(self.successfulCredentials[avatarId]) >= 2


def both(passwords: Any = None, keys: Any = None) -> Both:
    checker = Both()
    checker.registerChecker(keys if keys is not None else keyChecker())
    checker.registerChecker(passwords if passwords is not None else Passwords(alice=b"pw"))
    return checker


class TestSeveralFactors:
    def test_keyThenPassword(self) -> None:
        session = Session(both())
        session.sign()
        assert session.failures() == [((b"password",), True)]
        session.password(b"pw")
        assert session.numbers == [FAILURE, SUCCESS]

    def test_oneFactorTwice(self) -> None:
        session = Session(both())
        session.sign()
        session.sign()
        session.wait()
        assert session.failures() == [((b"password",), True), ((b"password",), False)]

    def test_partialSuccessIsNoFailure(self) -> None:
        session = Session(both())
        session.sign()
        assert session.server.loginAttempts == 0
        assert session.server.authenticatedWith == [b"publickey"]


class TestBanner:
    def test_onceBeforeTheFirstAnswer(self) -> None:
        session = Session(bannerText="Gr\u00fc\u00dfe\nfrom us\r\n")
        session.none()
        session.none()
        session.wait()
        assert session.numbers == [BANNER, FAILURE, FAILURE]
        text = "Gr\u00fc\u00dfe\r\nfrom us\r\n".encode()
        assert session.answers[0] == (BANNER, NS(text) + NS(b""))

    def test_fromTheFactory(self) -> None:
        session = Session()
        session.transport.factory.bannerText = b"hello"
        session.none()
        assert session.answers[0] == (BANNER, NS(b"hello") + NS(b""))


class TestTime:
    def test_ownTimerOnlyIfShorterThanTheTransports(self) -> None:
        session = Session(loginTimeout=10)
        session.wait(9.9)
        assert session.disconnected == []
        session.wait(0.2)
        assert session.disconnected == [14]

    def test_noSecondTimer(self) -> None:
        session = Session()
        session.transport.loginGraceSeconds = 60.0
        clock = session.transport.clock
        session.transport.setService(SSHUserAuthServer())
        assert clock.getDelayedCalls() == []

    def test_nothingIsLeftBehind(self) -> None:
        session = Session(Passwords(alice=b"pw"))
        session.password(b"no")
        session.server.serviceStopped()
        assert session.transport.clock.getDelayedCalls() == []
        session.wait()
        assert session.numbers == []


class TestHooks:
    """What Conch's applications override or call."""

    def test_ebPassword(self) -> None:
        """Applications' own auth_password ends with `addErrback(self._ebPassword)`."""

        class Own(SSHUserAuthServer):
            def auth_password(self, packet: bytes) -> defer.Deferred[Any]:
                refused: defer.Deferred[Any] = defer.fail(UnauthorizedLogin())
                return refused.addErrback(self._ebPassword)

        session = Session(Passwords(), service=Own)
        session.password(b"x")
        session.wait(0.5)
        assert session.numbers == []
        session.wait(0.6)
        assert session.numbers == [FAILURE]

    def test_ignoreAuthentication(self) -> None:
        class Own(SSHUserAuthServer):
            def auth_none(self, packet: bytes) -> defer.Deferred[Any]:
                self.transport.sendPacket(MIDDLE, b"own")
                return defer.fail(IgnoreAuthentication())

        session = Session(service=Own)
        session.none()
        assert session.answers == [(MIDDLE, b"own")]
        session.sign()
        assert session.loggedIn

    def test_cbFinishedAuth(self) -> None:
        finished: list[Any] = []

        class Own(SSHUserAuthServer):
            def _cbFinishedAuth(self, result: Any) -> None:
                finished.append(result[1])
                super()._cbFinishedAuth(result)

        session = Session(service=Own)
        session.sign()
        assert finished == [("avatar of", b"alice")]
        assert session.loggedIn

    def test_ownMethod(self) -> None:
        """A kind of credentials and its method, added to `interfaceToMethod`."""

        class Own(SSHUserAuthServer):
            interfaceToMethod = {
                **SSHUserAuthServer.interfaceToMethod,
                IPasswordChangeCredentials: b"quiz",
            }

            def auth_quiz(self, packet: bytes) -> defer.Deferred[Any]:
                return defer.succeed((None, packet, lambda: None))

        @implementer(ICredentialsChecker)
        class Quiz:
            credentialInterfaces = (IPasswordChangeCredentials,)

            def requestAvatarId(self, credentials: Any) -> Any:
                raise NotImplementedError

        session = Session(Quiz(), service=Own)
        session.none()
        assert session.failures() == [((b"quiz",), False)]
        session.request(b"quiz", b"42")
        assert session.transport.avatar == b"42"

    def test_attributesOfTheRequest(self) -> None:
        seen: list[Any] = []

        class Own(SSHUserAuthServer):
            def auth_password(self, packet: bytes) -> defer.Deferred[Any]:
                seen.append((self.user, self.nextService, self.method))
                return super().auth_password(packet)

        session = Session(Passwords(alice=b"pw"), service=Own)
        session.password(b"pw")
        assert seen == [(b"alice", b"ssh-connection", b"password")]

    def test_serviceThatIsGone(self) -> None:
        """The factory withholds the service at the last moment: nobody is logged in."""
        session = Session()
        session.transport.factory.getService = lambda transport, name: None
        session.sign()
        session.wait()
        assert session.numbers == [FAILURE]
        assert session.realm.loggedOut == [b"alice"]
        assert session.transport.avatar is None


class TestMalformed:
    def test_cutShort(self) -> None:
        session = Session()
        with pytest.raises(WireError):
            session.server.packetReceived(50, NS(b"alice") + NS(b"ssh-connection") + b"\0\0\0\4no")

    def test_checkerThatDoesNotKnowValidPublicKey(self) -> None:
        """ValidPublicKey for signed credentials means that the signature was not looked at."""

        @implementer(ICredentialsChecker)
        class Half(SSHPublicKeyChecker):
            def requestAvatarId(self, credentials: Any) -> defer.Deferred[Any]:
                return defer.fail(ValidPublicKey())

        session = Session(Half(InMemorySSHKeyDB({})))
        session.sign()
        session.wait()
        assert session.numbers == [FAILURE]


def test_packetsOfTheOtherRole() -> None:
    session = Session()
    for number in (51, 52, 53, 60):
        session.server.packetReceived(number, b"")
    assert session.transport.unimplemented == 4
    assert not session.loggedIn
