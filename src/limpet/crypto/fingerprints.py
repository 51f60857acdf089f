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


def displayFingerprint(blob: bytes) -> str:
    """The fingerprint as OpenSSH's programs print it: `SHA256:` and Base64 without padding."""
    return "SHA256:" + fingerprint(blob, FingerprintFormats.SHA256_BASE64).rstrip("=")
