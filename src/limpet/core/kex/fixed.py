"""Diffie-Hellman in a group that the method's name fixes.

    client                                server
       │  MSG_KEXDH_INIT   mpint e          │
       │ ─────────────────────────────────► │
       │  MSG_KEXDH_REPLY  string K_S       │
       │                   mpint f          │
       │ ◄───────────────  string signature │

Rule: everything but the host key is hashed as an mpint. RFC 4253 section 8, RFC 8268.
"""

from __future__ import annotations

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
from limpet.crypto.agreement import AgreementError, DiffieHellman
from limpet.crypto.groups import knownGroup
from limpet.wire.fields import MP, NS, Reader
from limpet.wire.numbers import MSG_KEXDH_INIT, MSG_KEXDH_REPLY


def fixedGroupMethod(name: bytes, hashName: str, sizeBits: int) -> KexMethod:
    """The method `name` over the known group of that size."""

    def client(context: KexContext) -> Exchange:
        pair = DiffieHellman(knownGroup(sizeBits))
        yield Send(MSG_KEXDH_INIT, MP(pair.publicValue))

        reader = Reader((yield Expect(MSG_KEXDH_REPLY)))
        hostKeyBlob = reader.string()
        serverValue = reader.mpint(sizeBits)
        signature = reader.string()
        reader.end()

        secret = agree(pair, serverValue)
        exchanged = MP(pair.publicValue) + MP(serverValue) + secret
        digest = exchangeHash(hashName, context, hostKeyBlob, exchanged)
        return KexResult(secret, digest, hostKeyBlob, signature)

    def server(context: KexContext) -> Exchange:
        reader = Reader((yield Expect(MSG_KEXDH_INIT)))
        clientValue = reader.mpint(sizeBits)
        reader.end()

        pair = DiffieHellman(knownGroup(sizeBits))
        secret = agree(pair, clientValue)
        exchanged = MP(clientValue) + MP(pair.publicValue) + secret
        digest = exchangeHash(hashName, context, context.hostKeyBlob, exchanged)
        signature = context.sign(digest)
        reply = NS(context.hostKeyBlob) + MP(pair.publicValue) + NS(signature)
        yield Send(MSG_KEXDH_REPLY, reply)
        return KexResult(secret, digest, context.hostKeyBlob, signature)

    return KexMethod(name, hashName, client, server)


def agree(pair: DiffieHellman, peerValue: int) -> bytes:
    """The secret as it is hashed, an mpint."""
    try:
        return MP(pair.agree(peerValue))
    except AgreementError as error:
        raise KeyExchangeFailed(str(error)) from None
