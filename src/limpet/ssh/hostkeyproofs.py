"""What a server says of all its host keys after a login, and its proofs that it holds them.

Rule: a key that was announced on this connection is signed with once at most (attacks.md G9), over
what is of no use anywhere else: the request's name, the session and that key.

    server  hostkeys-00@openssh.com          all its keys                    no reply wanted
    client  hostkeys-prove-00@openssh.com    those that it does not know
    server  REQUEST_SUCCESS                  a signature for each, in their order

draft-miller-sshm-hostkey-update; the client's half is `limpet.client.hostkeyupdates`.
"""

from __future__ import annotations

import re
from typing import Any

from limpet.crypto.signatures import HOST_KEY_ALGORITHMS
from limpet.wire.errors import BadField
from limpet.wire.fields import NS, Reader

HOST_KEYS = b"hostkeys-00@openssh.com"
PROVE = b"hostkeys-prove-00@openssh.com"

CONFUSED = re.compile(rb"SSH-2\.0-(Cisco-1\.|TeraTerm SSH|TTSSH/(1\.5\.|2\.[1-6]|2\.7[0-2]))")
"""What clients call themselves that end the connection when they hear of it (known to OpenSSH)."""


class HostKeyProofs:
    """A server's keys on one connection.

    Args:
        transport: The `SSHServerTransport`; its keys are those that its factory has now.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        # What can still be proven: the key's blob to the private key and what it signs by.
        self._provable: dict[bytes, tuple[Any, bytes]] = {}
        factory = transport.factory
        for name, private in factory.privateKeys.items():
            public = factory.publicKeys.get(name)
            algorithm = self._algorithmOf(public)
            if algorithm is not None:
                self._provable.setdefault(public.blob(), (private, algorithm))
        self.announcement = b"".join(NS(blob) for blob in self._provable)

    def _algorithmOf(self, public: Any) -> bytes | None:
        """What a key signs by on this connection, as it would in a key exchange; None for nothing.

        An RSA key signs by the negotiated algorithm where that is one of RSA: clients check that.
        """
        if public is None:
            return None
        keyType = public.sshType()
        names = (self._transport.keyAlg, *self._transport.supportedPublicKeys)
        return next((name for name in names if HOST_KEY_ALGORITHMS.get(name) == keyType), None)

    @property
    def isWelcome(self) -> bool:
        """Whether there is something to say, to a client that can hear it."""
        version = self._transport.otherVersionString or b""
        return bool(self.announcement) and CONFUSED.match(version) is None

    def prove(self, data: bytes) -> bytes:
        """The signatures for the keys in `data`: string key, and so on.

        Raises:
            WireError: The data is cut, or one is no key of this server's, or was proven before.
        """
        asked: list[bytes] = []
        reader = Reader(data)
        while reader.remaining:
            blob = reader.string()
            if blob not in self._provable or blob in asked:
                raise BadField("no host key that was announced, or one that was proven before")
            asked.append(blob)
        if not asked:
            raise BadField("no host keys")
        answer = b""
        for blob in asked:
            private, algorithm = self._provable.pop(blob)
            signed = NS(PROVE) + NS(self._transport.sessionID) + NS(blob)
            answer += NS(private.sign(signed, signatureType=algorithm))
        return answer
