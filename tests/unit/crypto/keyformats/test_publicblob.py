"""`limpet.crypto.keyformats.publicblob`: one blob for one key."""

from __future__ import annotations

import pytest

from limpet.crypto.errors import BadKeyError
from limpet.crypto.key import Key
from limpet.crypto.keyformats import publicblob
from limpet.wire.fields import MP, NS, Reader
from tests.keymaking import allKeys, makeKey, securityKey

PUBLIC = [key.public() for key in allKeys()] + [
    securityKey(makeKey()),
    securityKey(makeKey("ecdsa", 256), b"ssh:work"),
]


@pytest.mark.parametrize("key", PUBLIC, ids=repr)
class TestEveryKind:
    def test_thereAndBack(self, key: Key) -> None:
        found = publicblob.decode(key.blob())
        assert publicblob.encode(found.keyObject, found.application) == key.blob()
        assert Key.fromMaterial(found) == key
        assert found.application == key.application

    def test_everyPrefixIsRefused(self, key: Key) -> None:
        for length in range(len(key.blob())):
            with pytest.raises(BadKeyError):
                publicblob.decode(key.blob()[:length])

    def test_whatFollowsIsRefused(self, key: Key) -> None:
        for tail in (b"\x00", NS(b""), NS(b"ssh:")):
            with pytest.raises(BadKeyError):
                publicblob.decode(key.blob() + tail)

    def test_anotherTypeNameIsRefused(self, key: Key) -> None:
        fields = key.blob()[4 + len(key.sshType()) :]
        for name in publicblob.KEY_TYPES - {key.sshType()}:
            with pytest.raises(BadKeyError):
                publicblob.decode(NS(name) + fields)


class TestForms:
    def test_rsaFields(self) -> None:
        reader = Reader(makeKey("rsa", 2048).blob())
        assert reader.string() == b"ssh-rsa"
        assert reader.mpint() == 65537
        assert reader.mpint() == makeKey("rsa", 2048).data()["n"]
        reader.end()

    def test_ecFields(self) -> None:
        reader = Reader(makeKey("ecdsa", 521).blob())
        assert reader.string() == b"ecdsa-sha2-nistp521"
        assert reader.string() == b"nistp521"
        assert len(reader.string()) == 1 + 2 * 66
        reader.end()

    def test_anUnknownTypeIsNamed(self) -> None:
        with pytest.raises(BadKeyError, match=r"ssh-bad\\x1b"):
            publicblob.decode(NS(b"ssh-bad\x1b"))

    def test_numbersThatAreNotMinimal(self) -> None:
        n = makeKey("rsa", 2048).data()["n"]
        padded = NS(b"\x00" + MP(n)[4:])
        with pytest.raises(BadKeyError):
            publicblob.decode(NS(b"ssh-rsa") + MP(65537) + padded)
        with pytest.raises(BadKeyError):
            publicblob.decode(NS(b"ssh-rsa") + NS(b"\x81") + MP(n))

    def test_aLongBlob(self) -> None:
        with pytest.raises(BadKeyError, match="20000 bytes"):
            publicblob.decode(bytes(20_000))
