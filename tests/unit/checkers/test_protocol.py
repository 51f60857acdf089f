"""SSHProtocolChecker: several checkers, and when there have been enough of them."""

from __future__ import annotations

from typing import Any

from twisted.cred.credentials import ISSHPrivateKey, IUsernamePassword, UsernamePassword
from twisted.cred.error import UnhandledCredentials
from twisted.internet import defer
from twisted.python.failure import Failure

from limpet.checkers import InMemorySSHKeyDB, SSHProtocolChecker, SSHPublicKeyChecker
from limpet.core.authentication import Factors, UserAuthRequest
from limpet.error import NotEnoughAuthentication
from limpet.ssh.userauth import AuthenticationContext, PasswordCredentials
from tests.unit.ssh.userauth.doubles import Passwords, Session


def outcome(checker: Any, shown: Any) -> Any:
    out: list[Any] = []
    defer.maybeDeferred(checker.requestAvatarId, shown).addBoth(out.append)
    (result,) = out
    return result.type if isinstance(result, Failure) else result


def test_interfaces() -> None:
    checker = SSHProtocolChecker()
    assert list(checker.credentialInterfaces) == []
    checker.registerChecker(Passwords())
    checker.registerChecker(SSHPublicKeyChecker(InMemorySSHKeyDB({})), ISSHPrivateKey)
    assert set(checker.credentialInterfaces) == {IUsernamePassword, ISSHPrivateKey}


def test_firstIsEnoughByDefault() -> None:
    checker = SSHProtocolChecker()
    checker.registerChecker(Passwords(alice=b"pw"))
    assert outcome(checker, UsernamePassword(b"alice", b"pw")) == b"alice"


def test_noChecker() -> None:
    assert outcome(SSHProtocolChecker(), UsernamePassword(b"a", b"b")) is UnhandledCredentials


def test_areDoneSeesWhatWasShown() -> None:
    seen: list[Any] = []

    class Own(SSHProtocolChecker):
        def areDone(self, avatarId: Any) -> bool:
            seen.append((avatarId, self.successfulCredentials[avatarId]))
            return False

    checker = Own()
    checker.registerChecker(Passwords(alice=b"pw"))
    assert outcome(checker, UsernamePassword(b"alice", b"pw")) is NotEnoughAuthentication
    assert outcome(checker, UsernamePassword(b"alice", b"pw")) is NotEnoughAuthentication
    assert seen == [(b"alice", [IUsernamePassword])] * 2
    assert checker.successfulCredentials == {}


def test_factorsOfDifferentAvatarsDoNotAddUp() -> None:
    """A key that leads to one avatar and a password that leads to another are not two factors."""

    class Own(SSHProtocolChecker):
        def areDone(self, avatarId: Any) -> bool:
            return len(self.successfulCredentials[avatarId]) >= 2

    class Aliasing(Passwords):
        def requestAvatarId(self, credentials: Any) -> defer.Deferred[Any]:
            return defer.succeed(b"somebody else")

    checker = Own()
    checker.registerChecker(Aliasing())
    from tests.unit.ssh.userauth.test_server import keyChecker

    checker.registerChecker(keyChecker())
    session = Session(checker)
    session.sign()
    session.password(b"pw")
    session.wait()
    assert not session.loggedIn
    assert session.failures()[-1] == ((), True)


def test_oneKindTwiceIsOneFactor() -> None:
    """Also where the server would let the same method succeed again."""

    class Own(SSHProtocolChecker):
        def areDone(self, avatarId: Any) -> bool:
            return len(self.successfulCredentials[avatarId]) >= 2

    checker = Own()
    checker.registerChecker(Passwords(alice=b"pw"))
    request = UserAuthRequest(b"alice", b"ssh-connection", b"password", b"")
    factors = Factors(b"alice", b"ssh-connection")
    for _ in range(3):
        context = AuthenticationContext(request, None, factors, 0.0)
        shown = PasswordCredentials(b"alice", b"pw", context)
        assert outcome(checker, shown) is NotEnoughAuthentication
    assert factors.completed == {b"alice": [IUsernamePassword]}
