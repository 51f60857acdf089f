"""The private key form that Conch calls "agent v3": RSA and DSA numbers, each an mpint.

    ssh-rsa   mpint e, d, n, u, p, q      u is the inverse of p modulo q
    ssh-dss   mpint p, q, g, y, x

Rule: only for keys that were stored so; `privateblob` is what agents speak.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import dsa, rsa

from limpet.crypto import material
from limpet.crypto.errors import BadKeyError
from limpet.crypto.keyformats import publicblob
from limpet.crypto.material import KeyMaterial, PrivateKeyObject
from limpet.wire.errors import WireError
from limpet.wire.fields import MP, NS, Reader


def decode(data: bytes) -> KeyMaterial:
    """Read a private key.

    Raises:
        BadKeyError: No RSA or DSA key in this form, or one that we do not accept.
    """
    reader = Reader(data)
    try:
        keyType = reader.string(publicblob.MAX_TYPE_LENGTH)
        if keyType not in (publicblob.RSA, publicblob.DSA):
            name = publicblob.shown(keyType)
            raise BadKeyError(f"agent v3 has no keys of this type: {name}")
        numbers = []
        while reader.remaining:
            numbers.append(reader.mpint())
    except BadKeyError:
        raise
    except WireError as error:
        raise BadKeyError(f"a damaged private key: {error}") from None
    if keyType == publicblob.RSA and len(numbers) == 6:
        e, d, n, _, p, q = numbers
        return KeyMaterial(material.rsaPrivate(n, e, d, p, q))
    if keyType == publicblob.DSA and len(numbers) == 5:
        p, q, g, y, x = numbers
        return KeyMaterial(material.dsaPrivate(p, q, g, y, x))
    raise BadKeyError("a damaged private key: the wrong number of fields")


def encode(private: PrivateKeyObject) -> bytes:
    """A private key in this form. It is a secret.

    Raises:
        BadKeyError: The key is neither RSA nor DSA.
    """
    if isinstance(private, rsa.RSAPrivateKey):
        n, e, d, larger, smaller = parts = material.rsaParts(private)
        fields = (e, d, n, parts.smallerInverse, smaller, larger)
        return NS(publicblob.RSA) + b"".join(map(MP, fields))
    if isinstance(private, dsa.DSAPrivateKey):
        x = private.private_numbers().x
        return NS(publicblob.DSA) + publicblob.encodeFields(private) + MP(x)
    raise BadKeyError("agent v3 has only RSA and DSA keys")
