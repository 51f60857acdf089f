"""Keys of LSH: canonical S-expressions with named numbers; a public one in Base64 and braces.

    (11:private-key(9:rsa-pkcs1(1:n257:...)(1:e3:...) d p q a b c))
    {KDEwOnB1YmxpYy1rZXkoMTQ6cnNhLXBrY3MxLXNoYTEoMTpu...}

Rule: exactly the shape of a key is read; this is no reader of S-expressions in general.

draft-rivest-sexp section 4.1 (canonical form); LSH's own documents for the names.
"""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.asymmetric import dsa, rsa

from limpet.crypto import material
from limpet.crypto.errors import BadKeyError
from limpet.crypto.keyformats import armor
from limpet.crypto.material import KeyMaterial, PrivateKeyObject, PublicKeyObject
from limpet.wire.fields import MP, Reader

RSA_PRIVATE_NAMES = (b"rsa-pkcs1", b"rsa-pkcs1-md5", b"rsa-pkcs1-sha1", b"rsa-pkcs1-sha256")
RSA_PUBLIC_NAME = b"rsa-pkcs1-sha1"
DSA_NAME = b"dsa"

MAX_FIELDS = 16
"""Most numbers of one key (ours; RSA has eight)."""

MAX_ATOM_LENGTH = material.MAX_RSA_BITS // 8 + 1
"""Longest number, in bytes."""


class _Cursor:
    """Takes the parts of a canonical S-expression from the front of `data`."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, expected: bytes) -> bool:
        """Whether `expected` comes next; if so, move behind it."""
        if not self.data.startswith(expected, self.at):
            return False
        self.at += len(expected)
        return True

    def need(self, expected: bytes) -> None:
        """Move behind `expected`, which has to come next."""
        if not self.take(expected):
            raise BadKeyError("a damaged LSH key")

    def atom(self) -> bytes:
        """One atom: a decimal length, a colon and that many bytes."""
        colon = self.data.find(b":", self.at, self.at + 6)
        digits = self.data[self.at : colon] if colon > 0 else b""
        if not digits.isdigit() or int(digits) > MAX_ATOM_LENGTH:
            raise BadKeyError("a damaged LSH key")
        start, end = colon + 1, colon + 1 + int(digits)
        if end > len(self.data):
            raise BadKeyError("a damaged LSH key")
        self.at = end
        return self.data[start:end]


def _read(data: bytes, kind: bytes) -> tuple[bytes, dict[bytes, int]]:
    """The algorithm's name and the numbers of a key of `kind`."""
    cursor = _Cursor(data)
    cursor.need(b"(")
    if cursor.atom() != kind:
        raise BadKeyError(f"not an LSH {kind.decode('ascii')}")
    cursor.need(b"(")
    name = cursor.atom()
    numbers: dict[bytes, int] = {}
    while cursor.take(b"("):
        field = cursor.atom()
        if field in numbers or len(numbers) == MAX_FIELDS:
            raise BadKeyError("a damaged LSH key")
        numbers[field] = int.from_bytes(cursor.atom(), "big")
        cursor.need(b")")
    cursor.need(b"))")
    if data[cursor.at :].strip():
        raise BadKeyError("something after an LSH key")
    return name, numbers


def _pick(numbers: dict[bytes, int], names: str) -> list[int]:
    try:
        return [numbers[name.encode("ascii")] for name in names]
    except KeyError:
        raise BadKeyError("an LSH key without one of its numbers") from None


def decodePublic(data: bytes) -> KeyMaterial:
    """Read a public key. Raises BadKeyError where it is none that we accept."""
    data = data.strip()
    if not (data.startswith(b"{") and data.endswith(b"}")):
        raise BadKeyError("a damaged LSH key")
    name, numbers = _read(armor.decodeBase64(data[1:-1]), b"public-key")
    if name in RSA_PRIVATE_NAMES:
        n, e = _pick(numbers, "ne")
        return KeyMaterial(material.rsaPublic(n, e))
    if name == DSA_NAME:
        p, q, g, y = _pick(numbers, "pqgy")
        return KeyMaterial(material.dsaPublic(p, q, g, y))
    raise BadKeyError("an LSH key of a type that we do not know")


def decodePrivate(data: bytes) -> KeyMaterial:
    """Read a private key. Raises BadKeyError where it is none that we accept."""
    name, numbers = _read(data, b"private-key")
    if name in RSA_PRIVATE_NAMES:
        n, e, d, p, q = _pick(numbers, "nedpq")
        return KeyMaterial(material.rsaPrivate(n, e, d, p, q))
    if name == DSA_NAME:
        p, q, g, y, x = _pick(numbers, "pqgyx")
        return KeyMaterial(material.dsaPrivate(p, q, g, y, x))
    raise BadKeyError("an LSH key of a type that we do not know")


def _atom(value: bytes) -> bytes:
    return str(len(value)).encode("ascii") + b":" + value


def _write(kind: bytes, name: bytes, fields: list[tuple[bytes, int]]) -> bytes:
    def field(label: bytes, number: int) -> bytes:
        # The bytes of an mpint without its length: a clear sign bit, as LSH writes them.
        return b"(" + _atom(label) + _atom(Reader(MP(number)).string()) + b")"

    body = b"".join(field(label, number) for label, number in fields)
    return b"(" + _atom(kind) + b"(" + _atom(name) + body + b"))"


def encodePublic(public: PublicKeyObject) -> bytes:
    """A public key in LSH's form. Raises BadKeyError where it is neither RSA nor DSA."""
    if isinstance(public, rsa.RSAPublicKey):
        rsaNumbers = public.public_numbers()
        fields = [(b"n", rsaNumbers.n), (b"e", rsaNumbers.e)]
        text = _write(b"public-key", RSA_PUBLIC_NAME, fields)
    elif isinstance(public, dsa.DSAPublicKey):
        text = _write(b"public-key", DSA_NAME, _dsaFields(public))
    else:
        raise BadKeyError("LSH has only RSA and DSA keys")
    return b"{" + base64.b64encode(text) + b"}"


def encodePrivate(private: PrivateKeyObject) -> bytes:
    """A private key in LSH's form, not encrypted. Raises BadKeyError as `encodePublic` does."""
    if isinstance(private, rsa.RSAPrivateKey):
        n, e, d, larger, smaller = parts = material.rsaParts(private)
        fields = [
            (b"n", n),
            (b"e", e),
            (b"d", d),
            (b"p", larger),
            (b"q", smaller),
            (b"a", d % (larger - 1)),
            (b"b", d % (smaller - 1)),
            (b"c", parts.smallerInverse),
        ]
        return _write(b"private-key", RSA_PRIVATE_NAMES[0], fields)
    if isinstance(private, dsa.DSAPrivateKey):
        fields = [*_dsaFields(private), (b"x", private.private_numbers().x)]
        return _write(b"private-key", DSA_NAME, fields)
    raise BadKeyError("LSH has only RSA and DSA keys")


def _dsaFields(keyObject: dsa.DSAPublicKey | dsa.DSAPrivateKey) -> list[tuple[bytes, int]]:
    public = keyObject if isinstance(keyObject, dsa.DSAPublicKey) else keyObject.public_key()
    numbers = public.public_numbers()
    group = numbers.parameter_numbers
    return [(b"p", group.p), (b"q", group.q), (b"g", group.g), (b"y", numbers.y)]
