"""Files of revoked keys in either form: a key revocation list, or public keys, a line each.

Rule: a line that is no key is an error. It was meant to revoke one, and nobody would notice that it
does not.

ssh_config(5), RevokedHostKeys; sshd_config(5), RevokedKeys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from limpet.core import krl
from limpet.core.krl import parseKrl
from limpet.crypto.errors import BadKeyError
from limpet.crypto.keyformats import certificateblob, publicblob, publictext
from limpet.wire.errors import WireError
from limpet.wire.fields import Reader

MAX_FILE_LENGTH = krl.MAX_LENGTH
"""Longest file, in bytes (ours)."""

IN_PLACE_LENGTH = 64 * 1024
"""A file of at most so many bytes is read within 10 ms; a longer one is better read in a thread
(ours, measured)."""

_WEAK_KEY_NUMBERS = {publicblob.RSA: 2, publicblob.DSA: 4}
"""How many numbers a key consists of, of those kinds that may be too weak to be used at all."""


class RevokedKeysError(ValueError):
    """The file cannot be used; the message says why, and where in it."""


class Revocations(Protocol):
    """What says of a key whether it is revoked."""

    def isRevoked(self, blob: bytes) -> bool:
        """Whether a public key or certificate, as it is in messages, may not be used any more.

        Raises:
            BadKeyError: It is a certificate, and damaged.
        """


@dataclass(frozen=True, slots=True)
class RevokedKeyList:
    """Keys that are revoked, one by one.

    Attributes:
        keys: Their plain blobs.
    """

    keys: frozenset[bytes] = frozenset()

    def isRevoked(self, blob: bytes) -> bool:
        """Whether the key, the key in the certificate, or the one that signed it, is listed."""
        if not krl.isCertificate(blob):
            return blob in self.keys
        fields = certificateblob.decode(blob)
        return fields.keyBlob in self.keys or fields.signatureKeyBlob in self.keys


def parseRevokedKeys(data: bytes) -> Revocations:
    """Read a file of revoked keys, of whichever form.

    Raises:
        RevokedKeysError: It is neither, or cannot be read as a whole.
    """
    if data.startswith(krl.MAGIC):
        try:
            return parseKrl(data)
        except krl.KrlError as failure:
            raise RevokedKeysError(str(failure)) from None
    if len(data) > MAX_FILE_LENGTH:
        raise RevokedKeysError(f"more than {MAX_FILE_LENGTH} bytes")
    keys = set()
    for number, line in enumerate(data.split(b"\n"), 1):
        text = line.strip()
        if not text or text.startswith(b"#"):
            continue
        try:
            keys.add(_keyOf(text))
        except BadKeyError as failure:
            raise RevokedKeysError(f"line {number}: {failure}") from None
    return RevokedKeyList(frozenset(keys))


def _keyOf(line: bytes) -> bytes:
    """The plain blob of the key in a line; of a certificate, that of the key in it."""
    name, blob, _ = publictext.splitLine(line)
    if name.endswith(publicblob.CERTIFICATE_SUFFIX):
        return certificateblob.decode(blob).keyBlob
    numbers = _WEAK_KEY_NUMBERS.get(name)
    if numbers is None:
        publicblob.decode(blob)
        return blob
    # A key that is too short to be used may be listed for that very reason.
    reader = Reader(blob)
    try:
        reader.string()
        for _ in range(numbers):
            reader.mpint()
        reader.end()
    except WireError as failure:
        raise BadKeyError(f"a damaged public key: {failure}") from None
    return blob
