"""What makes server transports: the host keys, the services, the moduli and the algorithm lists.

Rule: a connection is built from what the factory holds at that moment, so that changing a factory
changes the next connection and none that exists.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from twisted.internet import protocol
from twisted.internet.interfaces import IAddress

from limpet._logger import ClassLogger
from limpet.core.errors import KeyExchangeFailed
from limpet.core.negotiation import AlgorithmLists
from limpet.error import ConchError
from limpet.ssh.connection import SSHConnection
from limpet.ssh.transport import SSHServerTransport
from limpet.ssh.userauth import SSHUserAuthServer

_GROUP_EXCHANGE = b"diffie-hellman-group-exchange-"


class SSHFactory(protocol.Factory):
    """Makes `SSHServerTransport`s. Give it keys and a portal, or override the methods that do.

    Attributes:
        services: Service name to the class that serves it.
        publicKeys, privateKeys: The host keys, by key type or by signature algorithm; taken from
            `getPublicKeys` and `getPrivateKeys` where they are not set.
        primes: Size in bits to a list of (generator, prime), for group exchange, or None.
        algorithms: What its connections offer, where that is not the transport's own default.
        portal: The `twisted.cred.portal.Portal` that logs users in.
        announcesHostKeys: Whether clients that have logged in are told all host keys, so that they
            can remember the others, too (OpenSSH's UpdateHostKeys).
    """

    protocol = SSHServerTransport

    services: Mapping[bytes, Any] = {
        b"ssh-userauth": SSHUserAuthServer,
        b"ssh-connection": SSHConnection,
    }
    algorithms: AlgorithmLists | None = None
    announcesHostKeys: bool = False
    portal: Any
    publicKeys: dict[bytes, Any]
    privateKeys: dict[bytes, Any]
    primes: Mapping[int, Any] | None

    _log = ClassLogger()

    def startFactory(self) -> None:
        """Collect the host keys and the moduli.

        Raises:
            ConchError: There is no host key.
        """
        if not hasattr(self, "privateKeys"):
            self.privateKeys = self.getPrivateKeys()
        if not hasattr(self, "publicKeys"):
            self.publicKeys = self.getPublicKeys()
        if not self.publicKeys or not self.privateKeys:
            raise ConchError("no host keys, failing")
        if not hasattr(self, "primes"):
            self.primes = self.getPrimes()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """The transport of one connection, with the algorithms that our keys and moduli allow."""
        transport: Any = protocol.Factory.buildProtocol(self, addr)
        if transport is None:
            return None
        if self.algorithms is not None:
            transport.supportedKeyExchanges = list(self.algorithms.keyExchanges)
            transport.supportedPublicKeys = list(self.algorithms.publicKeys)
            transport.supportedCiphers = list(self.algorithms.ciphers)
            transport.supportedMACs = list(self.algorithms.macs)
            transport.supportedCompressions = list(self.algorithms.compressions)
            # Who takes old host key algorithms has old clients, whose keys sign with the same.
            transport.userAuthAlgorithms += tuple(
                name
                for name in self.algorithms.publicKeys
                if name not in transport.userAuthAlgorithms
            )
        ours = set(self.privateKeys)
        for key in self.privateKeys.values():
            ours.update(key.supportedSignatureAlgorithms())
        transport.supportedPublicKeys = [
            name for name in transport.supportedPublicKeys if name in ours
        ]
        if not getattr(self, "primes", None):
            transport.supportedKeyExchanges = [
                name
                for name in transport.supportedKeyExchanges
                if not name.startswith(_GROUP_EXCHANGE)
            ]
        return transport

    def getPublicKeys(self) -> dict[bytes, Any]:
        """The public host keys: key type to `Key`. Where none are set, those of `privateKeys`."""
        return {name: key.public() for name, key in self.privateKeys.items()}

    def getPrivateKeys(self) -> dict[bytes, Any]:
        """The private host keys: key type to `Key`. To be overridden where none are set."""
        raise NotImplementedError("getPrivateKeys unimplemented")

    def getPrimes(self) -> Mapping[int, Any] | None:
        """Size in bits to a list of (generator, prime); None does without group exchange."""
        return None

    def getDHPrime(self, bits: int) -> tuple[int, int]:
        """A group of the size nearest to `bits`, one at random of those we have.

        Returns:
            Its generator and its prime.
        """
        if not getattr(self, "primes", None):
            raise KeyExchangeFailed("no groups for group exchange")
        assert self.primes is not None  # noqa: S101 - looked at above
        # Of two sizes that are equally near, the larger.
        size = min(self.primes, key=lambda candidate: (abs(candidate - bits), -candidate))
        generator, prime = secrets.choice(self.primes[size])
        return generator, prime

    def getService(self, transport: Any, service: bytes) -> Any:
        """The class of a service that this connection may have now.

        Args:
            transport: The connection.
            service: The name that the client asked for.

        Returns:
            None where there is none, or where nobody is logged in on the connection yet.
        """
        if service == b"ssh-userauth" or getattr(transport, "avatar", None) is not None:
            return self.services.get(service)
        return None
