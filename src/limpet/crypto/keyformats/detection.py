"""Which form a key is in, and the decoder of that form.

Rule: the form is guessed from the first bytes, never by trying one decoder after another, so that
the error is that of the form that the key is in.
"""

from __future__ import annotations

from collections.abc import Callable

from limpet.crypto.errors import BadKeyError
from limpet.crypto.keyformats import pem, publicblob
from limpet.crypto.material import KeyMaterial

Decoder = Callable[[bytes, bytes | None], KeyMaterial]


def _blob(data: bytes, passphrase: bytes | None) -> KeyMaterial:
    _refusePassphrase(passphrase)
    return publicblob.decode(data)


def _refusePassphrase(passphrase: bytes | None) -> None:
    if passphrase:
        raise BadKeyError("a passphrase for a key that is not encrypted")


DECODERS: dict[str, Decoder] = {
    "blob": _blob,
    "private_openssh": pem.decodePrivate,
}


def guessType(data: bytes) -> str | None:
    """The name of the form that `data` seems to be in, or None."""
    if data.startswith(b"-----BEGIN "):
        return "private_openssh"
    if data.startswith(b"\x00\x00\x00"):
        return "blob"
    return None


def decode(data: bytes, type: str | None, passphrase: bytes | None) -> KeyMaterial:
    """Read a key in the form `type`, or in the form that it seems to be in."""
    name = guessType(data) if type is None else type.lower()
    if name is None:
        raise BadKeyError("not a key in any form that we know")
    decoder = DECODERS.get(name)
    if decoder is None:
        raise BadKeyError(f"no such form of a key: {name}")
    return decoder(data, passphrase)
