"""Keys under the names that Conch documents; a façade over `limpet.crypto`."""

from __future__ import annotations

from limpet.crypto.errors import (
    BadFingerPrintFormat,
    BadKeyError,
    BadSignatureAlgorithmError,
    EncryptedKeyError,
    PassphraseNormalizationError,
)
from limpet.crypto.fingerprints import FingerprintFormats
from limpet.crypto.key import Key

__all__ = [
    "BadFingerPrintFormat",
    "BadKeyError",
    "BadSignatureAlgorithmError",
    "EncryptedKeyError",
    "FingerprintFormats",
    "Key",
    "PassphraseNormalizationError",
]
