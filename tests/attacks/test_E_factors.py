"""attacks.md, E6, E7, E9: factors that count only once shown, logins that come too late."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ISSHPrivateKey
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import defer
from zope.interface import implementer

from limpet.checkers import SSHProtocolChecker
from limpet.error import NotEnoughAuthentication
from tests.unit.ssh.userauth.doubles import (
    ALICE_KEY,
    FAILURE,
    MIDDLE,
    OTHER_KEY,
    SUCCESS,
    Passwords,
    Session,
)
from tests.unit.ssh.userauth.test_server import both, keyChecker


@implementer(ICredentialsChecker)
class KeyOnly:
    """Looks at the key and leaves the signature to the server, as checkers of Conch may."""

    credentialInterfaces = (ISSHPrivateKey,)

    def requestAvatarId(self, credentials: Any) -> defer.Deferred[Any]:
        if credentials.blob == ALICE_KEY.public().blob():
            return defer.succeed(credentials.username)
        return defer.fail(UnauthorizedLogin())


@pytest.mark.parametrize("shown", ["query", "wrong signature"])
def test_E9_keyThatNobodySignedWithIsNoFactor(shown: str) -> None:
    session = Session(both(keys=KeyOnly()))
    if shown == "query":
        session.query()
    else:
        session.sign(OTHER_KEY, shown=ALICE_KEY)
    session.wait()
    session.password(b"pw")
    session.wait()
    # The password is one factor of two: a partial success, and no login.
    assert session.numbers == [MIDDLE if shown == "query" else FAILURE, FAILURE]
    assert session.failures()[-1] == ((b"publickey",), True)
    assert session.realm.loggedIn == []


def test_E9_signatureThatTheServerVerifiesIsAFactor() -> None:
    session = Session(both(keys=KeyOnly()))
    session.sign()
    session.password(b"pw")
    session.wait()
    assert session.numbers == [FAILURE, SUCCESS]
    assert session.failures() == [((b"password",), True)]


def test_E6_queryIsNoPartialSuccess() -> None:
    @implementer(ICredentialsChecker)
    class NeverEnough(KeyOnly):
        def requestAvatarId(self, credentials: Any) -> defer.Deferred[Any]:
            return defer.fail(NotEnoughAuthentication())

    session = Session(NeverEnough(), Passwords(alice=b"pw"))
    session.query()
    session.wait()
    assert session.numbers == [MIDDLE]
    assert session.server.authenticatedWith == []


@pytest.mark.parametrize("answer", ["deferred", "coroutine"])
def test_E9_factorsThatAreStillBeingCountedAreNotEnough(answer: str) -> None:
    class Later(SSHProtocolChecker):
        def areDone(self, avatarId: Any) -> Any:
            if answer == "deferred":
                return defer.succeed(False)
            self.coroutine = self.decide()
            return self.coroutine

        async def decide(self) -> bool:
            return False

    checker = Later()
    checker.registerChecker(keyChecker())
    session = Session(checker)
    session.sign()
    session.wait()
    assert session.numbers == [FAILURE]
    assert not session.loggedIn
    if answer == "coroutine":
        checker.coroutine.close()
