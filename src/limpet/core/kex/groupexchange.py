"""Diffie-Hellman in a group that the server chooses for the size the client asks for.

    client                                             server
       │  MSG_KEX_DH_GEX_REQUEST  uint32 min, n, max     │
       │ ──────────────────────────────────────────────► │
       │ ◄──────────────────────  mpint p, g             │  MSG_KEX_DH_GEX_GROUP
       │  MSG_KEX_DH_GEX_INIT     mpint e                │
       │ ──────────────────────────────────────────────► │
       │  MSG_KEX_DH_GEX_REPLY    string K_S             │
       │                          mpint f                │
       │ ◄──────────────────────  string signature       │

Rule: the client takes no group that `checkGroup` objects to, and no number of a size that was not
agreed on is ever computed with. The request of one number (MSG_KEX_DH_GEX_REQUEST_OLD), which
RFC 4419 already calls old, is not answered. RFC 4419 sections 3 and 5, RFC 8270.
"""

from __future__ import annotations

from limpet.core.errors import KeyExchangeFailed
from limpet.core.kex.fixed import agree
from limpet.core.kex.steps import (
    Exchange,
    Expect,
    KexContext,
    KexMethod,
    KexResult,
    Send,
    exchangeHash,
)
from limpet.crypto.agreement import DiffieHellman
from limpet.crypto.groups import MAX_PRIME_BITS, MIN_PRIME_BITS, Group, checkGroup
from limpet.wire.fields import MP, NS, Reader, u32
from limpet.wire.numbers import (
    MSG_KEX_DH_GEX_GROUP,
    MSG_KEX_DH_GEX_INIT,
    MSG_KEX_DH_GEX_REPLY,
    MSG_KEX_DH_GEX_REQUEST,
)

PREFERRED_BITS = 3072
"""The size a client asks for: as strong as AES-128 (NIST SP 800-57 part 1, table 2)."""


def groupExchangeMethod(name: bytes, hashName: str) -> KexMethod:
    """The method `name`."""

    def client(context: KexContext) -> Exchange:
        request = u32(MIN_PRIME_BITS) + u32(PREFERRED_BITS) + u32(MAX_PRIME_BITS)
        yield Send(MSG_KEX_DH_GEX_REQUEST, request)

        reader = Reader((yield Expect(MSG_KEX_DH_GEX_GROUP)))
        prime = reader.mpint()
        generator = reader.mpint()
        reader.end()
        group = Group(generator, prime)
        objection = checkGroup(group)
        if objection is not None:
            raise KeyExchangeFailed(f"the server chose {objection}")

        pair = DiffieHellman(group)
        yield Send(MSG_KEX_DH_GEX_INIT, MP(pair.publicValue))

        reader = Reader((yield Expect(MSG_KEX_DH_GEX_REPLY)))
        hostKeyBlob = reader.string()
        serverValue = reader.mpint(group.sizeBits)
        signature = reader.string()
        reader.end()

        secret = agree(pair, serverValue)
        exchanged = _exchanged(request, group, pair.publicValue, serverValue, secret)
        digest = exchangeHash(hashName, context, hostKeyBlob, exchanged)
        return KexResult(secret, digest, hostKeyBlob, signature)

    def server(context: KexContext) -> Exchange:
        request: bytes = yield Expect(MSG_KEX_DH_GEX_REQUEST)
        reader = Reader(request)
        minimum, preferred, maximum = reader.u32(), reader.u32(), reader.u32()
        reader.end()
        group = _choose(context, minimum, preferred, maximum)
        yield Send(MSG_KEX_DH_GEX_GROUP, MP(group.prime) + MP(group.generator))

        reader = Reader((yield Expect(MSG_KEX_DH_GEX_INIT)))
        clientValue = reader.mpint(group.sizeBits)
        reader.end()

        pair = DiffieHellman(group)
        secret = agree(pair, clientValue)
        exchanged = _exchanged(request, group, clientValue, pair.publicValue, secret)
        digest = exchangeHash(hashName, context, context.hostKeyBlob, exchanged)
        signature = context.sign(digest)
        reply = NS(context.hostKeyBlob) + MP(pair.publicValue) + NS(signature)
        yield Send(MSG_KEX_DH_GEX_REPLY, reply)
        return KexResult(secret, digest, context.hostKeyBlob, signature)

    return KexMethod(name, hashName, client, server)


def _choose(context: KexContext, minimum: int, preferred: int, maximum: int) -> Group:
    """The group for a client's request, from within the sizes that both sides allow."""
    if not minimum <= preferred <= maximum:
        raise KeyExchangeFailed(
            f"group exchange asks for {minimum} to {maximum} bits, preferably {preferred}"
        )
    lowest = max(minimum, MIN_PRIME_BITS)
    highest = min(maximum, MAX_PRIME_BITS)
    if lowest > highest:
        raise KeyExchangeFailed(
            f"group exchange of {minimum} to {maximum} bits; we do "
            f"{MIN_PRIME_BITS} to {MAX_PRIME_BITS}"
        )
    generator, prime = context.choosePrime(lowest, min(max(preferred, lowest), highest), highest)
    group = Group(generator, prime)
    if not lowest <= group.sizeBits <= highest:
        raise KeyExchangeFailed(f"no group of {lowest} to {highest} bits")
    return group


def _exchanged(
    request: bytes, group: Group, clientValue: int, serverValue: int, secret: bytes
) -> bytes:
    """What the exchange hash covers: the request's three numbers, p, g, e, f and K."""
    return b"".join(
        (
            request,
            MP(group.prime),
            MP(group.generator),
            MP(clientValue),
            MP(serverValue),
            secret,
        )
    )
