"""attacks.md, group E: user authentication. Each test carries the id of its row."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import defer
from twisted.internet.interfaces import IReactorCore
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from zope.interface import alsoProvides, implementer

from limpet.checkers import (
    InMemorySSHKeyDB,
    KeyboardInteractiveChecker,
    SSHPublicKeyChecker,
    verifyCryptedPassword,
)
from limpet.checkers import passwords as passwordModule
from limpet.core import authentication
from limpet.core.authentication import PublicKeyFields, encodePublicKey, signedData
from limpet.core.authorizedkeys import AuthorizedKey, KeyOptions, Restrictions
from limpet.core.errors import LimitExceeded, UnexpectedMessage
from limpet.core.phases import PHASES, Phase, Verdict
from limpet.ssh.keys import Key
from limpet.ssh.userauth import SSHUserAuthClient, SSHUserAuthServer
from limpet.ssh.userauth import server as serverModule
from limpet.wire.errors import WireError
from limpet.wire.fields import NS, Reader, boolean, u32
from tests.keymaking import makeCertificate
from tests.unit.ssh.userauth.doubles import (
    ALICE_KEY,
    FAILURE,
    HOST_BLOB,
    MIDDLE,
    OTHER_KEY,
    SESSION_ID,
    SUCCESS,
    Connection,
    Passwords,
    Session,
    Transport,
)
from tests.unit.ssh.userauth.test_server import KBDINT, Device, both, keyChecker

# ── E1 to E6: what a request can be ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [*range(80, 83), *range(90, 101), 192])
def test_E1_connectionMessageBeforeLogin(number: int) -> None:
    assert PHASES[Phase.AUTHENTICATION][False][number] is Verdict.VIOLATION


def test_E1_noConnectionBeforeLogin() -> None:
    session = Session()
    session.none()
    assert session.transport.service is session.server
    assert not hasattr(session.transport, "avatar")


@pytest.mark.parametrize("number", [51, 52, 53, 60, 6])
def test_E2_serversMessageSentToAServer(number: int) -> None:
    assert PHASES[Phase.AUTHENTICATION][False][number] is Verdict.VIOLATION
    assert number not in SSHUserAuthServer.protocolMessages


@pytest.mark.parametrize("number", [50, 61, 5])
def test_E2_clientsMessageSentToAClient(number: int) -> None:
    assert PHASES[Phase.AUTHENTICATION][True][number] is Verdict.VIOLATION
    assert number not in SSHUserAuthClient.protocolMessages


@pytest.mark.parametrize("service", [b"x", b"", b"ssh-userauth", b"ssh-connection\0"])
def test_E3_serviceThatDoesNotExist(service: bytes) -> None:
    """ssh-userauth as the next service would begin anew with a fresh budget."""
    session = Session(Passwords(alice=b"pw"))
    session.request(b"password", boolean(False) + NS(b"pw"), to=service)
    assert session.disconnected == [7]
    assert session.numbers == []
    session.password(b"pw")
    assert session.numbers == []


def test_E3_requestAfterSuccess() -> None:
    session = Session()
    session.sign()
    session.server.packetReceived(50, NS(b"root") + NS(b"ssh-connection") + NS(b"none"))
    assert session.numbers == [SUCCESS]
    assert session.disconnected == []
    assert PHASES[Phase.CONNECTION][False][50] is Verdict.IGNORE


@pytest.mark.parametrize(
    "method",
    [
        b"",
        b"none\0",
        b"NONE",
        b"__init__",
        b"publickey\xff",
        b"x" * 30720,
        b"password,publickey",
        b"keyboard_interactive",
        b"gssapi-with-mic",
        b"hostbased",
    ],
)
def test_E4_methodNames(method: bytes) -> None:
    reached: list[str] = []

    class Watched(SSHUserAuthServer):
        def __getattribute__(self, name: str) -> Any:
            if name.startswith("auth_"):
                reached.append(name)
            return super().__getattribute__(name)

    session = Session(
        KeyboardInteractiveChecker(Device()), keyChecker(), Passwords(), service=Watched
    )
    session.request(method, b"")
    session.wait()
    assert session.numbers == [FAILURE]
    assert reached == []


@pytest.mark.parametrize("password", [b"", b"\0", b"pw\0", b"\0pw", b"x" * 1025, b"x" * 30000])
def test_E5_passwordsThatAreNoPasswords(password: bytes) -> None:
    backend = Passwords(alice=password)
    session = Session(backend)
    session.password(password)
    session.request(b"password", b"\x01" + NS(password) + NS(b"new"))
    session.request(b"password", b"\x01" + NS(b"old") + NS(password))
    session.wait(9)
    assert session.numbers == [FAILURE] * 3
    assert backend.asked == []


def test_E5_none() -> None:
    session = Session(Passwords(alice=b"pw"))
    session.none(b"alice")
    session.none(b"root")
    session.wait()
    assert session.numbers == [FAILURE, FAILURE]


@pytest.mark.parametrize("user", [b"*)(uid=*", b"alice' or 1=1", b"alice/../root"])
def test_E5_namesReachBackendsUnchanged(user: bytes) -> None:
    """Only the exact bytes: whoever builds a query out of them has to escape them there."""
    backend = Passwords()
    session = Session(backend)
    session.password(b"pw", user)
    session.wait()
    assert backend.asked == [(user, b"pw")]
    assert not session.loggedIn


def test_E6_queryIsNoProof() -> None:
    """A query for the one key, then a signature by the other: only the other one's counts."""
    restricted = AuthorizedKey(
        b"ssh-ed25519",
        OTHER_KEY.public().blob(),
        KeyOptions(restrictions=Restrictions(forcedCommand=b"true")),
    )
    session = Session(keys={b"alice": [ALICE_KEY.public(), restricted]})
    session.query(ALICE_KEY)
    session.sign(OTHER_KEY)
    assert session.numbers == [MIDDLE, SUCCESS]
    assert session.transport.restrictions == restricted.options.restrictions


def test_E6_queryThenSignatureByAStranger() -> None:
    session = Session()
    session.query(ALICE_KEY)
    session.sign(OTHER_KEY)
    session.wait()
    assert session.numbers == [MIDDLE, FAILURE]


@pytest.mark.parametrize("certified", [False, True])
def test_E6_theLogNamesTheKeyThatSigned(certified: bool) -> None:
    """Not the one that was asked about; of a certificate, the key in it."""
    keys: list[Any] = [ALICE_KEY.public(), OTHER_KEY.public()]
    blob, algorithm = OTHER_KEY.blob(), b"ssh-ed25519"
    if certified:
        authority = KeyOptions(isAuthority=True)
        keys = [ALICE_KEY.public(), AuthorizedKey(b"ssh-ed25519", ALICE_KEY.blob(), authority)]
        blob, algorithm = makeCertificate(OTHER_KEY, ALICE_KEY), b"ssh-ed25519-cert-v01@openssh.com"
    session = Session(keys={b"alice": keys})
    session.query(ALICE_KEY)
    data = signedData(SESSION_ID, b"alice", b"ssh-connection", algorithm, blob)
    fields = PublicKeyFields(algorithm, blob, OTHER_KEY.sign(data))
    said = loggedLines(lambda: session.request(b"publickey", encodePublicKey(fields)))
    assert session.numbers == [MIDDLE, SUCCESS]
    assert said == [f"test: 'alice' logged in by publickey with {OTHER_KEY.displayFingerprint()}''"]


# ── E7: one request in flight ─────────────────────────────────────────────────────────────────


def slow() -> tuple[Passwords, Session]:
    backend = Passwords(alice=b"pw")
    backend.later = []
    return backend, Session(backend)


def test_E7_secondRequestWaitsForTheFirst() -> None:
    """alice with a slow password, and none for root in the same segment: root gets nothing."""
    backend, session = slow()
    session.password(b"pw", b"alice")
    session.none(b"root")
    assert backend.later is not None
    assert (len(backend.later), session.numbers) == (1, [])
    assert session.server.user == b"alice"
    answer, user = backend.later[0]
    answer.callback(user)
    assert session.numbers == [SUCCESS]
    assert session.realm.loggedIn == [b"alice"]
    assert session.transport.avatar == ("avatar of", b"alice")


def test_E7_queueIsBounded() -> None:
    _, session = slow()
    session.password(b"pw")
    for _ in range(4):
        session.none(b"root")
    with pytest.raises(LimitExceeded):
        session.none(b"root")


def test_E7_queueIsAnsweredInOrder() -> None:
    backend, session = slow()
    session.password(b"wrong")
    session.none(b"bob")
    session.none(b"carol")
    assert backend.later is not None
    backend.later[0][0].errback(UnauthorizedLogin())
    session.wait()
    assert session.numbers == [FAILURE] * 3
    assert session.server.user == b"carol"


def test_E7_twoConnectionsDoNotMix() -> None:
    """One checker, two connections: each factor counts where it was shown."""
    checker = both()
    first, second = Session(checker), Session(checker)
    first.sign()
    second.password(b"pw")
    assert first.failures() == [((b"password",), True)]
    assert second.failures() == [((b"publickey",), True)]
    assert not first.loggedIn
    assert not second.loggedIn
    first.password(b"pw")
    assert first.loggedIn
    assert not second.loggedIn


def test_E7_lateAvatarIsLoggedOut() -> None:
    """The realm's answer comes after the end, and cannot be cancelled: it is logged out again."""
    out: list[str] = []
    answer: defer.Deferred[Any] = defer.Deferred()

    class Own(SSHUserAuthServer):
        def auth_password(self, packet: bytes) -> defer.Deferred[Any]:
            # What cancels this only sees a Deferred that nobody cancels.
            outer: defer.Deferred[Any] = defer.Deferred(lambda _: None)
            outer.cancel = lambda: None  # type: ignore[method-assign]
            answer.addCallback(outer.callback)
            return outer

    session = Session(Passwords(), service=Own)
    session.password(b"pw")
    session.server.serviceStopped()
    answer.callback((None, "avatar", lambda: out.append("logged out")))
    assert out == ["logged out"]
    assert session.numbers == []


def test_E7_cancelsWhatIsPending() -> None:
    backend, session = slow()
    session.password(b"pw")
    session.server.serviceStopped()
    assert backend.later is not None
    assert backend.later[0][0].called
    session.wait()
    assert session.numbers == []


def test_E7_cancelsWhatTheRealmStillOwes() -> None:
    """The checker has answered already: the login's Deferred is called, and waits all the same."""
    cancelled: list[Any] = []
    owed: defer.Deferred[Any] = defer.Deferred(cancelled.append)
    session = Session(Passwords(alice=b"pw"))
    session.realm.requestAvatar = lambda *_: owed  # type: ignore[method-assign]
    session.password(b"pw")
    session.server.serviceStopped()
    assert cancelled == [owed]
    session.wait()
    assert session.numbers == []


def test_E7_aRequestBehindAConversationEndsItAlsoInTheQueue() -> None:
    """RFC 4256 section 3.1: whoever asks for something else will not answer the question."""
    backend = Passwords(alice=b"pw")
    backend.later = []
    session = Session(backend, KeyboardInteractiveChecker(Device()))
    session.password(b"slow")
    session.request(b"keyboard-interactive", KBDINT)
    session.password(b"pw")
    backend.later[0][0].errback(UnauthorizedLogin())
    session.wait()
    assert [password for _, password in backend.asked] == [b"slow", b"pw"]
    backend.later[1][0].callback(b"alice")
    assert session.numbers == [FAILURE, MIDDLE, SUCCESS]
    assert session.server.loginAttempts == 2


# ── E8, E9: principals and factors ────────────────────────────────────────────────────────────


def test_E8_anotherUserBeginsAnew() -> None:
    session = Session(both(Passwords(alice=b"pw", root=b"pw")))
    session.sign(user=b"alice")
    session.password(b"pw", b"root")
    assert not session.loggedIn
    assert session.failures() == [((b"password",), True), ((b"publickey",), True)]
    assert session.server.authenticatedWith == [b"password"]


def test_E8_andBackAgainBeginsAnewToo() -> None:
    session = Session(both())
    session.sign(user=b"alice")
    session.none(b"root")
    session.password(b"pw", b"alice")
    assert not session.loggedIn


def test_E8_anotherServiceBeginsAnew() -> None:
    session = Session(both())
    session.transport.factory.services = {
        **session.transport.factory.services,
        b"other@x": Connection,
    }
    session.sign()
    session.request(b"password", boolean(False) + NS(b"pw"), to=b"other@x")
    assert not session.loggedIn


def test_E9_restrictionsOfAllFactors() -> None:
    allowed = Restrictions(forcedCommand=b"backup", allowPty=False)
    session = Session(both(keys=keyChecker(restrictions=allowed)))
    session.sign()
    session.password(b"pw")
    assert session.loggedIn
    assert session.transport.restrictions == allowed


def test_E9_bothFactorsRestrict() -> None:
    class Guarded(Passwords):
        def requestAvatarId(self, credentials: Any) -> defer.Deferred[Any]:
            credentials.context.restrict(Restrictions(allowAgentForwarding=False))
            return super().requestAvatarId(credentials)

    session = Session(
        both(Guarded(alice=b"pw"), keyChecker(restrictions=Restrictions(allowPty=False)))
    )
    session.password(b"pw")
    session.sign()
    assert session.transport.restrictions == Restrictions(
        allowPty=False, allowAgentForwarding=False
    )


def test_E9_conflictingCommandsLetNobodyIn() -> None:
    class Guarded(Passwords):
        def requestAvatarId(self, credentials: Any) -> defer.Deferred[Any]:
            credentials.context.restrict(Restrictions(forcedCommand=b"one"))
            return super().requestAvatarId(credentials)

    other = keyChecker(restrictions=Restrictions(forcedCommand=b"two"))
    session = Session(both(Guarded(alice=b"pw"), other))
    session.password(b"pw")
    session.sign()
    session.wait()
    assert session.failures() == [((b"publickey",), True), ((b"publickey",), False)]
    assert not session.loggedIn
    assert session.realm.loggedIn == session.realm.loggedOut


@pytest.mark.parametrize("source", ["192.0.2.7", "192.0.2.0/24", "*"])
def test_E9_fromAllows(source: str) -> None:
    session = Session(both(keys=keyChecker(fromPatterns=(source.encode(),))))
    session.sign()
    assert session.failures() == [((b"password",), True)]


def test_E9_fromForbidsBeforePassword() -> None:
    session = Session(both(keys=keyChecker(fromPatterns=(b"198.51.100.0/24",))))
    session.sign()
    session.password(b"pw")
    session.wait()
    assert not session.loggedIn


# ── E10, E11: signatures and keys ─────────────────────────────────────────────────────────────


def test_E10_signatureOfAnotherSession() -> None:
    session = Session()
    session.sign(session=b"another exchange hash")
    session.wait()
    assert session.numbers == [FAILURE]


def test_E10_signatureForAnotherUser() -> None:
    session = Session(keys={b"alice": [ALICE_KEY.public()], b"root": [ALICE_KEY.public()]})
    session.sign(user=b"root", signedUser=b"alice")
    session.wait()
    assert session.numbers == [FAILURE]


@pytest.mark.parametrize("signed", [2, 0x80, 0xFF])
def test_E10_booleanThatIsNeither0Nor1(signed: int) -> None:
    session = Session()
    blob = ALICE_KEY.public().blob()
    data = authentication.signedData(
        session.transport.sessionID, b"alice", b"ssh-connection", b"ssh-ed25519", blob
    )
    fields = bytes([signed]) + NS(b"ssh-ed25519") + NS(blob) + NS(ALICE_KEY.sign(data))
    session.request(b"publickey", fields)
    session.wait()
    assert session.numbers == [FAILURE]


def test_E10_algorithmInSignatureDiffers() -> None:
    key = Key.generate("rsa", 2048)
    session = Session(keys={b"alice": [key.public()]})
    blob = key.public().blob()
    data = authentication.signedData(
        session.transport.sessionID, b"alice", b"ssh-connection", b"rsa-sha2-512", blob
    )
    signature = key.sign(data, signatureType=b"rsa-sha2-256")
    session.request(b"publickey", b"\x01" + NS(b"rsa-sha2-512") + NS(blob) + NS(signature))
    session.wait()
    assert session.numbers == [FAILURE]


def test_E10_hostBoundToAnotherHost() -> None:
    session = Session()
    session.sign(hostKey=OTHER_KEY.public().blob())
    session.wait()
    assert session.numbers == [FAILURE]
    session.sign(hostKey=HOST_BLOB)
    assert session.numbers == [FAILURE, SUCCESS]


def test_E10_plainSignatureInHostBoundRequest() -> None:
    session = Session()
    blob = ALICE_KEY.public().blob()
    data = authentication.signedData(
        session.transport.sessionID, b"alice", b"ssh-connection", b"ssh-ed25519", blob
    )
    fields = authentication.PublicKeyFields(b"ssh-ed25519", blob, ALICE_KEY.sign(data), HOST_BLOB)
    session.request(b"publickey-hostbound-v00@openssh.com", authentication.encodePublicKey(fields))
    session.wait()
    assert session.numbers == [FAILURE]


@pytest.mark.parametrize(
    "algorithm",
    [b"rsa-sha2-512", b"ecdsa-sha2-nistp256", b"ssh-rsa", b"ssh-dss", b"", b"ssh-ed25519\0"],
)
def test_E11_algorithmDoesNotFitTheKey(algorithm: bytes) -> None:
    session = Session()
    blob = ALICE_KEY.public().blob()
    session.request(b"publickey", b"\0" + NS(algorithm) + NS(blob))
    session.wait()
    assert session.numbers == [FAILURE]
    assert session.disconnected == []


def test_E11_sha1IsRefused() -> None:
    key = Key.generate("rsa", 2048)
    session = Session(keys={b"alice": [key.public()]})
    session.request(b"publickey", b"\0" + NS(b"ssh-rsa") + NS(key.public().blob()))
    session.wait()
    assert session.numbers == [FAILURE]


def test_E11_everyTruncationOfTheKey() -> None:
    blob = ALICE_KEY.public().blob()
    for length in range(len(blob)):
        session = Session()
        session.request(b"publickey", b"\0" + NS(b"ssh-ed25519") + NS(blob[:length]))
        session.wait()
        assert session.numbers == [FAILURE], length
        assert session.disconnected == []


def test_E11_everyTruncationOfTheFields() -> None:
    fields = authentication.encodePublicKey(
        authentication.PublicKeyFields(b"ssh-ed25519", ALICE_KEY.public().blob(), b"x" * 83)
    )
    for length in range(len(fields)):
        session = Session()
        session.request(b"publickey", fields[:length])
        session.wait()
        assert session.numbers == [FAILURE], length
    session = Session()
    session.request(b"publickey", fields + b"x")
    session.wait()
    assert session.numbers == [FAILURE]


# ── E12: budgets ──────────────────────────────────────────────────────────────────────────────


def test_E12_sixFailures() -> None:
    session = Session(Passwords(alice=b"pw"))
    for _ in range(5):
        session.password(b"no")
        session.wait()
    assert session.numbers == [FAILURE] * 5
    session.password(b"no")
    session.wait()
    assert session.numbers == [FAILURE] * 5
    assert session.disconnected == [14]
    session.password(b"pw")
    assert session.numbers == [FAILURE] * 5


def test_E12_noneIsFreeOnce() -> None:
    session = Session()
    for _ in range(10_000):
        session.none()
        if session.disconnected:
            break
    assert session.numbers == [FAILURE] * 6
    assert session.disconnected == [14]


@pytest.mark.parametrize("key", [ALICE_KEY, OTHER_KEY])
def test_E12_twentyKeyQueries(key: Key) -> None:
    session = Session()
    for _ in range(10_000):
        session.query(key)
        session.wait(0.1)
        if session.disconnected:
            break
    assert len(session.numbers) == 20
    assert session.disconnected == [14]


def test_E12_allRequestsTogether() -> None:
    """Even with what costs no failure: partial successes of changing users."""
    session = Session(both(), attemptsBeforeDisconnect=10**6, maxKeyQueries=10**6)
    for number in range(10_000):
        session.password(b"pw") if number % 2 else session.none(b"bob")
        session.wait(0.1)
        if session.disconnected:
            break
    assert len(session.numbers) == 128
    assert session.disconnected == [14]


def test_E12_conversationsThatAreGivenUpCount() -> None:
    session = Session(KeyboardInteractiveChecker(Device()))
    for _ in range(10_000):
        session.request(b"keyboard-interactive", KBDINT)
        if session.disconnected:
            break
    assert session.numbers == [MIDDLE] * 6
    assert session.disconnected == [14]


# ── E13: keyboard-interactive ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "answer",
    [
        u32(0x10000000),
        u32(0xFFFFFFFF) + NS(b"a") * 2,
        u32(1) + NS(b"a"),
        u32(3) + NS(b"a") * 3,
        u32(2) + NS(b"a"),
        u32(2) + NS(b"a") * 2 + b"x",
        u32(2) + NS(b"a" * 1025) * 2,
        b"",
    ],
)
def test_E13_answersThatDoNotFit(answer: bytes) -> None:
    device = Device()
    session = Session(KeyboardInteractiveChecker(device))
    session.request(b"keyboard-interactive", KBDINT)
    session.server.packetReceived(61, answer)
    session.wait()
    assert session.numbers == [MIDDLE, FAILURE]
    assert device.answers == []


def test_E13_unsolicitedAnswer() -> None:
    session = Session(KeyboardInteractiveChecker(Device()))
    with pytest.raises(UnexpectedMessage):
        session.server.packetReceived(61, u32(0))
    session.none()
    with pytest.raises(UnexpectedMessage):
        session.server.packetReceived(61, u32(0))


@pytest.mark.parametrize("crosses", [True, False])
@pytest.mark.parametrize("cancels", [True, False])
def test_E13_anAnswerThatCrossesTheEndOfItsQuestion(cancels: bool, crosses: bool) -> None:
    """A device that does not wait for ever: the user may have been about to answer."""
    asked: list[defer.Deferred[Any]] = []

    class Impatient:
        def authenticate(self, credentials: Any) -> bool | defer.Deferred[bool]:
            if len(asked) == 1:
                return credentials.ask([(b"PIN? ", False)]).addCallback(lambda pin: pin == [b"1"])  # type: ignore[no-any-return]
            asked.append(credentials.ask([(b"PIN? ", False)]).addErrback(lambda _: None))
            if cancels:
                asked[-1].cancel()
            return False

    session = Session(KeyboardInteractiveChecker(Impatient()))
    session.request(b"keyboard-interactive", KBDINT)
    session.wait()
    assert session.numbers == [MIDDLE, FAILURE]
    if crosses:
        session.server.packetReceived(61, u32(1) + NS(b"1"))
        with pytest.raises(UnexpectedMessage):
            session.server.packetReceived(61, u32(1) + NS(b"1"))
    session.request(b"keyboard-interactive", KBDINT)
    session.server.packetReceived(61, u32(1) + NS(b"1"))
    assert session.loggedIn


def test_E13_oneDeviceRunPerRequest() -> None:
    runs: list[Any] = []

    class Counting:
        def authenticate(self, credentials: Any) -> bool:
            runs.append(credentials.submethods)
            return False

    session = Session(KeyboardInteractiveChecker(Counting()))
    many = NS(b"") + NS(b",".join([b"pam"] * 10_000))
    session.request(b"keyboard-interactive", many)
    session.wait()
    assert session.numbers == [FAILURE]
    assert runs == []
    session.request(b"keyboard-interactive", KBDINT)
    session.wait()
    assert runs == [(b"pam", b"otp")]


def test_E13_deviceThatAsksForEver() -> None:
    class Endless:
        def authenticate(self, credentials: Any) -> defer.Deferred[Any]:
            again: defer.Deferred[Any] = credentials.ask([(b"?", True)])
            return again.addCallback(lambda _: self.authenticate(credentials))

    session = Session(KeyboardInteractiveChecker(Endless()))
    session.request(b"keyboard-interactive", KBDINT)
    for _ in range(32):
        session.server.packetReceived(61, u32(1) + NS(b"a"))
    session.wait()
    assert session.numbers == [MIDDLE] * 32 + [FAILURE]


@pytest.mark.parametrize("verdict", [None, 1, "yes", [], b"alice"])
def test_E13_deviceThatDoesNotSayTrue(verdict: Any) -> None:
    class Vague:
        def authenticate(self, credentials: Any) -> Any:
            return verdict

    session = Session(KeyboardInteractiveChecker(Vague()))
    session.request(b"keyboard-interactive", KBDINT)
    session.wait()
    assert session.numbers == [FAILURE]


# ── E14: who exists ───────────────────────────────────────────────────────────────────────────


def answersFor(user: bytes) -> list[tuple[float, int, bytes]]:
    """Every answer to one set of requests, and when it came."""
    session = Session(both(Passwords(alice=b"pw")), attemptsBeforeDisconnect=100)
    found: list[tuple[float, int, bytes]] = []
    requests: tuple[Callable[[], None], ...] = (
        lambda: session.none(user),
        lambda: session.query(OTHER_KEY, user),
        lambda: session.sign(OTHER_KEY, user),
        lambda: session.request(b"publickey", b"\0" + NS(b"ssh-ed25519"), user),
        lambda: session.password(b"wrong", user),
        lambda: session.request(b"keyboard-interactive", KBDINT, user),
    )
    for request in requests:
        start = session.transport.clock.seconds()
        before = len(session.answers)
        request()
        for _ in range(30_000):
            if len(session.answers) > before:
                break
            session.transport.clock.advance(0.0001)
        elapsed = round(session.transport.clock.seconds() - start, 3)
        found.append((elapsed, *session.answers[-1]))
    return found


def test_E14_sameAnswersForKnownAndUnknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "failureDelay", lambda secret, user: 0.007)
    assert answersFor(b"alice") == answersFor(b"nobody-by-this-name")


def test_E14_everyFailureTakesAtLeastItsTime() -> None:
    for user in (b"alice", b"nobody"):
        session = Session()
        session.query(OTHER_KEY, user)
        session.transport.clock.advance(0.0049)
        assert session.numbers == []
        session.transport.clock.advance(0.0042)
        assert session.numbers == [FAILURE]
    session = Session(failuresTakeTime=False)
    session.query(OTHER_KEY)
    assert session.numbers == [FAILURE]


def test_E14_delayBelongsToTheName() -> None:
    secret = b"k" * 32
    names = [b"alice", b"bob", b"root", b"nobody"]
    delays = [authentication.failureDelay(secret, name) for name in names]
    assert delays == [authentication.failureDelay(secret, name) for name in names]
    assert len(set(delays)) == len(names)
    assert all(0.005 <= delay < 0.0091 for delay in delays)
    assert authentication.failureDelay(b"j" * 32, b"alice") != delays[0]


def test_E14_lateAnswersAreRoundedUp() -> None:
    assert authentication.remainingDelay(0.006, 0.0) == pytest.approx(0.006)
    assert authentication.remainingDelay(0.006, 0.007) == pytest.approx(0.005)
    assert authentication.remainingDelay(0.006, 0.1) == pytest.approx(0.092)
    assert authentication.remainingDelay(0.006, 5.1) == 0.0


class Turning(Clock):
    """A reactor's clock: looking at it takes ten microseconds, and waiting whole milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        alsoProvides(self, IReactorCore)

    def seconds(self) -> float:
        self.rightNow += 0.00001
        return self.rightNow

    def wait(self) -> None:
        """Until the next call is due, and what it calls for at once."""
        self.advance(math.ceil((self.calls[0].getTime() - self.rightNow) * 1000) / 1000)


@pytest.mark.parametrize("work", [0.0, 0.0003, 0.0009, 0.0021])
def test_E14_theMomentOfAnAnswerDoesNotDependOnTheWork(
    work: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a reactor waits, it begins to after the work, and rounds up to a millisecond."""
    monkeypatch.setattr(authentication, "failureDelay", lambda secret, user: 0.006)
    clock = Turning()

    class Working(InMemorySSHKeyDB):
        def getAuthorizedKeys(self, avatarId: bytes) -> Any:
            clock.rightNow += work
            return super().getAuthorizedKeys(avatarId)

    session = Session(SSHPublicKeyChecker(Working({})))
    session.server.clock = clock
    session.query(OTHER_KEY)
    while not session.numbers:
        clock.wait()
    assert session.numbers == [FAILURE]
    assert clock.rightNow == pytest.approx(0.006, abs=0.0001)


def test_E14_unknownUserCostsAHash(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[bytes] = []
    monkeypatch.setattr(
        passwordModule, "verifyCryptedPassword", lambda stored, password: hashed.append(stored)
    )
    stored = "$6$saltsalt$" + "x" * 86
    database = passwordModule.UNIXPasswordDatabase(
        [lambda name: {"alice": ("alice", stored), "locked": ("locked", "!")}.get(name)]
    )
    for user in (b"alice", b"nobody", b"locked"):
        assert not database.check(user, b"pw")
    assert hashed == [stored.encode()] * 3


# ── E15: password hashes ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"*",
        b"!",
        b"!!",
        b"x",
        b"*0",
        b"*1",
        b"$",
        b"$$",
        b"$6$",
        b"$6",
        b"$1$abcdefgh$x",
        b"$0$a$b",
        b"ab1234567890.",
        b"_J9..rasm",
        b"plain",
    ],
)
@pytest.mark.parametrize("password", [b"", b"x", b"*", b"!", b"plain", b"*0"])
def test_E15_fieldsThatAreNoHash(
    stored: bytes, password: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwordModule, "_crypt", lambda password, setting: setting)
    if stored.startswith(b"$6$") and len(stored) > 3:
        pytest.skip("a hash")
    assert not verifyCryptedPassword(stored, password)


@pytest.mark.parametrize("failed", [None, b"*0", b"*1", b"*"])
def test_E15_failureOfCryptIsNoMatch(failed: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwordModule, "_crypt", lambda password, setting: failed)
    assert not verifyCryptedPassword(b"$6$salt$hash", b"password")


def test_E15_longPasswordsAreNotHashed(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    def crypt(password: bytes, setting: bytes) -> bytes:
        lengths.append(len(password))
        return setting

    monkeypatch.setattr(passwordModule, "_crypt", crypt)
    for length in (0, 1, 256, 1024, 1025, 10**6):
        verifyCryptedPassword(b"$6$salt$hash", b"x" * length)
    assert lengths == [1, 256, 1024]


# ── E16: user names ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "user",
    [
        b"",
        b"a\0b",
        b"a\r\nb",
        b"a\x1b[2J",
        b"a\x7f",
        b"\xff\xfe",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        "a\u202eb".encode(),
        "a\u2028b".encode(),
        "a\u0085b".encode(),
        b"x" * 1025,
        b"x" * 1_000_000,
    ],
)
def test_E16_namesThatReachNoBackend(user: bytes) -> None:
    backend = Passwords()
    session = Session(backend, SSHPublicKeyChecker(InMemorySSHKeyDB({user: [ALICE_KEY]})))
    session.password(b"pw", user)
    session.sign(user=user)
    session.wait(4)
    assert session.numbers == [FAILURE, FAILURE]
    assert backend.asked == []


def test_E16_namesAreComparedExactly() -> None:
    """A name in full-width letters, in capitals or with blanks is somebody else."""
    for user in ("\uff41lice", "Alice", "alice ", " alice", "ali\u0107e"):
        session = Session()
        session.sign(user=user.encode())
        session.wait()
        assert session.numbers == [FAILURE], user


# ── E17, E18 ──────────────────────────────────────────────────────────────────────────────────


def test_E17_notOffered() -> None:
    methods = set(SSHUserAuthServer.interfaceToMethod.values())
    assert methods == {b"publickey", b"password", b"keyboard-interactive"}


@pytest.mark.parametrize("moment", ["idle", "pending", "delayed", "asked", "queued"])
def test_E18_timerInEveryState(moment: str) -> None:
    backend = Passwords(alice=b"pw")
    session = Session(backend, KeyboardInteractiveChecker(Device()), loginTimeout=30)
    if moment == "pending":
        backend.later = []
        session.password(b"pw")
    elif moment == "delayed":
        session.password(b"no")
    elif moment == "asked":
        session.request(b"keyboard-interactive", KBDINT)
    elif moment == "queued":
        backend.later = []
        session.password(b"pw")
        session.none()
    before = list(session.numbers)
    session.server.timeoutAuthentication()
    assert session.disconnected == [14]
    session.wait(60)
    session.server.serviceStopped()
    assert session.disconnected == [14]
    assert session.numbers == before
    assert not hasattr(session.transport, "avatar")


# ── E19 to E21: a client and its server ───────────────────────────────────────────────────────


class Client(SSHUserAuthClient):
    """Has a key and a password."""

    key: Key | None = ALICE_KEY
    password: bytes | None = b"pw"

    def getPublicKey(self) -> Any:
        return self.key.public() if self.key is not None and not self.triedPublicKeys else None

    def getPrivateKey(self) -> Any:
        return defer.succeed(self.key)

    def getPassword(self, prompt: bytes | None = None) -> Any:
        return None if self.password is None else defer.succeed(self.password)

    def getGenericAnswers(self, name: bytes, instruction: bytes, prompts: Any) -> Any:
        return defer.succeed([b"x"] * len(prompts))


def client(**settings: Any) -> tuple[Client, Transport]:
    service = Client(b"alice", Connection())
    for name, value in settings.items():
        setattr(service, name, value)
    transport = Transport()
    transport.setService(service)
    return service, transport


def failure(*methods: bytes, partial: bool = False) -> bytes:
    return NS(b",".join(methods)) + boolean(partial)


def test_E19_trivialLogin() -> None:
    service, transport = client()
    service.packetReceived(52, b"")
    assert transport.service is service.instance
    assert not service.provedIdentity


def test_E19_trivialLoginRefused() -> None:
    service, transport = client(requireRealAuthentication=True)
    service.packetReceived(52, b"")
    assert transport.service is service
    assert len(transport.disconnected) == 1


def test_E19_successToAQueryIsTrivialToo() -> None:
    service, transport = client(requireRealAuthentication=True)
    service.packetReceived(51, failure(b"publickey"))
    service.packetReceived(52, b"")
    assert transport.service is service
    assert len(transport.disconnected) == 1


def test_E20_promptsBeyondThePayload() -> None:
    service, _ = client(key=None, password=None)
    service.packetReceived(51, failure(b"keyboard-interactive"))
    with pytest.raises(WireError):
        service.packetReceived(60, NS(b"") * 3 + u32(0xFFFFFFFF))


def test_E20_acceptanceOfAnotherKey() -> None:
    service, transport = client()
    service.packetReceived(51, failure(b"publickey"))
    sent = len(transport.packets)
    with pytest.raises(UnexpectedMessage):
        service.packetReceived(60, NS(b"ssh-ed25519") + NS(OTHER_KEY.public().blob()))
    assert len(transport.packets) == sent


def test_E20_endlessQuestions() -> None:
    service, transport = client(key=None, preferredOrder=[b"keyboard-interactive"])
    service.packetReceived(51, failure(b"keyboard-interactive"))
    for _ in range(31):
        service.packetReceived(60, NS(b"") * 3 + u32(0))
    with pytest.raises(LimitExceeded):
        service.packetReceived(60, NS(b"") * 3 + u32(0))
    assert len(transport.packets) == 33


def test_E20_endlessPartialSuccess() -> None:
    """A method that has succeeded is not tried again, however often the server asks for it."""
    service, transport = client()
    service.packetReceived(51, failure(b"publickey"))
    for _ in range(3):
        if not transport.disconnected:
            service.packetReceived(51, failure(b"publickey", partial=True))
    assert len(transport.packets) == 2
    assert transport.disconnected[0][0] == 14


def test_E20_bannerFlood() -> None:
    for text, most in ((b"", 1024), (b"x", 1024), (b"x" * 4000, 16)):
        service, _ = client()
        for _ in range(most):
            service.packetReceived(53, NS(text) + NS(b""))
        with pytest.raises(LimitExceeded):
            service.packetReceived(53, NS(text) + NS(b""))
        assert len(service.banner) <= 65536


@pytest.mark.parametrize("number", [51, 52, 60])
def test_E20_answersToNothing(number: int) -> None:
    """While the user is still being asked, the server has nothing to answer."""
    service, transport = client(key=None)
    waiting: defer.Deferred[bytes] = defer.Deferred()
    service.getPassword = lambda prompt=None: waiting  # type: ignore[method-assign]
    service.packetReceived(51, failure(b"password"))
    with pytest.raises(UnexpectedMessage):
        service.packetReceived(number, failure(b"password") if number == 51 else b"")
    assert transport.service is service


def test_E20_questionWithoutAMethodForIt() -> None:
    service, _ = client()
    with pytest.raises(UnexpectedMessage):
        service.packetReceived(60, NS(b"") * 3 + u32(0))


def test_E20_bannerIsSanitised() -> None:
    shown: list[bytes] = []
    service, _ = client()
    setattr(service, "bannerReceived", shown.append)  # noqa: B010
    service.packetReceived(53, NS(b"\x1b]0;x\x07hi\r\n\xff\tthere") + NS(b""))
    assert shown == [b"\\x1b]0;x\\x07hi\n\\xff\tthere"]


def test_E21_noSecretInTheClear() -> None:
    service, transport = client(key=None)
    transport.encrypted = False
    service.packetReceived(51, failure(b"password", b"keyboard-interactive"))
    assert all(b"pw" not in payload for _, payload in transport.packets)
    assert transport.disconnected[0][0] == 14


def test_E21_encryptionGoneWhileTheUserTyped() -> None:
    service, transport = client(key=None)
    typed: defer.Deferred[bytes] = defer.Deferred()
    service.getPassword = lambda prompt=None: typed  # type: ignore[method-assign]
    service.packetReceived(51, failure(b"password"))
    transport.encrypted = False
    typed.callback(b"pw")
    assert all(b"pw" not in payload for _, payload in transport.packets)


def test_E21_lateAnswerAfterTheEnd() -> None:
    service, transport = client(key=None)
    typed: defer.Deferred[bytes] = defer.Deferred(lambda _: None)
    service.getPassword = lambda prompt=None: typed  # type: ignore[method-assign]
    service.packetReceived(51, failure(b"password"))
    service.serviceStopped()
    if not typed.called:
        typed.callback(b"pw")
    assert [number for number, _ in transport.packets] == [50]


# ── M rows that concern authentication ────────────────────────────────────────────────────────


def loggedLines(action: Any) -> list[str]:
    """What was logged while `action` ran, as text."""
    events: list[Any] = []
    observer: Any = events.append
    globalLogPublisher.addObserver(observer)
    try:
        action()
    finally:
        globalLogPublisher.removeObserver(observer)
    return [formatEvent(event) + repr(event.get("log_failure", "")) for event in events]


def test_M7_noPasswordInTheLog() -> None:
    def run() -> None:
        backend = Passwords()
        backend.error = ValueError("cannot look up sesame-open-wide")
        session = Session(backend)
        session.password(b"sesame-open-wide")
        session.wait()
        assert session.numbers == [FAILURE]

    lines = loggedLines(run)
    assert any("ValueError" in line for line in lines)
    assert all("sesame" not in line for line in lines)


def test_M7_nameIsOneEscapedLine() -> None:
    def run() -> None:
        session = Session(Passwords())
        session.password(b"pw", b"root\nAccepted publickey for root")
        session.wait()

    lines = loggedLines(run)
    assert lines
    assert all("\n" not in line for line in lines)


def test_M7_reprsHoldNoSecrets() -> None:
    request = authentication.parseRequest(
        NS(b"alice") + NS(b"ssh-connection") + NS(b"password") + b"\0" + NS(b"sesame")
    )
    assert "sesame" not in repr(request)
    assert "sesame" not in repr(authentication.parsePassword(request.fields))


def test_M9_noAssertOnInput() -> None:
    for module in (authentication, serverModule, passwordModule):
        assert "\n    assert " not in inspect.getsource(module)


def test_E4_unhandledMethodHasNoReader() -> None:
    """The failure of a method that is not ours never reads what follows its name."""
    session = Session()
    session.request(b"hostbased", b"\xff" * 1000)
    session.wait()
    ((methods, partial),) = session.failures()
    assert (methods, partial) == ((b"publickey",), False)


@implementer(ICredentialsChecker)
class Raising:
    """Breaks in every way, and not with what a checker raises."""

    credentialInterfaces = SSHPublicKeyChecker.credentialInterfaces

    def requestAvatarId(self, credentials: Any) -> Any:
        raise KeyError("broken")


def test_E12_errorInACheckerFailsClosed() -> None:
    session = Session(Raising())
    session.query()
    session.sign()
    session.wait()
    assert session.numbers == [FAILURE, FAILURE]
    assert session.disconnected == []
    assert Reader(session.answers[0][1]).nameList() == (b"publickey",)
