"""The client's end of an SSH transport: it judges the host key before it says anything else.

Rule: whatever `verifyHostKey` does but succeed ends the connection; until it has succeeded nothing
leaves but the key exchange itself (attacks.md E21, K1).
"""

from __future__ import annotations

import binascii
import hashlib
import inspect
from typing import Any

from twisted.internet import defer
from twisted.python.failure import Failure

from limpet.core.errors import HostKeyRejected, ProtocolViolation, UnexpectedMessage
from limpet.core.kex import KexResult
from limpet.crypto.signatures import verifySignature
from limpet.ssh.service import SSHService
from limpet.ssh.transport.base import SSHTransportBase
from limpet.ssh.transport.numbers import (
    MSG_KEX_DH_GEX_GROUP,
    MSG_KEX_DH_GEX_REPLY,
    MSG_SERVICE_REQUEST,
)
from limpet.wire.messages import ServiceAccept, ServiceRequest


class SSHClientTransport(SSHTransportBase):
    """The client's end. A subclass says which host key is right and what to do once it is.

    Attributes:
        instance: The service that was asked for, until the server accepts it.
        hostKeySignature: The server's signature over `sessionID`, once it has been verified; what
            an agent is shown of the connection that it signs for.
    """

    isClient = True
    instance: SSHService | None = None
    hostKeySignature: bytes = b""

    # When the service was asked for, and how long the answer took.
    _asked: float | None = None
    _answerSeconds = 0.0

    _verification: defer.Deferred[Any] | None = None
    _secured: bool = False

    # ── For a subclass ────────────────────────────────────────────────────────────────────────

    def verifyHostKey(self, pubKey: bytes, fingerprint: bytes) -> defer.Deferred[Any]:
        """Decide whether this is the server's host key. A subclass must override this.

        The server has proven that it holds the key. Called once per connection: a later key
        exchange has to use the same key.

        Args:
            pubKey: The public key's blob.
            fingerprint: Its MD5 fingerprint in hexadecimal with colons, as Conch documents it; a
                person should be shown the SHA-256 one of `limpet.ssh.keys.Key.fingerprint`.

        Returns:
            A Deferred that fires with anything true if the key is right. One that fails, or fires
            with something false, ends the connection.
        """
        return defer.fail(NotImplementedError("verifyHostKey must be overridden"))

    def connectionSecure(self) -> None:
        """The connection is encrypted and the server is who it should be; called once.

        A subclass overrides it, for example to `requestService` user authentication.
        """

    # ── Key exchange ──────────────────────────────────────────────────────────────────────────

    def ssh_KEX_DH_GEX_GROUP(self, packet: bytes) -> None:
        """Message 31: the server's reply, or the group that it chose (RFC 4419)."""
        self._keyExchangeMessage(MSG_KEX_DH_GEX_GROUP, packet)

    def ssh_KEX_DH_GEX_REPLY(self, packet: bytes) -> None:
        """Message 33: string host key, mpint f, string signature (RFC 4419)."""
        self._keyExchangeMessage(MSG_KEX_DH_GEX_REPLY, packet)

    def _serversMessageOnly(self, packet: bytes) -> None:
        raise UnexpectedMessage("a server does not send a client's half of a key exchange")

    ssh_KEX_DH_GEX_REQUEST_OLD = _serversMessageOnly
    ssh_KEX_DH_GEX_REQUEST = _serversMessageOnly
    ssh_KEX_DH_GEX_INIT = _serversMessageOnly

    def _exchangeFinished(self, result: KexResult) -> None:
        algorithm = self.keyAlg or b""
        if not verifySignature(
            result.hostKeyBlob, algorithm, result.signature, result.exchangeHash
        ):
            raise HostKeyRejected("the server's signature over the key exchange is wrong")
        self._checkHostKeyUnchanged(result.hostKeyBlob)
        if self.sessionID is not None:
            self._keySetup(result.sharedSecret, result.exchangeHash)
            return
        self.hostKeySignature = result.signature
        self._wait()
        verification = defer.maybeDeferred(
            self.verifyHostKey, result.hostKeyBlob, _md5Fingerprint(result.hostKeyBlob)
        )
        self._verification = verification
        verification.addCallbacks(self._hostKeyJudged, self._hostKeyRefused, callbackArgs=(result,))
        verification.addErrback(self._hostKeyFailed)

    def _hostKeyJudged(self, verdict: object, result: KexResult) -> None:
        self._verification = None
        if self._over:
            return
        # An awaitable that is no Deferred is an answer that is still to come, and not a yes.
        if not verdict or inspect.isawaitable(verdict):
            self._violated(HostKeyRejected("host key verification failed"))
            return
        self._guarded(self._keySetup, result.sharedSecret, result.exchangeHash)
        self._goOn()

    def _hostKeyRefused(self, failure: Failure) -> None:
        self._verification = None
        if self._over:
            return
        self._log.info(
            "{prefix}: the host key was not accepted: {why}",
            prefix=self.logPrefix(),
            why=failure.getErrorMessage(),
        )
        violation = failure.check(ProtocolViolation) and failure.value
        self._violated(
            violation
            if isinstance(violation, HostKeyRejected)
            else HostKeyRejected("host key verification failed")
        )

    def _hostKeyFailed(self, failure: Failure) -> None:
        self._log.failure("{prefix}: unhandled error", failure, prefix=self.logPrefix())
        self._abort()

    def _exchangeAbandoned(self, reason: Failure) -> None:
        verification, self._verification = self._verification, None
        if verification is not None:
            verification.cancel()
        super()._exchangeAbandoned(reason)

    def _newKeys(self) -> None:
        super()._newKeys()
        if not self._secured:
            self._secured = True
            self.connectionSecure()

    # ── Services ──────────────────────────────────────────────────────────────────────────────

    def requestService(self, instance: SSHService) -> None:
        """Ask the server to start `instance`'s service; it is set when the server accepts.

        Args:
            instance: The client's end of the service.
        """
        self.sendPacket(MSG_SERVICE_REQUEST, ServiceRequest(instance.name).encode())
        self.instance = instance
        if self.clock is not None:
            self._asked = self.clock.seconds()

    def ssh_SERVICE_ACCEPT(self, packet: bytes) -> None:
        """MSG_SERVICE_ACCEPT: string name of the service; an empty message is taken as well."""
        instance, self.instance = self.instance, None
        if instance is None:
            raise UnexpectedMessage("a service was accepted that nobody asked for")
        # Some old servers leave the name out.
        if packet and ServiceAccept.decode(packet).name != instance.name:
            raise UnexpectedMessage("another service was accepted than was asked for")
        if self.clock is not None and self._asked is not None:
            self._answerSeconds = self.clock.seconds() - self._asked
        self.setService(instance)

    def roundTripSeconds(self) -> float:
        """How long a message and its answer take on this path, at the least; 0 if unknown.

        Where a relay or a jump host ends the TCP connection, it is the server's answer that says
        how long the whole path is: it accepts a service at once.
        """
        return max(self._answerSeconds, super().roundTripSeconds())


def _md5Fingerprint(blob: bytes) -> bytes:
    digest = hashlib.md5(blob, usedforsecurity=False).digest()
    return binascii.hexlify(digest, b":")
