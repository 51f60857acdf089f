"""Keys under the names that Conch documents, and the files that private keys live in.

Rule: a private key file comes into being with mode 0600 and is never written over: not for the
shortest time can somebody else read it, and no link of somebody else leads the write elsewhere.

What keys are and do is said in `limpet.crypto.key`.
"""

from __future__ import annotations

import os
import stat
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from limpet.crypto.certificates import Certificate
from limpet.crypto.errors import (
    BadFingerPrintFormat,
    BadKeyError,
    BadSignatureAlgorithmError,
    CertificateRejected,
    EncryptedKeyError,
    PassphraseNormalizationError,
)
from limpet.crypto.fingerprints import FingerprintFormats
from limpet.crypto.key import Key
from limpet.crypto.material import CURVES, MIN_RSA_BITS

_curveTable = {b"ecdsa-sha2-" + name: curve.curve for name, curve in CURVES.items()}
"""Key type to curve, for Conch's own ckeygen."""

PRIVATE_MODE = 0o600
PUBLIC_MODE = 0o644


def createKeyFiles(
    key: Key,
    filename: str | os.PathLike[str],
    *,
    comment: bytes | str | None = None,
    passphrase: bytes | str | None = None,
    subtype: str | None = None,
) -> None:
    """Write a private key into a new file, and its public key beside it as `filename`.pub.

    Args:
        key: The private key.
        filename: Where; neither this file nor the public one may exist.
        comment: What stands beside the key in both files.
        passphrase: What the private key is encrypted with; None or empty means not at all.
        subtype: As for `Key.toString`.

    Raises:
        FileExistsError: One of the files exists; nothing was written.
        OSError: A file cannot be written; nothing is left behind.
        TypeError: `key` is a public key.
    """
    if key.isPublic():
        raise TypeError("a private key is needed here, this is a public one")
    path = os.fspath(filename)
    private = key.toString("OPENSSH", subtype=subtype, comment=comment, passphrase=passphrase)
    public = key.public().toString("OPENSSH", comment=comment) + b"\n"
    _createFile(path, private, PRIVATE_MODE)
    try:
        _createFile(path + ".pub", public, PUBLIC_MODE)
    except OSError:
        os.unlink(path)
        raise


def loadOrCreateKey(
    filename: str | os.PathLike[str], kind: str = "ed25519", sizeBits: int | None = None
) -> Key:
    """The private key in a file, which is made with a new key where it does not exist.

    Raises:
        BadKeyError: The file exists and holds no private key that we accept.
        EncryptedKeyError: The file exists and the key in it is encrypted.
        OSError: The file can be neither read nor made.
    """
    try:
        key = Key.fromFile(filename)
    except FileNotFoundError:
        key = Key.generate(kind, sizeBits)
        try:
            createKeyFiles(key, filename)
        except FileExistsError:
            # Somebody else made it in the meantime, and theirs stays; or the public file was there
            # alone, which a person has to look at.
            if not os.path.exists(filename):
                raise
            key = Key.fromFile(filename)
    if key.isPublic():
        raise BadKeyError("a public key where a private one is needed")
    return key


def _getPersistentRSAKey(location: Any, keySize: int = 4096) -> Key:
    """The RSA key in a file, made with its directory if it does not exist: what manholes use.

    Args:
        location: The file, a `FilePath`.
        keySize: The size of a new key, in bits; one that is too small to be accepted anywhere is
            made as large as it has to be.
    """
    directory = location.parent()
    if not directory.exists():
        directory.makedirs()
    return loadOrCreateKey(location.path, "rsa", max(keySize, MIN_RSA_BITS))


def isPrivateToOwner(filename: str | os.PathLike[str]) -> bool:
    """Whether nobody but its owner may read or write a file; what OpenSSH asks of private keys."""
    return not stat.S_IMODE(os.stat(filename).st_mode) & 0o077


def _createFile(path: str, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.unlink(path)
            raise


__all__ = [
    "BadFingerPrintFormat",
    "BadKeyError",
    "BadSignatureAlgorithmError",
    "Certificate",
    "CertificateRejected",
    "Ed25519PrivateKey",
    "Ed25519PublicKey",
    "EncryptedKeyError",
    "FingerprintFormats",
    "Key",
    "PassphraseNormalizationError",
    "createKeyFiles",
    "isPrivateToOwner",
    "loadOrCreateKey",
]
