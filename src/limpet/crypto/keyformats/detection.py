"""Which form a key is in, and the decoder of that form.

Rule: the form is guessed from the first bytes, never by trying one decoder after another, so that
the error is that of the form that the key is in.

The names "public_openssh", "private_openssh", "public_lsh", "private_lsh", "agentv3", "blob" and
"private_blob" are those that Conch documents; "public_rfc4716", "public_pem" and "private_putty"
are ours.
"""

from __future__ import annotations

from collections.abc import Callable

from limpet.crypto.errors import BadKeyError
from limpet.crypto.keyformats import (
    agentv3,
    lsh,
    opensshprivate,
    pem,
    privateblob,
    publicblob,
    publictext,
    putty,
)
from limpet.crypto.material import KeyMaterial
from limpet.wire.errors import WireError
from limpet.wire.fields import Reader

Decoder = Callable[[bytes, bytes | None], KeyMaterial]


def _plain(decoder: Callable[[bytes], KeyMaterial]) -> Decoder:
    """A decoder of a form that is never encrypted."""

    def decode(data: bytes, passphrase: bytes | None) -> KeyMaterial:
        if passphrase:
            raise BadKeyError("a passphrase for a key that is not encrypted")
        return decoder(data)

    return decode


def _privateOpenSSH(data: bytes, passphrase: bytes | None) -> KeyMaterial:
    """What OpenSSH keeps private keys in: its own form, and PEM before release 7.8."""
    if data.lstrip().startswith(opensshprivate.BEGIN):
        return opensshprivate.decode(data, passphrase)
    return pem.decodePrivate(data, passphrase)


DECODERS: dict[str, Decoder] = {
    "public_openssh": _plain(publictext.decodeLine),
    "public_rfc4716": _plain(publictext.decodeRFC4716),
    "public_pem": _plain(pem.decodePublic),
    "private_openssh": _privateOpenSSH,
    "private_putty": putty.decode,
    "public_lsh": _plain(lsh.decodePublic),
    "private_lsh": _plain(lsh.decodePrivate),
    "agentv3": _plain(agentv3.decode),
    "blob": _plain(publicblob.decode),
    "private_blob": _plain(privateblob.decode),
}

_PUBLIC_PEM = (b"-----BEGIN PUBLIC KEY-----", b"-----BEGIN RSA PUBLIC KEY-----")
_LINE_STARTS = (b"ssh-", b"ecdsa-sha2-", b"sk-")

_PUBLIC_MPINTS = {publicblob.RSA: 2, publicblob.DSA: 4}


def guessType(data: bytes) -> str | None:
    """The name of the form that `data` seems to be in, or None.

    A private blob looks like a public one and is never guessed.
    """
    text = data.lstrip()
    if data.startswith(b"\x00\x00\x00"):
        return "agentv3" if _looksLikeAgentV3(data) else "blob"
    if text.startswith(_PUBLIC_PEM):
        return "public_pem"
    if text.startswith(b"-----BEGIN "):
        return "private_openssh"
    if text.startswith(putty.BEGIN):
        return "private_putty"
    if text.startswith(publictext.RFC4716_BEGIN):
        return "public_rfc4716"
    if text.startswith(_LINE_STARTS):
        return "public_openssh"
    if text.startswith(b"{"):
        return "public_lsh"
    if text.startswith(b"("):
        return "private_lsh"
    return None


def _looksLikeAgentV3(data: bytes) -> bool:
    """Whether there are more numbers than a public key of that type has."""
    reader = Reader(data)
    try:
        publicCount = _PUBLIC_MPINTS.get(reader.string(publicblob.MAX_TYPE_LENGTH))
        if publicCount is None:
            return False
        for _ in range(publicCount + 1):
            reader.string()
    except WireError:
        return False
    return True


def decode(data: bytes, type: str | None, passphrase: bytes | None) -> KeyMaterial:
    """Read a key in the form `type`, or in the form that it seems to be in.

    Raises:
        BadKeyError: No such form, or as its decoder says.
        EncryptedKeyError: The key is encrypted and there is no passphrase.
    """
    name = guessType(data) if type is None else type.lower()
    if name is None:
        raise BadKeyError("not a key in any form that we know")
    decoder = DECODERS.get(name)
    if decoder is None:
        raise BadKeyError(f"there is no form of a key with this name: {name}")
    return decoder(data, passphrase)
