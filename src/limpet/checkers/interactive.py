"""Logins by question and answer (RFC 4256).

Rule: one conversation per request, run by one device; what the device does not say yes to is a no.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import defer
from zope.interface import implementer

from limpet.core.authentication import isTriablePassword
from limpet.interfaces import IKeyboardInteractiveCredentials
from limpet.ssh.userauth import PasswordCredentials


@implementer(ICredentialsChecker)
class KeyboardInteractiveChecker:
    """Lets in whom a device says yes to.

    Args:
        device: An `IKeyboardInteractiveDevice`.
    """

    credentialInterfaces = (IKeyboardInteractiveCredentials,)

    def __init__(self, device: Any) -> None:
        self._device = device

    def requestAvatarId(self, credentials: Any) -> defer.Deferred[Any]:
        """Run the device once; a Deferred of the user's name."""
        asked = defer.maybeDeferred(self._device.authenticate, credentials)
        return asked.addCallback(self._decide, credentials)

    def _decide(self, verdict: Any, credentials: Any) -> bytes:
        # True and nothing else: a device that returns something by mistake lets nobody in.
        if verdict is not True:
            raise UnauthorizedLogin("the device said no")
        username: bytes = credentials.username
        return username


@implementer(ICredentialsChecker)
class KeyboardInteractivePasswordChecker:
    """Asks for a password, and has another checker look at it.

    Args:
        checker: A checker of `IUsernamePassword`.
        prompt: The question.
    """

    credentialInterfaces = (IKeyboardInteractiveCredentials,)

    def __init__(self, checker: Any, prompt: bytes = b"Password: ") -> None:
        self._checker = checker
        self._prompt = prompt

    def requestAvatarId(self, credentials: Any) -> defer.Deferred[Any]:
        """Ask once; a Deferred of what the other checker gives."""
        asked = credentials.ask([(self._prompt, False)])
        return defer.maybeDeferred(lambda: asked).addCallback(self._check, credentials)

    def _check(self, answers: list[bytes], credentials: Any) -> Any:
        (password,) = answers
        if not isTriablePassword(password):
            raise UnauthorizedLogin("not a password")
        return self._checker.requestAvatarId(
            PasswordCredentials(credentials.username, password, credentials.context)
        )
