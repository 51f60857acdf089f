"""Files of revoked keys: lists of lines, and the lists that `ssh-keygen -k` makes."""

from __future__ import annotations

import base64

import pytest

from limpet.core import revokedkeys
from limpet.core.krl import MAGIC, Krl
from limpet.core.revokedkeys import RevokedKeysError, parseRevokedKeys
from limpet.crypto.key import Key
from limpet.crypto.keyformats import publictext
from limpet.wire.fields import MP, NS, u32, u64
from tests.keymaking import makeCertificate, makeKey

KEY = makeKey("ed25519", number=3).public()
OTHER_KEY = makeKey("ecdsa", 256, number=4).public()
AUTHORITY = makeKey("ed25519", number=1).public()
CERTIFICATE = makeCertificate(KEY, makeKey("ed25519", number=1))


def line(key: Key) -> bytes:
    return publictext.encodeLine(key.blob(), b"a comment")


class TestLines:
    def test_each_line_is_a_key(self) -> None:
        text = b"# comment\r\n\n  " + line(KEY) + b"\r\n\t# more\n" + line(OTHER_KEY)
        found = parseRevokedKeys(text)
        assert found.isRevoked(KEY.blob())
        assert found.isRevoked(OTHER_KEY.blob())
        assert found.isRevoked(CERTIFICATE)
        assert not found.isRevoked(AUTHORITY.blob())

    def test_an_authority_takes_its_certificates_with_it(self) -> None:
        found = parseRevokedKeys(line(AUTHORITY))
        assert found.isRevoked(CERTIFICATE)
        assert not found.isRevoked(KEY.blob())

    def test_a_certificate_stands_for_its_key(self) -> None:
        found = parseRevokedKeys(publictext.encodeLine(CERTIFICATE))
        assert found.isRevoked(KEY.blob())
        assert not found.isRevoked(AUTHORITY.blob())

    def test_a_key_too_weak_to_be_used_may_be_listed(self) -> None:
        short = NS(b"ssh-rsa") + MP(65537) + MP((1 << 767) + 1)
        assert parseRevokedKeys(publictext.encodeLine(short)).isRevoked(short)

    @pytest.mark.parametrize("text", [b"", b"\n\n", b"# nothing"])
    def test_a_file_may_be_empty(self, text: bytes) -> None:
        assert not parseRevokedKeys(text).isRevoked(KEY.blob())

    @pytest.mark.parametrize(
        "bad",
        [
            b"ssh-ed25519",
            b"ssh-ed25519 AAAA!",
            b"ssh-rsa " + base64.b64encode(KEY.blob()),
            b"ssh-ed25519 " + base64.b64encode(KEY.blob() + b"\0"),
            b"ssh-rsa " + base64.b64encode(NS(b"ssh-rsa") + MP(3)),
            publictext.encodeLine(CERTIFICATE[:-1]),
            b"SHA256:AAAA",
        ],
    )
    def test_a_line_that_is_no_key_is_told(self, bad: bytes) -> None:
        with pytest.raises(RevokedKeysError, match="line 2: "):
            parseRevokedKeys(line(KEY) + b"\n" + bad)

    def test_a_file_that_is_too_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(revokedkeys, "MAX_FILE_LENGTH", 10)
        with pytest.raises(RevokedKeysError, match="more than 10 bytes"):
            parseRevokedKeys(b"#" * 11)


class TestRevocationLists:
    def test_one_is_known_by_how_it_begins(self) -> None:
        data = MAGIC + u32(1) + u64(3) * 3 + NS(b"") + NS(b"") + b"\2" + NS(NS(KEY.blob()))
        found = parseRevokedKeys(data)
        assert isinstance(found, Krl)
        assert found.isRevoked(KEY.blob())

    def test_what_is_wrong_with_it_is_told(self) -> None:
        with pytest.raises(RevokedKeysError, match="damaged"):
            parseRevokedKeys(MAGIC)
