"""A connection by TCP for programs that bring their own authentication: Conch's `client.direct`.

Rule: as Conch documents it. The Deferred of `connect` fires once, when the service behind the login
starts, or fails with why it did not.

New programs use `limpet.connect`, which reads the user's configuration and explains its failures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import defer
from twisted.internet.protocol import ClientFactory, connectionDone
from twisted.python.failure import Failure

from limpet._logger import ClassLogger
from limpet._reactor import getReactor
from limpet.client.errors import shown
from limpet.core import negotiation
from limpet.error import ConchError
from limpet.ssh import transport
from limpet.ssh.service import SSHService

VerifyHostKey = Callable[[Any, bytes, bytes, bytes], Any]
"""Called with the transport, the server's address, the key's blob and its MD5 fingerprint."""


class SSHClientFactory(ClientFactory):
    """Makes the transport of one connection.

    Args:
        d: Fires with None when the user is logged in; fails where that does not come about.
        options: A `ConchOptions`, or any mapping with the same keys.
        verifyHostKey: Decides about the host key; gives a Deferred of True.
        userAuthObject: The `SSHUserAuthClient` that logs in.
    """

    noisy = False

    def __init__(
        self, d: Any, options: Any, verifyHostKey: VerifyHostKey, userAuthObject: Any
    ) -> None:
        self.d: Any = d
        self.options = options
        self.verifyHostKey = verifyHostKey
        self.userAuthObject = userAuthObject

    def finish(self, outcome: Any) -> None:
        """Fire `d`, once, with None or a Failure."""
        d, self.d = self.d, None
        if d is not None:
            d.callback(outcome)

    def clientConnectionLost(self, connector: Any, reason: Failure) -> None:
        """The connection is gone; connect again where the options say so."""
        if self.options["reconnect"] and self.d is None:
            connector.connect()

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """No connection came about."""
        self.finish(reason)

    def buildProtocol(self, addr: Any) -> SSHClientTransport:
        """A transport that offers what the options say."""
        made = SSHClientTransport(self)
        options = self.options
        if options["ciphers"]:
            made.supportedCiphers = options["ciphers"]
        if options["macs"]:
            made.supportedMACs = options["macs"]
        if options["compress"]:
            made.supportedCompressions = [b"zlib@openssh.com", b"none"]
        if options["host-key-algorithms"]:
            made.supportedPublicKeys = options["host-key-algorithms"]
        return made


class SSHClientTransport(transport.SSHClientTransport):
    """The transport of `SSHClientFactory`: asks the factory about the host key, and logs in.

    It offers all that is sound, since it has to reach every server.
    """

    supportedKeyExchanges = list(negotiation.ALL_MODERN.keyExchanges)

    _log = ClassLogger()

    def __init__(self, factory: SSHClientFactory) -> None:
        self.factory = factory

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the factory that no login comes any more, where none came."""
        super().connectionLost(reason)
        violation = self.violation
        why = reason
        if violation is not None:
            why = Failure(ConchError(shown(violation.description), violation.reasonCode))
        self.factory.finish(why)

    def receiveError(self, reasonCode: int, description: bytes) -> None:
        """The server ends the connection: that is why no login comes."""
        self.factory.finish(Failure(ConchError(description, reasonCode)))

    def sendDisconnect(self, reason: int, desc: bytes) -> None:
        """End the connection: that is why no login comes."""
        super().sendDisconnect(reason, desc)
        self.factory.finish(Failure(ConchError(desc, reason)))

    def receiveDebug(self, alwaysDisplay: bool, message: bytes, lang: bytes) -> None:
        """Put the server's words into the log, those it wants shown as a message of note."""
        tell = self._log.info if alwaysDisplay else self._log.debug
        tell("the server says: {text}", text=shown(message))

    def verifyHostKey(self, pubKey: bytes, fingerprint: bytes) -> defer.Deferred[Any]:
        """Ask the factory's function."""
        address = self.transport.getPeer().host
        if isinstance(address, str):
            address = address.encode("ascii")
        return defer.maybeDeferred(self.factory.verifyHostKey, self, address, pubKey, fingerprint)

    def setService(self, service: SSHService) -> None:
        """Tell the factory once the service behind the login is there."""
        super().setService(service)
        if service.name != b"ssh-userauth":
            self.factory.finish(None)

    def connectionSecure(self) -> None:
        """Log in."""
        self.requestService(self.factory.userAuthObject)


def connect(
    host: str, port: int, options: Any, verifyHostKey: VerifyHostKey, userAuthObject: Any
) -> defer.Deferred[None]:
    """Connect to a host by TCP, and log in.

    Args:
        host: The host.
        port: Its port.
        options: As for `SSHClientFactory`; its "host" is what the user called the host.
        verifyHostKey: As for `SSHClientFactory`.
        userAuthObject: As for `SSHClientFactory`.

    Returns:
        A Deferred that fires with None when the user is logged in.
    """
    d: defer.Deferred[None] = defer.Deferred()
    factory = SSHClientFactory(d, options, verifyHostKey, userAuthObject)
    getReactor().connectTCP(host, port, factory)
    return d
