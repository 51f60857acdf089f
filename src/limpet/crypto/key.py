"""`Key`: one public or private key, whatever form it came in.

Rule: a `Key` that exists was checked (`material`), does not change, and shows nothing private in
its repr or in an error. Reading and writing the forms is the work of `keyformats`.
"""

from __future__ import annotations

import os
import unicodedata
from typing import Any

from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from limpet.crypto import keyformats, keynumbers, material, signatures
from limpet.crypto.errors import BadKeyError, PassphraseNormalizationError
from limpet.crypto.fingerprints import FingerprintFormats, displayFingerprint, fingerprint
from limpet.crypto.keyformats import (
    agentv3,
    lsh,
    opensshprivate,
    pem,
    privateblob,
    publicblob,
    publictext,
)
from limpet.crypto.material import KeyMaterial, KeyObject, PrivateKeyObject, PublicKeyObject

MAX_KEY_FILE_SIZE = 1024 * 1024
"""Longest key, and longest key file, that is read, in bytes (OpenSSH's MAX_KEY_FILE_SIZE)."""

DEFAULT_RSA_BITS = 3072
"""Size of a generated RSA key, in bits (what ssh-keygen makes)."""

RSA_PUBLIC_EXPONENT = 65537


class Key:
    """A public key, or a private key with its public half.

    Two keys are equal when both are public or both are private, and their public halves are equal.

    Args:
        keyObject: A key object of `cryptography`.
        application: The application string that makes it a security key ("ssh:"), else None.
        comment: What the key's file says about it.

    Raises:
        BadKeyError: The key is too weak, or of a form that SSH has no name for.
        TypeError: Not a key object.
    """

    __slots__ = ("_application", "_blob", "_keyObject", "_public", "_sshType", "comment")

    def __init__(
        self, keyObject: KeyObject, *, application: bytes | None = None, comment: bytes = b""
    ) -> None:
        material.checkKeyObject(keyObject)
        self._fill(KeyMaterial(keyObject, application, comment))

    @classmethod
    def fromMaterial(cls, found: KeyMaterial) -> Key:
        """A key from material that has been checked by whoever made it."""
        key = cls.__new__(cls)
        key._fill(found)
        return key

    def _fill(self, found: KeyMaterial) -> None:
        self._keyObject: KeyObject = found.keyObject
        self._public: PublicKeyObject = material.publicOf(found.keyObject)
        self._application = found.application
        self.comment: bytes = found.comment
        self._sshType = publicblob.keyType(self._public, found.application)
        self._blob = publicblob.encode(self._public, found.application)

    # ── Where keys come from ──────────────────────────────────────────────────────────────────

    @classmethod
    def generate(cls, kind: str = "ed25519", sizeBits: int | None = None) -> Key:
        """Make a new private key.

        Args:
            kind: "ed25519", "ecdsa" or "rsa", in any case.
            sizeBits: For RSA 2048 to 16384 (3072 when None), for ECDSA 256, 384 or 521 (256 when
                None); for Ed25519 256 or None.

        Raises:
            ValueError: There is no such kind, or not in that size.
        """
        kind = kind.lower()
        if kind == "ed25519" and sizeBits in (None, 256):
            return cls(ed25519.Ed25519PrivateKey.generate())
        if kind == "ecdsa":
            curve = material.CURVES.get(b"nistp%d" % (sizeBits or 256))
            if curve is not None:
                return cls(ec.generate_private_key(curve.curve))
        if kind == "rsa":
            bits = sizeBits or DEFAULT_RSA_BITS
            if material.MIN_RSA_BITS <= bits <= material.MAX_RSA_BITS:
                return cls(rsa.generate_private_key(RSA_PUBLIC_EXPONENT, bits))
        size = "" if sizeBits is None else f" of {sizeBits} bits"
        raise ValueError(
            f"cannot make a {kind} key{size}: there are ed25519, ecdsa (256, 384 or 521 bits) and "
            f"rsa ({material.MIN_RSA_BITS} to {material.MAX_RSA_BITS} bits)"
        )

    # What Conch's applications make keys of numbers with; the names of the numbers are `data`'s.

    @classmethod
    def _fromRSAComponents(
        cls,
        n: int,
        e: int,
        d: int | None = None,
        p: int | None = None,
        q: int | None = None,
        u: int | None = None,
    ) -> Key:
        if d is None:
            return cls(material.rsaPublic(n, e))
        if p is None or q is None:
            p, q = rsa.rsa_recover_prime_factors(n, e, d)
        return cls(material.rsaPrivate(n, e, d, p, q))

    @classmethod
    def _fromDSAComponents(cls, y: int, p: int, q: int, g: int, x: int | None = None) -> Key:
        if x is None:
            return cls(material.dsaPublic(p, q, g, y))
        return cls(material.dsaPrivate(p, q, g, y, x))

    @classmethod
    def _fromECComponents(
        cls, x: int, y: int, curve: bytes, privateValue: int | None = None
    ) -> Key:
        size = material.CURVES[curve.rpartition(b"-")[2]].size
        point = b"\4" + x.to_bytes(size, "big") + y.to_bytes(size, "big")
        return cls._fromECEncodedPoint(point, curve, privateValue)

    @classmethod
    def _fromECEncodedPoint(
        cls, encodedPoint: bytes, curve: bytes, privateValue: int | None = None
    ) -> Key:
        name = curve.rpartition(b"-")[2]
        if privateValue is None:
            return cls(material.ecPublic(name, encodedPoint))
        return cls(material.ecPrivate(name, encodedPoint, privateValue))

    @classmethod
    def _fromEd25519Components(cls, a: bytes, k: bytes | None = None) -> Key:
        if k is None:
            return cls(material.ed25519Public(a))
        return cls(material.ed25519Private(a, k))

    @classmethod
    def fromFile(
        cls,
        filename: str | bytes | os.PathLike[str],
        type: str | None = None,
        passphrase: bytes | str | None = None,
    ) -> Key:
        """Load a key from a file; see `fromString`.

        Raises:
            OSError: The file cannot be read.
            BadKeyError: It is longer than `MAX_KEY_FILE_SIZE`, or as `fromString` says.
        """
        with open(filename, "rb") as file:
            data = file.read(MAX_KEY_FILE_SIZE + 1)
        return cls.fromString(data, type, passphrase)

    @classmethod
    def fromString(
        cls,
        data: bytes | str,
        type: str | None = None,
        passphrase: bytes | str | None = None,
    ) -> Key:
        """Load a key.

        Args:
            data: The key in any form that `keyformats` knows.
            type: The name of that form, in any case ("public_openssh", "private_openssh", "blob",
                "private_blob", "agentv3", "public_lsh", "private_lsh", ...); None means guess.
            passphrase: What the key is encrypted with; text is normalised (NFKC) and encoded as
                UTF-8. Empty is the same as None.

        Raises:
            BadKeyError: No key, a damaged or too weak one, a wrong passphrase, or a passphrase for
                a key that is not encrypted.
            EncryptedKeyError: The key is encrypted and there is no passphrase.
            PassphraseNormalizationError: The passphrase has no stable normal form.
        """
        if isinstance(data, str):
            try:
                data = data.encode("utf-8")
            except UnicodeEncodeError:
                raise BadKeyError("text with half a character is no key") from None
        if len(data) > MAX_KEY_FILE_SIZE:
            raise BadKeyError(f"longer than any key: more than {MAX_KEY_FILE_SIZE} bytes")
        secret = normalizePassphrase(passphrase)
        return cls.fromMaterial(keyformats.decode(data, type, secret or None))

    # ── What a key is ─────────────────────────────────────────────────────────────────────────

    def isPublic(self) -> bool:
        """Whether there is only the public half."""
        return self._keyObject is self._public

    def public(self) -> Key:
        """The public half; a public key is its own."""
        if self.isPublic():
            return self
        return Key.fromMaterial(KeyMaterial(self._public, self._application, self.comment))

    def type(self) -> str:
        """The family: "RSA", "DSA", "EC" or "Ed25519"."""
        if isinstance(self._public, rsa.RSAPublicKey):
            return "RSA"
        if isinstance(self._public, dsa.DSAPublicKey):
            return "DSA"
        if isinstance(self._public, ec.EllipticCurvePublicKey):
            return "EC"
        return "Ed25519"

    def sshType(self) -> bytes:
        """The key type that the blob begins with, b"ssh-ed25519"; no name of a signature."""
        return self._sshType

    def size(self) -> int:
        """The size of the key in bits."""
        if isinstance(self._public, ed25519.Ed25519PublicKey):
            return 256
        return self._public.key_size

    def isSecurityKey(self) -> bool:
        """Whether the private half lives in a security key (FIDO)."""
        return self._application is not None

    @property
    def application(self) -> bytes | None:
        """The application of a security key, b"ssh:"; None for every other key."""
        return self._application

    def supportedSignatureAlgorithms(self) -> list[bytes]:
        """The names of the algorithms that this key signs with, the preferred one first.

        SHA-1 with RSA is not among them; who wants it names it. A DSA key has nothing else.
        """
        names = signatures.algorithmsFor(self._sshType)
        modern = [name for name in names if not signatures.SIGNATURE_ALGORITHMS[name].legacy]
        return modern or names

    def fingerprint(self, format: FingerprintFormats = FingerprintFormats.MD5_HEX) -> str:
        """The fingerprint of the public half.

        MD5 is the default because Conch documents it; show people `SHA256_BASE64` or
        `displayFingerprint`.

        Raises:
            BadFingerPrintFormat: There is no such format.
        """
        return fingerprint(self._blob, format)

    def displayFingerprint(self) -> str:
        """The SHA-256 fingerprint as OpenSSH's programs print it: "SHA256:…"."""
        return displayFingerprint(self._blob)

    def blob(self) -> bytes:
        """The public key as it is in messages; see `keyformats.publicblob`."""
        return self._blob

    def privateBlob(self) -> bytes:
        """The private key as agents take it; see `keyformats.privateblob`. It is a secret.

        Raises:
            TypeError: This is a public key.
        """
        return privateblob.encode(self._private())

    def data(self) -> dict[str, Any]:
        """The numbers of the key by name; those of a private key are secrets.

        RSA: n, e, and d, p, q, u (u is the inverse of p modulo q); DSA: p, q, g, y, and x;
        EC: curve (the key type), x, y, and privateValue; Ed25519: a, and k (bytes).
        """
        return keynumbers.numbersOf(self._keyObject, self._sshType)

    def toString(
        self,
        type: str,
        extra: bytes | str | None = None,
        subtype: str | None = None,
        comment: bytes | str | None = None,
        passphrase: bytes | str | None = None,
    ) -> bytes:
        """The key in one of its forms.

        Args:
            type: "OPENSSH", "LSH" or "AGENTV3", in any case.
            extra: The older name of `comment` with a public key, of `passphrase` with a private.
            subtype: For OPENSSH. With a private key "v1" (the default), "PKCS8", or "PEM", whose
                encryption is weak and which Ed25519 does not have; with a public key None for one
                line, "RFC4716" or "PKCS8".
            comment: What stands beside the key; None means nothing (the key's own is `comment`).
            passphrase: What a private key is encrypted with; empty is the same as None.

        Raises:
            BadKeyError: There is no such form, or not for this key.
            TypeError: AGENTV3 of a public key.
            ValueError: No such subtype, or a comment or passphrase that the form has no room for.
            PassphraseNormalizationError: The passphrase has no stable normal form.
        """
        if extra is not None:
            if self.isPublic() and comment is None:
                comment = extra
            elif not self.isPublic() and passphrase is None:
                passphrase = extra
        beside = comment.encode("utf-8") if isinstance(comment, str) else comment or b""
        secret = normalizePassphrase(passphrase) or None
        if secret and self.isPublic():
            raise ValueError("a public key is not encrypted")
        form = type.upper()
        if form == "OPENSSH":
            if self.isPublic():
                return self._publicToOpenSSH(subtype, beside)
            return self._privateToOpenSSH(subtype, beside, secret)
        if form not in ("LSH", "AGENTV3"):
            raise BadKeyError(f"there is no form of a key with this name: {type}")
        if secret:
            raise ValueError(f"{form} keys cannot be encrypted; OPENSSH keys can")
        if form == "AGENTV3":
            return agentv3.encode(self._private())
        if self.isPublic():
            return lsh.encodePublic(self._public)
        return lsh.encodePrivate(self._private())

    def _publicToOpenSSH(self, subtype: str | None, comment: bytes) -> bytes:
        form = (subtype or "line").upper()
        if form == "LINE":
            return publictext.encodeLine(self._blob, comment)
        if form == "RFC4716":
            return publictext.encodeRFC4716(self._blob, comment)
        if form == "PKCS8" and not self.isSecurityKey():
            return pem.encodePublic(self._public)
        raise ValueError(f"there is no subtype {subtype} for this public key")

    def _privateToOpenSSH(
        self, subtype: str | None, comment: bytes, passphrase: bytes | None
    ) -> bytes:
        form = (subtype or "v1").upper()
        if form == "V1":
            return opensshprivate.encode(self._private(), comment, passphrase)
        if form in ("PEM", "PKCS8"):
            return pem.encodePrivate(self._private(), passphrase, pkcs8=form == "PKCS8")
        raise ValueError(f"there is no subtype {subtype} for a private key")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Key):
            return NotImplemented
        return self._blob == other._blob and self.isPublic() == other.isPublic()

    def __hash__(self) -> int:
        return hash((self._blob, self.isPublic()))

    def __repr__(self) -> str:
        half = "public" if self.isPublic() else "private"
        name = self._sshType.decode("ascii")
        return f"<{half} {name} key, {self.size()} bits, {self.displayFingerprint()}>"

    # ── Signatures ────────────────────────────────────────────────────────────────────────────

    def sign(self, data: bytes, signatureType: bytes | None = None) -> bytes:
        """Sign `data`.

        Args:
            data: What is signed.
            signatureType: The algorithm; None means the preferred one, with RSA rsa-sha2-512.

        Returns:
            The signature blob: string algorithm, string signature (RFC 4253 section 6.6).

        Raises:
            BadSignatureAlgorithmError: This key cannot sign with that algorithm.
            TypeError: This is a public key.
        """
        if self._keyObject is self._public:
            raise TypeError("a public key cannot sign")
        if signatureType is None:
            signatureType = signatures.defaultAlgorithm(self._sshType)
        return signatures.makeSignature(self._private(), signatureType, data)

    def verify(
        self,
        signature: bytes,
        data: bytes,
        signatureType: bytes | None = None,
        *,
        requireUserPresence: bool = True,
        requireUserVerification: bool = False,
    ) -> bool:
        """Whether `signature` is one over `data` by this key.

        Args:
            signature: The signature blob, as `sign` makes it.
            data: What was signed.
            signatureType: The only algorithm that counts. None accepts what the signature
                says, if it is of `DEFAULT_SIGNATURE_ALGORITHMS`: SHA-1 has to be named.
            requireUserPresence: Whether a security key has to have been touched; False is for
                keys that are marked no-touch-required.
            requireUserVerification: Whether a security key has to have checked its user.
        """
        if signatureType is None:
            signatureType = signatures.nameOf(signature)
            if signatureType not in signatures.DEFAULT_SIGNATURE_ALGORITHMS:
                return False
        return signatures.checkSignature(
            self._public,
            self._application,
            signatureType,
            signature,
            data,
            requireUserPresence=requireUserPresence,
            requireUserVerification=requireUserVerification,
        )

    def _private(self) -> PrivateKeyObject:
        if not isinstance(self._keyObject, material.PRIVATE_KEY_CLASSES):
            raise TypeError("a private key is needed here, this is a public one")
        return self._keyObject


def normalizePassphrase(passphrase: bytes | str | None) -> bytes | None:
    """The bytes of a passphrase: text in its stable NFKC form, as UTF-8.

    Raises:
        PassphraseNormalizationError: A character of it has no stable form (it is unassigned).
    """
    if not isinstance(passphrase, str):
        return passphrase
    if any(unicodedata.category(character) in ("Cn", "Cs") for character in passphrase):
        raise PassphraseNormalizationError("a passphrase with an unassigned character")
    return unicodedata.normalize("NFKC", passphrase).encode("utf-8")
