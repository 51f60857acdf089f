"""Fingerprints of public keys: what people compare instead of keys.

Rule: a fingerprint is of the public key blob, never of a file or of a private key. SHA-256 is what
people are shown; MD5 is there for old records only, and says nothing about who made a key.

RFC 4255 (SHA-256 of the blob as such), RFC 4716 section 4 (MD5).
"""

from __future__ import annotations

import base64
import enum
import hashlib

from limpet.crypto.errors import BadFingerPrintFormat


class FingerprintFormats(enum.Enum):
    """The formats of a fingerprint, under the names that Conch documents."""

    MD5_HEX = "md5-hex"
    """32 hexadecimal digits in pairs with colons between."""

    SHA256_BASE64 = "sha256-base64"
    """Base64, padded, without a prefix."""


def fingerprint(blob: bytes, format: FingerprintFormats) -> str:
    """The fingerprint of a public key blob.

    Raises:
        BadFingerPrintFormat: `format` is not one of `FingerprintFormats`.
    """
    if format is FingerprintFormats.SHA256_BASE64:
        return base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii")
    if format is FingerprintFormats.MD5_HEX:
        digest = hashlib.md5(blob, usedforsecurity=False).digest()
        return digest.hex(":")
    raise BadFingerPrintFormat(f"no such format of a fingerprint: {format}")


_FIELD_WIDTH, _FIELD_HEIGHT = 17, 9
_VISITS = " .o+=*BOX@%&#/^"
"""What stands where the walk came by so many times; more are as the last."""


def randomArt(blob: bytes, title: str, hashName: str = "sha256") -> str:
    """A picture of a key, eleven lines, as OpenSSH draws it: two that look alike may be the same.

    A walk begins in the middle of the field and takes a diagonal step for each two bits of the
    hash, the lowest first; at a wall it slides along. The places count how often it came by.

    Args:
        blob: The public key.
        title: What stands in the upper edge, "ED25519 256"; of one too long only the first word.
        hashName: "sha256" or "md5".
    """
    digest = hashlib.new(hashName, blob, usedforsecurity=False).digest()
    field = [[0] * _FIELD_WIDTH for _ in range(_FIELD_HEIGHT)]
    x, y = _FIELD_WIDTH // 2, _FIELD_HEIGHT // 2
    start = (x, y)
    for byte in digest:
        for shift in (0, 2, 4, 6):
            step = byte >> shift
            x = min(max(x + (1 if step & 1 else -1), 0), _FIELD_WIDTH - 1)
            y = min(max(y + (1 if step & 2 else -1), 0), _FIELD_HEIGHT - 1)
            field[y][x] = min(field[y][x] + 1, len(_VISITS) - 1)
    rows = [[_VISITS[visits] for visits in row] for row in field]
    rows[start[1]][start[0]] = "S"
    rows[y][x] = "E"
    if len(title) + 2 > _FIELD_WIDTH:
        title = title.partition(" ")[0]
    edges = [_edge(title), _edge(hashName.upper())]
    return "\n".join((edges[0], *(f"|{''.join(row)}|" for row in rows), edges[1]))


def _edge(words: str) -> str:
    framed = f"[{words}]"
    left = (_FIELD_WIDTH - len(framed)) // 2
    return "+" + "-" * left + framed + "-" * (_FIELD_WIDTH - len(framed) - left) + "+"


def displayFingerprint(blob: bytes) -> str:
    """The fingerprint as OpenSSH's programs print it: `SHA256:` and Base64 without padding."""
    return "SHA256:" + fingerprint(blob, FingerprintFormats.SHA256_BASE64).rstrip("=")
