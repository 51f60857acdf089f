"""Which SSH sessions a connection to an agent belongs to, and where that leads a key to.

Rule: a binding counts only with the server's own signature over the session's id. What cannot be
verified is not forgotten: from then on the connection signs nothing.

    agent ◄── ssh at home, to A ◄── ssh on A, to B ◄── ssh on B, logging in to C
              bind(A, forwarding)   bind(B, forwarding)   bind(C, login)

A key that is restricted to destinations is good for the hops that were bound, each from the one
before it, and for no session that was not (OpenSSH's PROTOCOL.agent, sections 1 and 2).
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from limpet.core.patterns import matchPattern
from limpet.core.signables import MAX_SESSION_ID, MIN_SESSION_ID, Signable, Use, plainBlob
from limpet.crypto.certificates import Certificate
from limpet.crypto.errors import BadKeyError, CertificateRejected
from limpet.crypto.keyformats import certificateblob, publicblob
from limpet.crypto.signatures import (
    DEFAULT_SIGNATURE_ALGORITHMS,
    nameOf,
    verifySignature,
)
from limpet.wire.agent import Destination, Hop, SessionBind
from limpet.wire.errors import WireError
from limpet.wire.fields import Reader

MAX_BINDINGS = 16
"""Most sessions that one connection is bound to (OpenSSH's AGENT_MAX_SESSION_IDS)."""


class BindRefused(Exception):
    """A binding that cannot be verified, or that no honest client would ask for."""


@dataclass(frozen=True)
class Binding:
    """One session.

    Attributes:
        keyBlob: The server's key, out of its certificate if it came in one.
        certificate: The certificate; None if it was a plain key.
        sessionId: The session's id.
        isForwarding: Whether the agent is forwarded to that server.
    """

    keyBlob: bytes
    certificate: Certificate | None
    sessionId: bytes
    isForwarding: bool


class Bindings:
    """The sessions of one connection to an agent, the nearest first.

    Attributes:
        hops: What was bound.
        failed: Whether a binding was refused.
    """

    def __init__(self) -> None:
        self.hops: list[Binding] = []
        self.failed = False

    @property
    def isForwarded(self) -> bool:
        """Whether the one who asks is on another machine."""
        return any(hop.isForwarding for hop in self.hops)

    def bind(self, request: SessionBind) -> None:
        """Bind the connection to one more session.

        Raises:
            BindRefused: The server's signature is wrong, or the session does not fit those before
                it. The connection is spoilt.
        """
        try:
            self._bind(request)
        except (BindRefused, BadKeyError, WireError):
            self.failed = True
            raise BindRefused("a session that the connection cannot be bound to") from None

    def _bind(self, request: SessionBind) -> None:
        if self.failed or not MIN_SESSION_ID <= len(request.sessionId) <= MAX_SESSION_ID:
            raise BindRefused
        binding = _verified(request)
        for hop in self.hops:
            if hop.sessionId == binding.sessionId:
                if hop == binding:
                    return
                raise BindRefused
            if not hop.isForwarding:
                # Whoever logs in somewhere does not forward us any further.
                raise BindRefused
        if len(self.hops) == MAX_BINDINGS:
            raise BindRefused
        self.hops.append(binding)

    def maySign(self, what: Signable) -> bool:
        """Whether the connection may have `what` signed by a key that goes anywhere.

        One that is bound gets logins only: into the session that it is bound to, or, while it is
        only forwarded, into one that is not bound, because not every client there knows how to.
        """
        if self.failed:
            return False
        if not self.hops:
            return True
        if what.use is not Use.LOGIN:
            return False
        if not self.hops[-1].isForwarding:
            return self._isForLast(what)
        return all(hop.sessionId != what.sessionId for hop in self.hops)

    def maySignFor(self, destinations: Sequence[Destination], what: Signable, now: float) -> bool:
        """The same for a key that is restricted to `destinations`; `now` in seconds since 1970."""
        if not destinations:
            return self.maySign(what)
        if self.failed or not self.hops or what.use is not Use.LOGIN or not self._isForLast(what):
            return False
        if len(self.hops) > 1 and what.hostKeyBlob is None:
            # Beyond the first hop only the request itself says which host it is for.
            return False
        if self.hops[-1].isForwarding:
            return False
        return self._isReachable(destinations, what.user, now)

    def mayList(self, destinations: Sequence[Destination], now: float) -> bool:
        """Whether a key that is restricted to `destinations` is of any use on this connection."""
        if self.failed:
            return False
        if not destinations or not self.hops:
            return True
        if not self._isReachable(destinations, None, now):
            return False
        last = self.hops[-1]
        # On a host that it may only log in to, and go no further from, a key is not shown.
        return not last.isForwarding or any(
            _isAt(destination.source, last, now) for destination in destinations
        )

    def _isForLast(self, what: Signable) -> bool:
        last = self.hops[-1]
        return hmac.compare_digest(what.sessionId, last.sessionId) and (
            what.hostKeyBlob is None or plainBlob(what.hostKeyBlob) == last.keyBlob
        )

    def _isReachable(
        self, destinations: Sequence[Destination], user: bytes | None, now: float
    ) -> bool:
        """Whether every hop is one that a destination allows; the last one as `user`."""
        before: Binding | None = None
        for hop in self.hops:
            asked = user if hop is self.hops[-1] else None
            if not any(_allows(each, before, hop, asked, now) for each in destinations):
                return False
            before = hop
        return True


def _allows(
    destination: Destination,
    source: Binding | None,
    target: Binding,
    user: bytes | None,
    now: float,
) -> bool:
    if source is None:
        if destination.source.hostKeys:
            return False
    elif not _isAt(destination.source, source, now):
        return False
    if not _isAt(destination.target, target, now):
        return False
    pattern = destination.target.user
    return user is None or not pattern or matchPattern(pattern, user)


def _isAt(hop: Hop, binding: Binding, now: float) -> bool:
    """Whether the server of `binding` has a key that `hop` names."""
    for blob, isAuthority in hop.hostKeys:
        if not isAuthority:
            if blob == binding.keyBlob:
                return True
            continue
        if binding.certificate is None:
            continue
        try:
            binding.certificate.checkHost(authorities=(blob,), hostName=hop.host, now=now)
        except CertificateRejected:
            continue
        return True
    return False


def _verified(request: SessionBind) -> Binding:
    certificate: Certificate | None = None
    keyBlob = request.hostKeyBlob
    algorithm = nameOf(request.signature)
    kind = Reader(keyBlob).string(publicblob.MAX_TYPE_LENGTH)
    if kind in certificateblob.CERTIFICATE_TYPES:
        certificate = Certificate(keyBlob)
        keyBlob = certificate.key.blob()
    else:
        publicblob.decode(keyBlob)
    if algorithm not in DEFAULT_SIGNATURE_ALGORITHMS:
        raise BindRefused
    if not verifySignature(keyBlob, algorithm, request.signature, request.sessionId):
        raise BindRefused
    return Binding(keyBlob, certificate, request.sessionId, request.isForwarding)
