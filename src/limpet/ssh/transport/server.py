"""The server's end of an SSH transport: it signs, starts services, and does not wait for ever.

Rule: one absolute timer runs from the moment the connection is accepted until somebody is logged
in, and no byte of the peer's prolongs it (attacks.md A2, E18).
"""

from __future__ import annotations

from typing import Any

from limpet.core.errors import KeyExchangeFailed, ServiceUnavailable, UnexpectedMessage
from limpet.core.kex import KexContext, Send
from limpet.core.moduli import affordable, choosePrime, isAffordable
from limpet.core.negotiation import Suite
from limpet.core.phases import Phase
from limpet.crypto.signatures import DEFAULT_SIGNATURE_ALGORITHMS, HOST_KEY_ALGORITHMS
from limpet.ssh.transport.base import SSHTransportBase
from limpet.ssh.transport.numbers import (
    MSG_KEX_DH_GEX_INIT,
    MSG_KEX_DH_GEX_REQUEST,
    MSG_KEX_DH_GEX_REQUEST_OLD,
    MSG_SERVICE_ACCEPT,
)
from limpet.wire.messages import ServiceAccept, ServiceRequest


class SSHServerTransport(SSHTransportBase):
    """The server's end. Its `factory` has the host keys, the services and the moduli.

    Attributes:
        loginGraceSeconds: How long a peer has from the connection's start to be logged in.
        dhGexRequest, g, p: For a subclass that answers group requests itself: the request, and the
            generator and prime that it has sent.
        userAuthAlgorithms: The signature algorithms that we take from users, for `server-sig-algs`.
    """

    isClient = False
    loginGraceSeconds: float = 60.0
    userAuthAlgorithms: tuple[bytes, ...] = DEFAULT_SIGNATURE_ALGORITHMS

    dhGexRequest: bytes = b""
    g: int | None = None
    p: int | None = None
    _groupAnswered: bool = False
    _keptHostKey: tuple[bytes, Any, Any] | None = None

    def makeConnection(self, transport: Any) -> None:
        """Take the transport, and start the one timer for all that comes before the login."""
        if self.timers.clock is None:
            self.timers.clock = getattr(transport, "reactor", None)
        self.timers.start("grace", self.loginGraceSeconds, self._graceOver)
        super().makeConnection(transport)

    def _graceOver(self) -> None:
        self._log.info(
            "{prefix}: not logged in after {seconds} s",
            prefix=self.logPrefix(),
            seconds=self.loginGraceSeconds,
        )
        self._abort()

    # ── Key exchange ──────────────────────────────────────────────────────────────────────────

    def _hostKey(self, algorithm: bytes, keys: dict[bytes, Any]) -> Any:
        """The key of `keys` for that algorithm: they are kept by algorithm or by key type."""
        key = keys.get(algorithm)
        if key is None:
            key = keys.get(HOST_KEY_ALGORITHMS.get(algorithm, algorithm))
        if key is None:
            raise KeyExchangeFailed(f"no host key for {algorithm.decode('ascii', 'replace')}")
        return key

    def _hostKeyPair(self, algorithm: bytes) -> tuple[Any, Any]:
        """The private and the public key for that algorithm.

        Those of the first exchange serve all later ones: the factory may have others by then, and
        a client takes no other (attacks.md C12).
        """
        keyType = HOST_KEY_ALGORITHMS.get(algorithm, algorithm)
        kept = self._keptHostKey
        if kept is None or kept[0] != keyType:
            private = self._hostKey(algorithm, self.factory.privateKeys)
            kept = keyType, private, self._hostKey(algorithm, self.factory.publicKeys)
            self._keptHostKey = kept
        return kept[1:]

    def _kexContext(self, suite: Suite) -> KexContext:
        algorithm = suite.hostKeyAlgorithm
        private, public = self._hostKeyPair(algorithm)
        return KexContext(
            clientVersion=self.otherVersionString,
            serverVersion=self.ourVersionString,
            clientKexInit=self.otherKexInitPayload,
            serverKexInit=self.ourKexInitPayload,
            hostKeyBlob=public.blob(),
            sign=lambda exchangeHash: private.sign(exchangeHash, signatureType=algorithm),
            choosePrime=self._choosePrime,
        )

    def _choosePrime(self, minimum: int, preferred: int, maximum: int) -> tuple[int, int]:
        """The generator and prime of a group of our factory's within the sizes, in bits."""
        if self._groupAnswered and self.g is not None and self.p is not None:
            return self.g, self.p
        generator: int
        generator, prime = self.factory.getDHPrime(preferred)
        if minimum <= prime.bit_length() <= maximum and isAffordable(generator, prime):
            return generator, prime
        # The nearest size is not one that the client takes or that we do, but another one may be.
        primes = affordable(getattr(self.factory, "primes", None) or {})
        return choosePrime(primes, minimum, preferred, maximum)

    def ssh_KEX_DH_GEX_REQUEST_OLD(self, packet: bytes) -> None:
        """Message 30: the client's half of the exchange, or the old form of a group request."""
        self._keyExchangeMessage(MSG_KEX_DH_GEX_REQUEST_OLD, packet)

    def ssh_KEX_DH_GEX_REQUEST(self, packet: bytes) -> None:
        """Message 34: uint32 minimum, preferred and maximum size of the group (RFC 4419)."""
        self._keyExchangeMessage(MSG_KEX_DH_GEX_REQUEST, packet)

    def ssh_KEX_DH_GEX_INIT(self, packet: bytes) -> None:
        """Message 32: mpint e, in the group that we chose (RFC 4419)."""
        if self.dhGexRequest and self._expected == MSG_KEX_DH_GEX_REQUEST:
            # An application has answered the request with a group of its own, which the method
            # has yet to hear of.
            request, self.dhGexRequest = self.dhGexRequest, b""
            self._groupAnswered = True
            try:
                self._keyExchangeMessage(MSG_KEX_DH_GEX_REQUEST, request)
            finally:
                self._groupAnswered = False
        self._keyExchangeMessage(MSG_KEX_DH_GEX_INIT, packet)

    def _sendStep(self, step: Send) -> None:
        if not self._groupAnswered:
            super()._sendStep(step)

    def ssh_KEX_DH_GEX_GROUP(self, packet: bytes) -> None:
        """Message 31 is for a server to send."""
        raise UnexpectedMessage("message 31 is not for a client to send")

    def ssh_KEX_DH_GEX_REPLY(self, packet: bytes) -> None:
        """Message 33 is for a server to send."""
        raise UnexpectedMessage("message 33 is not for a client to send")

    def _sendFirstExtInfo(self) -> None:
        if not self._peerSupportsExtensions:
            return
        extensions = [(b"server-sig-algs", b",".join(self.userAuthAlgorithms))]
        services = getattr(self.factory, "services", {})
        if getattr(services.get(b"ssh-userauth"), "takesHostBoundKeys", False):
            extensions.append((b"publickey-hostbound@openssh.com", b"0"))
        extensions.append((b"ping@openssh.com", b"0"))
        self.sendExtInfo(extensions)

    # ── Services ──────────────────────────────────────────────────────────────────────────────

    def ssh_SERVICE_REQUEST(self, packet: bytes) -> None:
        """MSG_SERVICE_REQUEST: string name of the service that the client wants."""
        name = ServiceRequest.decode(packet).name
        if self.phase is not Phase.SERVICE and name == getattr(self.service, "name", None):
            # Paramiko asks before each attempt to log in. What runs goes on, and so does its count.
            self.sendPacket(MSG_SERVICE_ACCEPT, ServiceAccept(name).encode())
            return
        service = self.factory.getService(self, name) if self.phase is Phase.SERVICE else None
        if service is None:
            shown = name.decode("ascii", "backslashreplace")
            raise ServiceUnavailable(f"the service {shown!r} is not available now")
        self.sendPacket(MSG_SERVICE_ACCEPT, ServiceAccept(name).encode())
        self.setService(service())
