"""Lists of keys whose private half is known to others, in the form that badkeys publishes.

Rule: what a list holds is a key's number, not its form: one that was published for TLS counts for
SSH, too.

    15 bytes   the beginning of the SHA-256 of the number
    1 byte     where it comes from
               and so on; records in order

The number is an RSA key's modulus, an ECDSA key's x, a DSA key's y, or all of an Ed25519 key, in as
many bytes as it needs. Such lists have the keys that Debian's OpenSSL made from 2006 to 2008
(CVE-2008-0166), those built into devices and packages, and those in the test data of programs
(https://badkeys.info, `badkeys --update-bl`).
"""

from __future__ import annotations

import hashlib

from limpet.core.krl import isCertificate
from limpet.crypto.errors import BadKeyError
from limpet.crypto.keyformats import certificateblob, publicblob
from limpet.wire.errors import WireError
from limpet.wire.fields import Reader

RECORD = 16
"""Length of a record, in bytes."""

DIGEST = 15
"""How much of it is of the hash."""

MAX_LENGTH = 256 * 1024 * 1024
"""Longest list, in bytes (ours); that of 2026 has a tenth of it."""

SAMPLES = 4096
"""At how many places the order of the records is looked at: a list that is no list is noticed, and
millions of records are not compared."""


class BlocklistError(ValueError):
    """The bytes are no such list; the message says why."""


class KeyBlocklist:
    """One list.

    Args:
        data: Its bytes.

    Raises:
        BlocklistError: It is none.
    """

    def __init__(self, data: bytes) -> None:
        if not data or len(data) % RECORD:
            raise BlocklistError(f"not a list of keys: not records of {RECORD} bytes")
        if len(data) > MAX_LENGTH:
            raise BlocklistError(f"more than {MAX_LENGTH} bytes")
        self._data = data
        count = len(data) // RECORD
        step = max(1, count // SAMPLES)
        samples = [self._digest(index) for index in range(0, count, step)]
        if any(later < earlier for earlier, later in zip(samples, samples[1:], strict=False)):
            raise BlocklistError("not a list of keys: its records are not in order")

    def __len__(self) -> int:
        return len(self._data) // RECORD

    def _digest(self, index: int) -> bytes:
        return self._data[index * RECORD : index * RECORD + DIGEST]

    def isRevoked(self, blob: bytes) -> bool:
        """Whether the key, the key in the certificate, or the one that signed it, is listed.

        Raises:
            BadKeyError: The blob is damaged, or of a type that is not known.
        """
        if not isCertificate(blob):
            return self._holds(numberOf(blob))
        fields = certificateblob.decode(blob)
        return any(self._holds(numberOf(key)) for key in (fields.keyBlob, fields.signatureKeyBlob))

    def _holds(self, number: bytes) -> bool:
        wanted = hashlib.sha256(number).digest()[:DIGEST]
        lowest, highest = 0, len(self)
        while lowest < highest:
            middle = (lowest + highest) // 2
            if self._digest(middle) < wanted:
                lowest = middle + 1
            else:
                highest = middle
        return lowest < len(self) and self._digest(lowest) == wanted


def numberOf(blob: bytes) -> bytes:
    """The number that a list has the hash of, the highest byte first and no zeros before it.

    Raises:
        BadKeyError: The blob is damaged, or of a type that is not known.
    """
    try:
        reader = Reader(blob)
        kind = reader.string(publicblob.MAX_TYPE_LENGTH)
        if kind == publicblob.RSA:
            reader.string()
            number = reader.string()
        elif kind == publicblob.DSA:
            for _ in range(3):
                reader.string()
            number = reader.string()
        elif kind in (publicblob.ED25519, publicblob.SK_ED25519):
            number = reader.string()
        elif kind in publicblob.EC_KEY_TYPES or kind == publicblob.SK_ECDSA:
            reader.string()
            point = reader.string()
            number = point[1 : 1 + len(point) // 2]
        else:
            raise BadKeyError(f"a key of a type that we do not know: {publicblob.shown(kind)}")
    except BadKeyError:
        raise
    except WireError as failure:
        raise BadKeyError(f"a damaged public key: {failure}") from None
    return number.lstrip(b"\0")
