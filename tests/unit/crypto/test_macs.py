"""HMAC over sequence number and packet, against the standard library's."""

from __future__ import annotations

import hmac
import struct

import pytest

from limpet.crypto.macs import MACS, Authenticator

KEYED = [name for name in MACS if name != b"none"]


@pytest.mark.parametrize("name", KEYED)
def test_tagIsTheHmacOfSequenceAndPacket(name: bytes) -> None:
    spec = MACS[name]
    key = bytes(range(spec.keySize))
    authenticator = Authenticator(spec, key)
    for sequence in (0, 1, 2**32 - 1):
        expected = hmac.digest(key, struct.pack(">L", sequence) + b"one two", spec.hashName)
        assert authenticator.tag(sequence, b"one two") == expected
        assert authenticator.tag(sequence, b"one ", memoryview(b"two")) == expected
        assert len(expected) == spec.digestSize == authenticator.size


@pytest.mark.parametrize("name", KEYED)
def test_checkAcceptsTheTagAndNothingElse(name: bytes) -> None:
    spec = MACS[name]
    authenticator = Authenticator(spec, bytes(spec.keySize))
    tag = authenticator.tag(7, b"packet")
    assert authenticator.check(tag, 7, b"packet")
    assert authenticator.check(memoryview(tag), 7, b"pac", b"ket")
    assert not authenticator.check(tag, 8, b"packet")
    assert not authenticator.check(tag, 7, b"packeT")
    assert not authenticator.check(tag[:-1], 7, b"packet")
    assert not authenticator.check(b"", 7, b"packet")
    assert not authenticator.check(bytes(len(tag)), 7, b"packet")


def test_namesTellTheirKind() -> None:
    for name, spec in MACS.items():
        assert spec.name == name
        assert spec.etm == name.endswith(b"-etm@openssh.com")
        assert spec.keySize == spec.digestSize
