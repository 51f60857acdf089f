"""The certificate as it is in messages (OpenSSH's PROTOCOL.certkeys, version 01).

    string   type            ssh-ed25519-cert-v01@openssh.com and so on
    string   nonce
    ...      the fields of the certified key, as in its plain blob
    uint64   serial
    uint32   kind            1 user, 2 host
    string   key id
    string   principals      strings, one after the other
    uint64   valid after     seconds since 1970
    uint64   valid before    exclusive; all ones: for ever
    string   critical options   name, string value; sorted, each once
    string   extensions         likewise; user certificates only
    string   reserved
    string   signature key   a plain public key, never a certificate
    string   signature       over everything before it

Rule: this module reads the form; whether a certificate may be used is said in `certificates`.
"""

from __future__ import annotations

from typing import NamedTuple

from limpet.crypto.errors import BadKeyError
from limpet.crypto.keyformats import publicblob
from limpet.crypto.keyformats.publicblob import CERTIFICATE_SUFFIX
from limpet.crypto.material import KeyMaterial
from limpet.wire.errors import WireError
from limpet.wire.fields import Reader

MAX_BLOB_LENGTH = 32768
"""Longest certificate, in bytes (ours): room for two RSA-16384 keys and 256 long principals."""

MAX_PRINCIPALS = 256
"""Most principals of one certificate (OpenSSH's SSHKEY_CERT_MAX_PRINCIPALS)."""

MAX_OPTIONS = 64
"""Most critical options, and most extensions, of one certificate (ours; four and five exist)."""

USER = 1
HOST = 2


class CertificateFields(NamedTuple):
    """What a certificate holds; its signature has not been looked at.

    Attributes:
        keyType: The certificate's type name.
        key: The certified key.
        keyBlob: The plain blob of the certified key.
        serial: Its number, 0 where the authority does not count.
        kind: USER or HOST.
        keyId: What the authority calls it, for logs.
        principals: The user or host names that it is for.
        validAfter: First second of its validity, since 1970.
        validBefore: First second after its validity, since 1970.
        criticalOptions: Name to raw value; one that is not understood makes it void.
        extensions: Name to raw value; one that is not understood means nothing.
        signatureKeyBlob: The plain public key of the authority.
        signature: The authority's signature blob.
        signedData: What that signature is over.
    """

    keyType: bytes
    key: KeyMaterial
    keyBlob: bytes
    serial: int
    kind: int
    keyId: bytes
    principals: tuple[bytes, ...]
    validAfter: int
    validBefore: int
    criticalOptions: dict[bytes, bytes]
    extensions: dict[bytes, bytes]
    signatureKeyBlob: bytes
    signature: bytes
    signedData: bytes


def certificateType(keyType: bytes) -> bytes:
    """The type name of certificates for keys of `keyType`."""
    return keyType.removesuffix(b"@openssh.com") + CERTIFICATE_SUFFIX


CERTIFICATE_TYPES: dict[bytes, bytes] = {
    certificateType(keyType): keyType for keyType in sorted(publicblob.KEY_TYPES - {publicblob.DSA})
}
"""The type name of each certificate to the type of the key in it. There are none for DSA."""


def decode(blob: bytes) -> CertificateFields:
    """Read a certificate.

    Raises:
        BadKeyError: It is none, is damaged, or holds a key that we do not accept.
    """
    if len(blob) > MAX_BLOB_LENGTH:
        raise BadKeyError(f"a certificate of {len(blob)} bytes")
    try:
        return _decode(blob)
    except BadKeyError:
        raise
    except WireError as error:
        raise BadKeyError(f"a damaged certificate: {error}") from None


def _decode(blob: bytes) -> CertificateFields:
    reader = Reader(blob)
    name = reader.string(publicblob.MAX_TYPE_LENGTH)
    keyType = CERTIFICATE_TYPES.get(name)
    if keyType is None:
        raise BadKeyError(f"not a certificate of a type that we know: {publicblob.shown(name)}")
    reader.string()
    key = publicblob.decodeFields(keyType, reader)
    serial = reader.u64()
    kind = reader.u32()
    keyId = reader.string()
    principals = _principals(reader.string())
    validAfter = reader.u64()
    validBefore = reader.u64()
    criticalOptions = _options(reader.string())
    extensions = _options(reader.string())
    reader.string()
    signatureKeyBlob = reader.string()
    signedData = blob[: reader.offset]
    signature = reader.string()
    reader.end()
    if kind not in (USER, HOST):
        raise BadKeyError(f"a certificate of kind {kind}, neither for a user nor for a host")
    # Looked at before anything reads the authority's key: a certificate is never an authority,
    # however deep it is nested.
    authorityType = Reader(signatureKeyBlob).string(publicblob.MAX_TYPE_LENGTH)
    if authorityType.endswith(CERTIFICATE_SUFFIX):
        raise BadKeyError("a certificate that is signed by a certificate")
    return CertificateFields(
        keyType=name,
        key=key,
        keyBlob=publicblob.encode(key.keyObject, key.application),
        serial=serial,
        kind=kind,
        keyId=keyId,
        principals=principals,
        validAfter=validAfter,
        validBefore=validBefore,
        criticalOptions=criticalOptions,
        extensions=extensions,
        signatureKeyBlob=signatureKeyBlob,
        signature=signature,
        signedData=signedData,
    )


def _principals(packed: bytes) -> tuple[bytes, ...]:
    reader = Reader(packed)
    principals: list[bytes] = []
    while reader.remaining:
        if len(principals) == MAX_PRINCIPALS:
            raise BadKeyError(f"a certificate with more than {MAX_PRINCIPALS} principals")
        principals.append(reader.string())
    return tuple(principals)


def _options(packed: bytes) -> dict[bytes, bytes]:
    reader = Reader(packed)
    options: dict[bytes, bytes] = {}
    previous: bytes | None = None
    while reader.remaining:
        name = reader.string(publicblob.MAX_TYPE_LENGTH)
        if previous is not None and name <= previous:
            raise BadKeyError("a certificate whose options are not sorted, or come twice")
        if len(options) == MAX_OPTIONS:
            raise BadKeyError(f"a certificate with more than {MAX_OPTIONS} options")
        options[name] = reader.string()
        previous = name
    return options
