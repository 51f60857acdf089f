"""X25519 and ECDH: each side sends one public value.

    client                                     server
       │  MSG_KEX_ECDH_INIT   string Q_C         │
       │ ──────────────────────────────────────► │
       │  MSG_KEX_ECDH_REPLY  string K_S         │
       │                      string Q_S         │
       │ ◄──────────────────  string signature   │

Rule: the secret is hashed as an mpint, so it loses its leading zeros; the public values are hashed
as strings. RFC 5656 section 4, RFC 8731 section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from limpet.core.errors import KeyExchangeFailed
from limpet.core.kex.steps import (
    Exchange,
    Expect,
    KexContext,
    KexMethod,
    KexResult,
    Send,
    exchangeHash,
)
from limpet.crypto.agreement import AgreementError
from limpet.wire.fields import MP, NS, Reader
from limpet.wire.numbers import MSG_KEX_ECDH_INIT, MSG_KEX_ECDH_REPLY


class KeyPair(Protocol):
    """`agreement.X25519` or `agreement.ECDH`."""

    @property
    def publicValue(self) -> bytes: ...

    def agree(self, peerValue: bytes) -> bytes: ...


def ecdhMethod(name: bytes, hashName: str, makePair: Callable[[], KeyPair]) -> KexMethod:
    """The method `name`, whose key pairs are made by `makePair`."""

    def client(context: KexContext) -> Exchange:
        pair = makePair()
        yield Send(MSG_KEX_ECDH_INIT, NS(pair.publicValue))

        reader = Reader((yield Expect(MSG_KEX_ECDH_REPLY)))
        hostKeyBlob = reader.string()
        serverValue = reader.string()
        signature = reader.string()
        reader.end()

        secret = _agree(pair, serverValue)
        exchanged = NS(pair.publicValue) + NS(serverValue) + secret
        digest = exchangeHash(hashName, context, hostKeyBlob, exchanged)
        return KexResult(secret, digest, hostKeyBlob, signature)

    def server(context: KexContext) -> Exchange:
        reader = Reader((yield Expect(MSG_KEX_ECDH_INIT)))
        clientValue = reader.string()
        reader.end()

        pair = makePair()
        secret = _agree(pair, clientValue)
        exchanged = NS(clientValue) + NS(pair.publicValue) + secret
        digest = exchangeHash(hashName, context, context.hostKeyBlob, exchanged)
        signature = context.sign(digest)
        reply = NS(context.hostKeyBlob) + NS(pair.publicValue) + NS(signature)
        yield Send(MSG_KEX_ECDH_REPLY, reply)
        return KexResult(secret, digest, context.hostKeyBlob, signature)

    return KexMethod(name, hashName, client, server)


def _agree(pair: KeyPair, peerValue: bytes) -> bytes:
    """The secret as it is hashed, an mpint."""
    try:
        return MP(int.from_bytes(pair.agree(peerValue), "big"))
    except AgreementError as error:
        raise KeyExchangeFailed(str(error)) from None
