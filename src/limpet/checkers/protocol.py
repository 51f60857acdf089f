"""Logins that take several factors: a key and a password, say.

Rule: what has been shown counts for the connection, the user and the avatar that it was shown for,
and for no other one.
"""

from __future__ import annotations

import inspect
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin, UnhandledCredentials
from twisted.internet import defer
from zope.interface import implementer, providedBy

from limpet.error import NotEnoughAuthentication, ValidPublicKey
from limpet.ssh.userauth import PublicKeyCredentials


@implementer(ICredentialsChecker)
class SSHProtocolChecker:
    """Asks one checker per kind of credentials, and says when there have been enough of them.

    A subclass overrides `areDone`; this one is content with the first.

    Attributes:
        checkers: Kind of credentials to its checker.
        successfulCredentials: While `areDone` runs: avatar id to the kinds that were shown for it,
            in order and without repetition.
    """

    def __init__(self) -> None:
        self.checkers: dict[Any, Any] = {}
        self.successfulCredentials: dict[Any, list[Any]] = {}

    @property
    def credentialInterfaces(self) -> list[Any]:
        """The kinds of credentials that there is a checker for."""
        return list(self.checkers)

    def registerChecker(self, checker: Any, *credentialInterfaces: Any) -> None:
        """Use `checker` for these kinds of credentials; for all that it takes if none are given."""
        for interface in credentialInterfaces or checker.credentialInterfaces:
            self.checkers[interface] = checker

    def requestAvatarId(self, credentials: Any) -> defer.Deferred[Any]:
        """Check one factor.

        Returns:
            A Deferred of the avatar id once `areDone` is content. It fails with
            NotEnoughAuthentication before, and as the factor's checker fails.
        """
        for interface in providedBy(credentials):
            checker = self.checkers.get(interface)
            if checker is not None:
                shown = defer.maybeDeferred(checker.requestAvatarId, credentials)
                return shown.addCallback(self._cbGoodAuthentication, credentials, interface)
        return defer.fail(UnhandledCredentials("no checker takes these credentials"))

    def _cbGoodAuthentication(self, avatarId: Any, credentials: Any, interface: Any) -> Any:
        # A checker may leave the signature to the server. As one factor of several it counts now.
        if isinstance(credentials, PublicKeyCredentials) and not credentials.isProven():
            if credentials.signature is None:
                raise ValidPublicKey()
            raise UnauthorizedLogin("the signature is wrong")
        context = getattr(credentials, "context", None)
        # Kept with the connection: two connections of one user are not two factors.
        completed = context.factors.completed if context is not None else {}
        shown: list[Any] = completed.setdefault(avatarId, [])
        if interface not in shown:
            shown.append(interface)
        self.successfulCredentials[avatarId] = list(shown)
        try:
            done = self.areDone(avatarId)
        finally:
            del self.successfulCredentials[avatarId]
        # An answer that is still to come, a Deferred or a coroutine, is not a yes.
        if not done or inspect.isawaitable(done):
            raise NotEnoughAuthentication()
        completed.pop(avatarId, None)
        return avatarId

    def areDone(self, avatarId: Any) -> bool:
        """Whether `successfulCredentials[avatarId]` is enough. To be overridden."""
        return True
