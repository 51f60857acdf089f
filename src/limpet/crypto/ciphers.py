"""The table of ciphers, and the one place that puts a cipher and a MAC together."""

from __future__ import annotations

from limpet.crypto.sealing import Opener, Sealer


def makeSealer(cipher: bytes, mac: bytes, key: bytes, iv: bytes, macKey: bytes) -> Sealer:
    """The sealer of one direction. `mac` and `macKey` do not matter where the cipher is an AEAD.

    Raises:
        ValueError: an unknown name, a key of the wrong length, or encryption without integrity.
    """
    raise NotImplementedError


def makeOpener(cipher: bytes, mac: bytes, key: bytes, iv: bytes, macKey: bytes) -> Opener:
    """The opener of one direction; arguments and errors as for `makeSealer`."""
    raise NotImplementedError
