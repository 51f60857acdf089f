"""What loading and using a key raises, under the names that Conch documents.

    WireError
    └── BadKeyError                    the bytes are no key, or a key that we do not accept
        └── CertificateRejected        a certificate that is whole but may not be used here
    EncryptedKeyError                  the key is encrypted, and no passphrase was given
    BadSignatureAlgorithmError         the key cannot sign with that algorithm
    BadFingerPrintFormat               no such format of a fingerprint
    PassphraseNormalizationError       a passphrase that cannot be normalised

Rule: no message holds a passphrase or a part of a private key.
"""

from __future__ import annotations

from limpet.wire.errors import WireError


class BadKeyError(WireError):
    """The bytes are not a key, or are a key that is too weak or damaged to be used."""


class CertificateRejected(BadKeyError):
    """The certificate may not be used: by whom it is signed, for whom, when, or from where."""


class EncryptedKeyError(Exception):
    """The key is encrypted, and no passphrase was given; a wrong one is a BadKeyError."""


class BadSignatureAlgorithmError(Exception):
    """The key is of a type that cannot sign with the named algorithm."""


class BadFingerPrintFormat(Exception):
    """There is no such format of a fingerprint."""


class PassphraseNormalizationError(Exception):
    """The passphrase has characters without a stable normal form (NIST SP 800-63B, 5.1.1.2)."""
