"""The table of ciphers, and the one place that puts a cipher and a MAC together.

RFC 4344 (CTR), RFC 4253 section 6.3 (CBC), RFC 5647 and OpenSSH's PROTOCOL section 1.6 (GCM),
OpenSSH's PROTOCOL.chacha20poly1305.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import (
    BlockCipherAlgorithm,
    Cipher,
    CipherAlgorithm,
    CipherContext,
    modes,
)
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from limpet.crypto.aead import ChaChaOpener, ChaChaSealer, GcmOpener, GcmSealer
from limpet.crypto.macs import MACS, Authenticator, MacSpec
from limpet.crypto.sealing import (
    EncryptAndMacOpener,
    EncryptAndMacSealer,
    EncryptThenMacOpener,
    EncryptThenMacSealer,
    Opener,
    PlainOpener,
    PlainSealer,
    Sealer,
)


@dataclass(frozen=True, slots=True)
class CipherSpec:
    """One cipher.

    Attributes:
        name: Its name in negotiation.
        keySize: Length of its key, in bytes.
        ivSize: Length of its initial vector, in bytes; 0 where it takes none.
        blockSize: What its packets are aligned to, in bytes.
        aead: It protects integrity too; the negotiated MAC does not matter.
        tagSize: Length of an AEAD's tag, in bytes; 0 for the others.
    """

    name: bytes
    keySize: int
    ivSize: int
    blockSize: int
    aead: bool = False
    tagSize: int = 0


CIPHERS: dict[bytes, CipherSpec] = {
    spec.name: spec
    for spec in (
        CipherSpec(b"aes128-gcm@openssh.com", 16, 12, 16, True, 16),
        CipherSpec(b"aes256-gcm@openssh.com", 32, 12, 16, True, 16),
        CipherSpec(b"chacha20-poly1305@openssh.com", 64, 0, 8, True, 16),
        CipherSpec(b"aes128-ctr", 16, 16, 16),
        CipherSpec(b"aes192-ctr", 24, 16, 16),
        CipherSpec(b"aes256-ctr", 32, 16, 16),
        # Only for peers that have nothing better; never offered unless asked for.
        CipherSpec(b"aes128-cbc", 16, 16, 16),
        CipherSpec(b"aes192-cbc", 24, 16, 16),
        CipherSpec(b"aes256-cbc", 32, 16, 16),
        CipherSpec(b"3des-cbc", 24, 8, 8),
        # What holds before the first NEWKEYS; negotiation never chooses it.
        CipherSpec(b"none", 0, 0, 8),
    )
}
"""Every cipher we have, by name."""

BLOCK_CIPHERS: dict[bytes, tuple[Callable[[bytes], BlockCipherAlgorithm], type[Any]]] = {
    b"aes128-ctr": (AES, modes.CTR),
    b"aes192-ctr": (AES, modes.CTR),
    b"aes256-ctr": (AES, modes.CTR),
    b"aes128-cbc": (AES, modes.CBC),
    b"aes192-cbc": (AES, modes.CBC),
    b"aes256-cbc": (AES, modes.CBC),
    b"3des-cbc": (TripleDES, modes.CBC),
}
"""Those of the ciphers that are a block cipher in a mode: its algorithm and the mode."""


def makeSealer(cipher: bytes, mac: bytes, key: bytes, iv: bytes, macKey: bytes) -> Sealer:
    """The sealer of one direction. `mac` and `macKey` do not matter where the cipher is an AEAD.

    Raises:
        ValueError: an unknown name, a key or an iv of the wrong length, or encryption without
            integrity.
    """
    spec = _cipherSpec(cipher, key, iv)
    if spec.aead:
        return ChaChaSealer(key) if spec.ivSize == 0 else GcmSealer(key, iv)
    macSpec = _macSpec(mac, macKey)
    _checkPair(spec, macSpec)
    if not macSpec.digestSize:
        return PlainSealer()
    context = _makeCipher(spec, key, iv).encryptor()
    kind = EncryptThenMacSealer if macSpec.etm else EncryptAndMacSealer
    return kind(context, spec.blockSize, Authenticator(macSpec, macKey))


def makeOpener(cipher: bytes, mac: bytes, key: bytes, iv: bytes, macKey: bytes) -> Opener:
    """The opener of one direction; arguments and errors as for `makeSealer`."""
    spec = _cipherSpec(cipher, key, iv)
    if spec.aead:
        return ChaChaOpener(key) if spec.ivSize == 0 else GcmOpener(key, iv)
    macSpec = _macSpec(mac, macKey)
    _checkPair(spec, macSpec)
    if not macSpec.digestSize:
        return PlainOpener()
    context = _makeCipher(spec, key, iv).decryptor()
    authenticator = Authenticator(macSpec, macKey)
    if macSpec.etm:
        return EncryptThenMacOpener(context, spec.blockSize, authenticator)
    chained = BLOCK_CIPHERS[cipher][1] is modes.CBC
    return EncryptAndMacOpener(context, spec.blockSize, chained, authenticator)


def makeBlockCipher(name: bytes, key: bytes, iv: bytes, *, encrypts: bool) -> CipherContext | None:
    """A block cipher by itself, without packets and their protection; None for `none`.

    Args:
        name: One of `BLOCK_CIPHERS`, or b"none".
        key: At least as many bytes as it takes; the first of them are used.
        iv: Likewise its initial vector.
        encrypts: Whether it encrypts or decrypts.

    Raises:
        ValueError: An unknown name, an AEAD, a key or an iv that is too short.
    """
    spec = CIPHERS.get(name)
    if spec is None or spec.aead:
        raise ValueError(f"no block cipher: {name!r}")
    if not spec.keySize:
        return None
    cipher = _makeCipher(
        _cipherSpec(name, key[: spec.keySize], iv[: spec.ivSize]),
        key[: spec.keySize],
        iv[: spec.ivSize],
    )
    return cipher.encryptor() if encrypts else cipher.decryptor()


def _cipherSpec(name: bytes, key: bytes, iv: bytes) -> CipherSpec:
    spec = CIPHERS.get(name)
    if spec is None:
        raise ValueError(f"no such cipher: {name!r}")
    if len(key) != spec.keySize or len(iv) != spec.ivSize:
        raise ValueError(
            f"{name!r} takes a key of {spec.keySize} bytes and an iv of {spec.ivSize}, "
            f"not {len(key)} and {len(iv)}"
        )
    return spec


def _macSpec(name: bytes, key: bytes) -> MacSpec:
    spec = MACS.get(name)
    if spec is None:
        raise ValueError(f"no such MAC: {name!r}")
    if len(key) != spec.keySize:
        raise ValueError(f"{name!r} takes a key of {spec.keySize} bytes, not {len(key)}")
    return spec


def _checkPair(cipher: CipherSpec, mac: MacSpec) -> None:
    # Encryption that nobody checks lets a man in the middle change what is sent.
    if (cipher.keySize == 0) != (mac.keySize == 0):
        raise ValueError(f"{cipher.name!r} with {mac.name!r} protects only half")


def _makeCipher(spec: CipherSpec, key: bytes, iv: bytes) -> Cipher[Any]:
    makeAlgorithm, makeMode = BLOCK_CIPHERS[spec.name]
    algorithm: CipherAlgorithm = makeAlgorithm(key)
    return Cipher(algorithm, makeMode(iv))
