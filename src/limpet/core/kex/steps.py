"""What a key exchange method is: a generator that says what to send and what to wait for.

Rule: a method yields `Send` (and gets None back) or `Expect` (and gets back the body of that one
message), and returns a `KexResult`. It has no state outside its frame; to give an exchange up,
close the generator.

    transport                              method
       │  next()                              │
       │ ◄──────────────── Expect(30)         │
       │  send(body of 30)                    │
       │ ────────────────►                    │  agree, hash, sign
       │ ◄──────────────── Send(31, body)     │
       │  next()                              │
       │ ◄──────────────── return KexResult   │

RFC 4253 sections 7 and 8.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

from limpet.core.errors import KeyExchangeFailed
from limpet.crypto.derive import HASHES
from limpet.wire.fields import NS


@dataclass(frozen=True, slots=True)
class Send:
    """Send this message now; `payload` is what follows the message number."""

    messageType: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Expect:
    """Go on when this message has come; any other kex message is a violation."""

    messageType: int


def _cannotSign(exchangeHash: bytes) -> bytes:
    raise KeyExchangeFailed("no host key to sign with")


def _noGroup(minimum: int, preferred: int, maximum: int) -> tuple[int, int]:
    raise KeyExchangeFailed("no groups for group exchange")


@dataclass(frozen=True, slots=True)
class KexContext:
    """What a method needs to know of the connection.

    Attributes:
        clientVersion: V_C, the client's identification string without its line end.
        serverVersion: V_S, the server's.
        clientKexInit: I_C, the client's MSG_KEXINIT as it was on the wire, its number included.
        serverKexInit: I_S, the server's.
        hostKeyBlob: K_S, the public host key; on the server only.
        sign: From the exchange hash to the host key's signature blob; on the server only.
        choosePrime: From the minimum, preferred and maximum size in bits to generator and prime,
            for group exchange on the server; raises KeyExchangeFailed where no group fits.
    """

    clientVersion: bytes
    serverVersion: bytes
    clientKexInit: bytes
    serverKexInit: bytes
    hostKeyBlob: bytes = b""
    sign: Callable[[bytes], bytes] = dataclasses.field(default=_cannotSign, repr=False)
    choosePrime: Callable[[int, int, int], tuple[int, int]] = dataclasses.field(
        default=_noGroup, repr=False
    )


@dataclass(frozen=True, slots=True)
class KexResult:
    """What an exchange has come to.

    Attributes:
        sharedSecret: K in the encoding in which it was hashed, for `deriveKey`.
        exchangeHash: H; of the first exchange it is also the session identifier.
        hostKeyBlob: K_S as the server sent it.
        signature: The server's signature over H. A client has to verify the host key and this
            before it sends anything else, NEWKEYS included.
    """

    sharedSecret: bytes = dataclasses.field(repr=False)
    exchangeHash: bytes
    hostKeyBlob: bytes
    signature: bytes


Exchange: TypeAlias = Generator[Send | Expect, Any, KexResult]
"""One exchange under way."""


@dataclass(frozen=True, slots=True)
class KexMethod:
    """A key exchange method, both its sides, and the hash that also derives the keys."""

    name: bytes
    hashName: str
    client: Callable[[KexContext], Exchange]
    server: Callable[[KexContext], Exchange]


def exchangeHash(hashName: str, context: KexContext, hostKeyBlob: bytes, exchanged: bytes) -> bytes:
    """H: the hash of all that both sides know when the exchange ends, RFC 4253 section 8.

    Args:
        hashName: A key of `HASHES`.
        context: The connection.
        hostKeyBlob: K_S.
        exchanged: The method's own values in their encodings and order; the secret comes last.
    """
    digest: bytes = HASHES[hashName](
        b"".join(
            (
                NS(context.clientVersion),
                NS(context.serverVersion),
                NS(context.clientKexInit),
                NS(context.serverKexInit),
                NS(hostKeyBlob),
                exchanged,
            )
        )
    ).digest()
    return digest
