"""Lists of keys whose private half is known to others."""

from __future__ import annotations

import hashlib

import pytest

from limpet.core.keyblocklist import DIGEST, RECORD, BlocklistError, KeyBlocklist, numberOf
from limpet.crypto.errors import BadKeyError
from limpet.crypto.key import Key
from limpet.wire.fields import MP, NS
from tests.keymaking import allKeys, makeCertificate, makeKey, securityKey

KEYS = allKeys()


def listOf(*keys: Key, others: int = 100) -> bytes:
    """A list of these keys, and of some numbers that are nobody's."""
    numbers = [numberOf(key.blob()) for key in keys]
    numbers += [b"%d" % number for number in range(others)]
    hashed = sorted(hashlib.sha256(number).digest()[:DIGEST] for number in numbers)
    return b"".join(digest + b"\x07" for digest in hashed)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.type() + str(key.size()))
def test_D13_a_listed_key_is_found_and_no_other(key: Key) -> None:
    others = [other for other in KEYS if other is not key]
    assert KeyBlocklist(listOf(key)).isRevoked(key.blob())
    assert not KeyBlocklist(listOf(*others)).isRevoked(key.blob())


@pytest.mark.parametrize("count", range(12))
def test_every_place_in_a_list_is_found(count: int) -> None:
    keys = [makeKey(number=number) for number in range(count)]
    found = KeyBlocklist(listOf(*keys, others=1))
    assert all(found.isRevoked(key.blob()) for key in keys)
    assert not found.isRevoked(makeKey(number=100).blob())


def test_D13_a_listed_key_in_a_certificate_and_a_listed_authority() -> None:
    subject, authority = makeKey(), makeKey(number=1)
    certificate = makeCertificate(subject, authority)
    assert KeyBlocklist(listOf(subject)).isRevoked(certificate)
    assert KeyBlocklist(listOf(authority)).isRevoked(certificate)
    assert not KeyBlocklist(listOf(makeKey(number=2))).isRevoked(certificate)


def test_the_numbers_are_those_that_badkeys_hashes() -> None:
    """Of RSA the modulus, of ECDSA x, of Ed25519 all of it, each without leading zeros."""
    rsa, ec, ed = makeKey("rsa", 2048), makeKey("ecdsa", 256), makeKey()
    assert int.from_bytes(numberOf(rsa.blob()), "big") == rsa.data()["n"]
    assert int.from_bytes(numberOf(ec.blob()), "big") == ec.data()["x"]
    assert numberOf(ed.blob()) == ed.blob()[-32:].lstrip(b"\0")
    assert numberOf(securityKey(ed).blob()) == numberOf(ed.blob())
    assert numberOf(securityKey(ec).blob()) == numberOf(ec.blob())
    assert numberOf(NS(b"ssh-dss") + MP(5) + MP(6) + MP(7) + MP(0x80)) == b"\x80"
    assert numberOf(NS(b"ssh-ed25519") + NS(b"\0\0" + b"x" * 30)) == b"x" * 30


@pytest.mark.parametrize("blob", [b"", NS(b"ssh-rsa"), NS(b"ssh-ed25519"), NS(b"other") + NS(b"x")])
def test_what_is_no_key(blob: bytes) -> None:
    with pytest.raises(BadKeyError):
        numberOf(blob)


def test_what_is_no_list() -> None:
    for data in (b"", b"x" * (RECORD - 1), b"x" * (RECORD + 1), listOf()[::-1]):
        with pytest.raises(BlocklistError):
            KeyBlocklist(data)


def test_its_length() -> None:
    assert len(KeyBlocklist(listOf(KEYS[0], others=9))) == 10
