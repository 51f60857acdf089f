"""Key revocation lists in OpenSSH's binary form, as `ssh-keygen -k` makes them.

Rule: a list is understood as a whole or not at all. A section, an extension that is critical or a
length that is not understood is an error, never a list that revokes less than its author wrote.

    data ──▶ parseKrl ──▶ Krl.isRevoked(blob)

    "SSHKRL\\n\\0"  u32 1  u64 version  u64 date  u64 flags  string reserved  string comment
    byte section   string body            and so on until the end

    certificates   string authority (empty: every one)   string reserved   byte kind   string body …
                   serials one by one, a range, a bitmap; key ids
    explicit keys, SHA-1 and SHA-256 of keys: strings

OpenSSH's PROTOCOL.krl. A signature in the list is passed over, as OpenSSH does: who can write the
file can write another.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from limpet.crypto.keyformats import certificateblob, publicblob
from limpet.wire.errors import WireError
from limpet.wire.fields import Reader

MAGIC = b"SSHKRL\n\0"
"""How a list begins."""

FORMAT_VERSION = 1

MAX_LENGTH = 16 * 1024 * 1024
"""Longest list, in bytes (ours): two million serial numbers, or half a million fingerprints."""

CERTIFICATES = 1
EXPLICIT_KEYS = 2
SHA1_FINGERPRINTS = 3
SIGNATURE = 4
SHA256_FINGERPRINTS = 5
EXTENSION = 255

SERIALS = 0x20
SERIAL_RANGE = 0x21
SERIAL_BITMAP = 0x22
KEY_IDS = 0x23
CERTIFICATE_EXTENSION = 0x39

_MAX_SERIAL = 2**64 - 1


class KrlError(ValueError):
    """The bytes are no key revocation list, or one that is not understood; the message says why."""


class Bitmap(NamedTuple):
    """Serial numbers as the bits of one number.

    Attributes:
        offset: The serial number that the lowest bit stands for.
        bits: The number, the highest byte first.
    """

    offset: int
    bits: bytes

    def __contains__(self, serial: object) -> bool:
        if not isinstance(serial, int) or serial < self.offset:
            return False
        byte, bit = divmod(serial - self.offset, 8)
        return byte < len(self.bits) and bool(self.bits[-1 - byte] >> bit & 1)


class RevokedCertificates:
    """What is revoked of the certificates of one authority, or of all.

    Args:
        serials: Serial numbers, in any order.
        ranges: The first and the last of a range.
        bitmaps: Many of them, close together.
        keyIds: What the authority called them.
    """

    __slots__ = ("_bitmaps", "_firsts", "_keyIds", "_lasts", "_serials")

    def __init__(
        self,
        serials: Collection[int] = (),
        ranges: Collection[tuple[int, int]] = (),
        bitmaps: Collection[Bitmap] = (),
        keyIds: Collection[bytes] = (),
    ) -> None:
        # Kept as numbers of eight bytes: a set would take ten times the memory.
        self._serials = array("Q", sorted(serials))
        self._firsts = array("Q")
        self._lasts = array("Q")
        for first, last in sorted(ranges):
            if self._lasts and first <= self._lasts[-1]:
                self._lasts[-1] = max(last, self._lasts[-1])
            else:
                self._firsts.append(first)
                self._lasts.append(last)
        self._bitmaps = tuple(bitmaps)
        self._keyIds = frozenset(keyIds)

    def holds(self, serial: int, keyId: bytes) -> bool:
        """Whether a certificate of that number and id is revoked.

        The number 0 is that of an authority that does not count, and is never looked for.
        """
        if keyId in self._keyIds:
            return True
        if not 0 < serial <= _MAX_SERIAL:
            return False
        at = bisect_left(self._serials, serial)
        if at < len(self._serials) and self._serials[at] == serial:
            return True
        at = bisect_right(self._firsts, serial)
        if at and serial <= self._lasts[at - 1]:
            return True
        return any(serial in bitmap for bitmap in self._bitmaps)


@dataclass(frozen=True, slots=True)
class Krl:
    """One key revocation list.

    Attributes:
        version: A number that its author raises with every change.
        generated: When it was made, in seconds since 1970.
        comment: What its author says of it.
        keys: The plain blobs of keys that are revoked.
        sha1s: SHA-1 of such blobs.
        sha256s: SHA-256 of such blobs.
        certificates: The blob of an authority to what it revokes; b"" for every authority.
    """

    version: int = 0
    generated: int = 0
    comment: bytes = b""
    keys: frozenset[bytes] = frozenset()
    sha1s: frozenset[bytes] = frozenset()
    sha256s: frozenset[bytes] = frozenset()
    certificates: dict[bytes, RevokedCertificates] = field(default_factory=dict)

    def isRevoked(self, blob: bytes) -> bool:
        """Whether a key may not be used any more.

        A certificate is revoked by its number or id, by the key in it, and by the key that
        signed it.

        Args:
            blob: A public key or a certificate, as it is in messages.

        Raises:
            BadKeyError: It is a certificate, and damaged.
        """
        if not isCertificate(blob):
            return self._isKeyRevoked(blob)
        fields = certificateblob.decode(blob)
        if self._isKeyRevoked(fields.keyBlob) or self._isKeyRevoked(fields.signatureKeyBlob):
            return True
        return any(
            authority in self.certificates
            and self.certificates[authority].holds(fields.serial, fields.keyId)
            for authority in (fields.signatureKeyBlob, b"")
        )

    def _isKeyRevoked(self, blob: bytes) -> bool:
        return (
            blob in self.keys
            or hashlib.sha256(blob).digest() in self.sha256s
            or hashlib.sha1(blob, usedforsecurity=False).digest() in self.sha1s
        )


def isCertificate(blob: bytes) -> bool:
    """Whether a blob says of itself that it is a certificate."""
    try:
        name = Reader(blob).string(publicblob.MAX_TYPE_LENGTH)
    except WireError:
        return False
    return name.endswith(publicblob.CERTIFICATE_SUFFIX)


def parseKrl(data: bytes) -> Krl:
    """Read a key revocation list.

    Raises:
        KrlError: It is none, is damaged, or holds what is not understood.
    """
    if not data.startswith(MAGIC):
        raise KrlError("this is no key revocation list: it does not begin with SSHKRL")
    if len(data) > MAX_LENGTH:
        raise KrlError(f"a key revocation list of more than {MAX_LENGTH} bytes")
    try:
        return _parse(Reader(data, len(MAGIC)))
    except WireError as failure:
        raise KrlError(f"the key revocation list is damaged: {failure}") from None


def _parse(reader: Reader) -> Krl:
    formatVersion = reader.u32()
    if formatVersion != FORMAT_VERSION:
        raise KrlError(
            f"a key revocation list of format {formatVersion}; only {FORMAT_VERSION} is known"
        )
    version = reader.u64()
    generated = reader.u64()
    reader.u64()
    reader.string()
    comment = reader.string()
    keys: set[bytes] = set()
    sha1s: set[bytes] = set()
    sha256s: set[bytes] = set()
    certificates: dict[bytes, _Found] = {}
    while reader.remaining:
        kind = reader.byte()
        body = Reader(reader.string())
        if kind == CERTIFICATES:
            authority = body.string()
            body.string()
            found = certificates.setdefault(authority, _Found())
            while body.remaining:
                found.read(body.byte(), Reader(body.string()))
        elif kind == EXPLICIT_KEYS:
            keys.update(_strings(body))
        elif kind == SHA1_FINGERPRINTS:
            sha1s.update(_strings(body, hashlib.sha1(usedforsecurity=False).digest_size))
        elif kind == SHA256_FINGERPRINTS:
            sha256s.update(_strings(body, hashlib.sha256().digest_size))
        elif kind == SIGNATURE:
            # Of the key that signed, which was `body`; alone among sections it has a second part.
            reader.string()
        elif kind == EXTENSION:
            _extension(body)
        else:
            raise KrlError(f"a key revocation list with a section that is not known: {kind}")
    return Krl(
        version,
        generated,
        comment,
        frozenset(keys),
        frozenset(sha1s),
        frozenset(sha256s),
        {authority: found.made() for authority, found in certificates.items()},
    )


class _Found:
    """What has been read of one authority's certificates."""

    def __init__(self) -> None:
        self._serials = array("Q")
        self._ranges: list[tuple[int, int]] = []
        self._bitmaps: list[Bitmap] = []
        self._keyIds: list[bytes] = []
        self._readers: dict[int, Callable[[Reader], None]] = {
            SERIALS: self._readSerials,
            SERIAL_RANGE: self._readRange,
            SERIAL_BITMAP: self._readBitmap,
            KEY_IDS: self._readKeyIds,
            CERTIFICATE_EXTENSION: _extension,
        }

    def read(self, kind: int, body: Reader) -> None:
        """One subsection."""
        read = self._readers.get(kind)
        if read is None:
            raise KrlError(
                f"a key revocation list with a section on certificates that is not known: {kind}"
            )
        read(body)
        body.end()

    def made(self) -> RevokedCertificates:
        return RevokedCertificates(self._serials, self._ranges, self._bitmaps, self._keyIds)

    def _readSerials(self, body: Reader) -> None:
        while body.remaining:
            self._serials.append(_serial(body))

    def _readRange(self, body: Reader) -> None:
        first, last = _serial(body), _serial(body)
        if first > last:
            raise KrlError(f"a range of serial numbers that ends before it begins: {first}-{last}")
        self._ranges.append((first, last))

    def _readBitmap(self, body: Reader) -> None:
        offset = body.u64()
        number = body.string()
        if number[:1] >= b"\x80":
            raise KrlError("a bitmap of serial numbers that is a negative number")
        bits = number.lstrip(b"\0")
        highest = offset + len(bits) * 8 - (8 - bits[0].bit_length()) - 1 if bits else offset
        if highest > _MAX_SERIAL:
            raise KrlError("a bitmap of serial numbers that goes beyond 64 bits")
        if offset == 0 and bits and bits[-1] & 1:
            raise _zero()
        self._bitmaps.append(Bitmap(offset, bits))

    def _readKeyIds(self, body: Reader) -> None:
        self._keyIds.extend(_strings(body))


def _serial(body: Reader) -> int:
    serial = body.u64()
    if serial == 0:
        raise _zero()
    return serial


def _zero() -> KrlError:
    return KrlError(
        "the serial number 0 in a key revocation list; certificates without a number all have it"
    )


def _strings(body: Reader, length: int | None = None) -> Iterator[bytes]:
    """The strings that fill a section, each of `length` bytes where one is given."""
    while body.remaining:
        text = body.string()
        if length is not None and len(text) != length:
            raise KrlError(f"a fingerprint of {len(text)} bytes where {length} are needed")
        yield text


def _extension(body: Reader) -> None:
    """An extension, none of which is known: one that matters makes the list void."""
    name = body.string()
    isCritical = body.boolean()
    body.string()
    body.end()
    if isCritical:
        raise KrlError(
            "a key revocation list with a critical extension that is not known: "
            f"{publicblob.shown(name)}"
        )
