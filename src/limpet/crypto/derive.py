"""Keys from the result of a key exchange: RFC 4253 section 7.2.

Rule: the shared secret comes in the very encoding in which the exchange hash covered it, an mpint
for most methods and a string for the hybrid ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

HASHES: dict[str, Callable[..., Any]] = {
    "sha1": hashlib.sha1,
    "sha256": hashlib.sha256,
    "sha384": hashlib.sha384,
    "sha512": hashlib.sha512,
}
"""The hash functions that key exchange methods name; SHA-1 serves the legacy methods only."""

IV_CLIENT_TO_SERVER = b"A"
IV_SERVER_TO_CLIENT = b"B"
KEY_CLIENT_TO_SERVER = b"C"
KEY_SERVER_TO_CLIENT = b"D"
MAC_KEY_CLIENT_TO_SERVER = b"E"
MAC_KEY_SERVER_TO_CLIENT = b"F"


def deriveKey(
    hashName: str,
    sharedSecret: bytes,
    exchangeHash: bytes,
    letter: bytes,
    sessionId: bytes,
    length: int,
) -> bytes:
    """One key of the six, `length` bytes of it.

    Args:
        hashName: The hash of the key exchange method, a key of `HASHES`.
        sharedSecret: K as it was hashed: with its length, and as an mpint where it is one.
        exchangeHash: H of this exchange.
        letter: Which of the keys, "A" to "F".
        sessionId: H of the first exchange of the connection.
        length: How many bytes are wanted; 0 gives none.
    """
    base = HASHES[hashName](sharedSecret)
    base.update(exchangeHash)
    first = base.copy()
    first.update(letter + sessionId)
    stream: bytes = first.digest()
    while len(stream) < length:
        following = base.copy()
        following.update(stream)
        stream += following.digest()
    return stream[:length]
