"""ML-KEM-768 together with X25519: broken only if both are.

    client                                            server
       │  MSG_KEX_HYBRID_INIT   string C_INIT            │   C_INIT  = ML-KEM key ‖ X25519 value
       │ ──────────────────────────────────────────────► │
       │  MSG_KEX_HYBRID_REPLY  string K_S               │
       │                        string S_REPLY           │   S_REPLY = ciphertext ‖ X25519 value
       │ ◄────────────────────  string signature         │

Rule: the secret is K = SHA-256(ML-KEM's ‖ X25519's), hashed as a string of 32 bytes and never as an
mpint. draft-ietf-sshm-mlkem-hybrid-kex section 2.
"""

from __future__ import annotations

import hashlib

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
from limpet.crypto.agreement import (
    MLKEM768,
    MLKEM_CIPHERTEXT_LENGTH,
    MLKEM_PUBLIC_LENGTH,
    X25519,
    AgreementError,
    encapsulate,
)
from limpet.wire.fields import NS, Reader
from limpet.wire.numbers import MSG_KEX_HYBRID_INIT, MSG_KEX_HYBRID_REPLY

_HASH = "sha256"


def _client(context: KexContext) -> Exchange:
    kem = MLKEM768()
    curve = X25519()
    clientInit = kem.publicValue + curve.publicValue
    yield Send(MSG_KEX_HYBRID_INIT, NS(clientInit))

    reader = Reader((yield Expect(MSG_KEX_HYBRID_REPLY)))
    hostKeyBlob = reader.string()
    serverReply = reader.string()
    signature = reader.string()
    reader.end()

    ciphertext, serverValue = _split(serverReply, MLKEM_CIPHERTEXT_LENGTH)
    try:
        secret = _combine(kem.decapsulate(ciphertext), curve.agree(serverValue))
    except AgreementError as error:
        raise KeyExchangeFailed(str(error)) from None
    exchanged = NS(clientInit) + NS(serverReply) + secret
    digest = exchangeHash(_HASH, context, hostKeyBlob, exchanged)
    return KexResult(secret, digest, hostKeyBlob, signature)


def _server(context: KexContext) -> Exchange:
    reader = Reader((yield Expect(MSG_KEX_HYBRID_INIT)))
    clientInit = reader.string()
    reader.end()

    clientKey, clientValue = _split(clientInit, MLKEM_PUBLIC_LENGTH)
    curve = X25519()
    try:
        kemSecret, ciphertext = encapsulate(clientKey)
        secret = _combine(kemSecret, curve.agree(clientValue))
    except AgreementError as error:
        raise KeyExchangeFailed(str(error)) from None
    serverReply = ciphertext + curve.publicValue
    exchanged = NS(clientInit) + NS(serverReply) + secret
    digest = exchangeHash(_HASH, context, context.hostKeyBlob, exchanged)
    signature = context.sign(digest)
    yield Send(MSG_KEX_HYBRID_REPLY, NS(context.hostKeyBlob) + NS(serverReply) + NS(signature))
    return KexResult(secret, digest, context.hostKeyBlob, signature)


def _split(value: bytes, kemLength: int) -> tuple[bytes, bytes]:
    """The ML-KEM and the X25519 part of what a side sends; each is checked where it is used."""
    return value[:kemLength], value[kemLength:]


def _combine(kemSecret: bytes, curveSecret: bytes) -> bytes:
    """The secret as it is hashed, a string."""
    return NS(hashlib.sha256(kemSecret + curveSecret).digest())


MLKEM768_X25519 = KexMethod(b"mlkem768x25519-sha256", _HASH, _client, _server)
