"""The private key as an agent takes it and as OpenSSH's key files hold it.

    ssh-rsa               mpint n, e, d, iqmp, p, q
    ssh-dss               mpint p, q, g, y, x
    ecdsa-sha2-nistp256   string curve, string point, mpint d
    ssh-ed25519           string public, string seed and public

and with a certificate, whose type then stands in front:

    ssh-rsa-cert-v01@openssh.com       string certificate, mpint d, iqmp, p, q
    ecdsa-sha2-…-cert-v01@openssh.com  string certificate, mpint d
    ssh-ed25519-cert-v01@openssh.com   string certificate, string public, string seed and public

Rule: the private half is checked against the public half, so a key never signs as another.

draft-ietf-sshm-ssh-agent section 3.2; OpenSSH's PROTOCOL.key section 3.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from limpet.crypto import material
from limpet.crypto.errors import BadKeyError
from limpet.crypto.keyformats import certificateblob, publicblob
from limpet.crypto.material import KeyMaterial, PrivateKeyObject
from limpet.wire.errors import WireError
from limpet.wire.fields import MP, NS, Reader


def decode(blob: bytes) -> KeyMaterial:
    """Read a private key blob that stands alone.

    Raises:
        BadKeyError: It is none, or a key that we do not accept.
    """
    reader = Reader(blob)
    try:
        found = decodeFields(reader)
        reader.end()
    except BadKeyError:
        raise
    except WireError as error:
        raise BadKeyError(f"a damaged private key: {error}") from None
    return found


def decodeFields(reader: Reader) -> KeyMaterial:
    """Read a private key, type name first, and leave the reader behind it.

    Raises:
        BadKeyError: An unknown type, or a key that we do not accept.
        WireError: The fields are not there.
    """
    keyType = reader.string(publicblob.MAX_TYPE_LENGTH)
    if keyType == publicblob.ED25519:
        return _readEd25519(reader)
    if keyType in publicblob.EC_KEY_TYPES:
        if reader.string() != publicblob.EC_KEY_TYPES[keyType]:
            raise BadKeyError("an ECDSA key whose type and curve differ")
        point, scalar = reader.string(), reader.mpint()
        return KeyMaterial(material.ecPrivate(publicblob.EC_KEY_TYPES[keyType], point, scalar))
    if keyType == publicblob.RSA:
        n, e, d, _, p, q = (reader.mpint() for _ in range(6))
        return KeyMaterial(material.rsaPrivate(n, e, d, p, q))
    if keyType == publicblob.DSA:
        p, q, g, y, x = (reader.mpint() for _ in range(5))
        return KeyMaterial(material.dsaPrivate(p, q, g, y, x))
    if keyType in (publicblob.SK_ED25519, publicblob.SK_ECDSA):
        raise BadKeyError(
            "the private half of this key is in a security key, which only an agent can use"
        )
    raise BadKeyError(f"a private key of a type that we do not know: {publicblob.shown(keyType)}")


def decodeCertified(reader: Reader) -> tuple[bytes, KeyMaterial]:
    """Read a private key that comes with its certificate, and leave the reader behind it.

    Returns:
        The certificate's blob, which is not verified, and the private key.

    Raises:
        BadKeyError: An unknown type, a key that we do not accept, or one that is not the
            certificate's.
        WireError: The fields are not there.
    """
    name = reader.string(publicblob.MAX_TYPE_LENGTH)
    certificate = reader.string()
    fields = certificateblob.decode(certificate)
    if fields.keyType != name:
        raise BadKeyError("a certificate of another type than the key that comes with it")
    public = fields.key.keyObject
    private: KeyMaterial
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        d, _, p, q = (reader.mpint() for _ in range(4))
        private = KeyMaterial(material.rsaPrivate(numbers.n, numbers.e, d, p, q))
    elif fields.key.application is not None:
        raise BadKeyError("the private half of this key is in a security key")
    elif isinstance(public, ec.EllipticCurvePublicKey):
        curve = material.curveOf(public).name
        private = KeyMaterial(material.ecPrivate(curve, material.ecPoint(public), reader.mpint()))
    else:
        private = _readEd25519(reader)
    if publicblob.encode(material.publicOf(private.keyObject)) != fields.keyBlob:
        raise BadKeyError("a certificate for another key than the one that comes with it")
    return certificate, private


def _readEd25519(reader: Reader) -> KeyMaterial:
    public, secret = reader.string(), reader.string()
    material.ed25519Public(public)
    seed, again = secret[: material.ED25519_KEY_SIZE], secret[material.ED25519_KEY_SIZE :]
    if again != public:
        raise BadKeyError("an Ed25519 private key whose two copies of the public key differ")
    return KeyMaterial(material.ed25519Private(public, seed))


def encode(private: PrivateKeyObject) -> bytes:
    """The private key blob of a key object. It is a secret."""
    name = NS(publicblob.keyType(private))
    if isinstance(private, rsa.RSAPrivateKey):
        rsaNumbers = private.private_numbers()
        public = rsaNumbers.public_numbers
        fields = (public.n, public.e, rsaNumbers.d, rsaNumbers.iqmp, rsaNumbers.p, rsaNumbers.q)
        return name + b"".join(map(MP, fields))
    if isinstance(private, dsa.DSAPrivateKey):
        dsaNumbers = private.private_numbers()
        return name + publicblob.encodeFields(private) + MP(dsaNumbers.x)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        scalar = private.private_numbers().private_value
        return name + publicblob.encodeFields(private) + MP(scalar)
    point = material.ed25519Point(private.public_key())
    return name + NS(point) + NS(material.ed25519Seed(private) + point)
