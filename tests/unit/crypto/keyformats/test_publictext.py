"""`limpet.crypto.keyformats.publictext`: the one line of OpenSSH and the block of RFC 4716."""

from __future__ import annotations

import base64

import pytest

from limpet.crypto.errors import BadKeyError
from limpet.crypto.keyformats import publictext
from limpet.crypto.material import publicOf
from limpet.wire.fields import NS
from tests.keymaking import makeCertificate, makeKey

BLOB = makeKey().blob()
LINE = publictext.encodeLine(BLOB)


class TestLine:
    @pytest.mark.parametrize(
        ("text", "comment"),
        [
            (LINE, b""),
            (LINE + b"\n", b""),
            (LINE + b" me@here\r\n", b"me@here"),
            (b"  " + LINE + b"\tme at\there  ", b"me at\there"),
        ],
    )
    def test_whiteSpaceAndComments(self, text: bytes, comment: bytes) -> None:
        found = publictext.decodeLine(text)
        assert makeKey().public() == type(makeKey()).fromMaterial(found)
        assert found.comment == comment
        assert publicOf(found.keyObject) is found.keyObject

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"ssh-ed25519",
            b"ssh-ed25519 ",
            b"ssh-ed25519 AAAA",
            b"ssh-ed25519 AAA",
            b"ssh-ed25519 !!!!",
            LINE[:-1],
            LINE[:-4],
            LINE.replace(b"ssh-ed25519", b"ssh-rsa"),
            LINE.replace(b" ", b" A-_"),
            LINE + b"\n" + LINE,
            b"\xff\xfe",
        ],
    )
    def test_whatIsNone(self, text: bytes) -> None:
        with pytest.raises(BadKeyError):
            publictext.decodeLine(text)

    def test_theNameAndTheBlobAreOfOneType(self) -> None:
        rsa = makeKey("rsa", 2048).blob()
        with pytest.raises(BadKeyError, match="differs"):
            publictext.decodeLine(b"ssh-ed25519 " + base64.b64encode(rsa))

    def test_certificatesAreNoPlainKeys(self) -> None:
        line = publictext.encodeLine(makeCertificate(makeKey(), makeKey(number=1)))
        assert publictext.splitLine(line)[0] == b"ssh-ed25519-cert-v01@openssh.com"
        with pytest.raises(BadKeyError, match="certificate"):
            publictext.decodeLine(line)


class TestRFC4716:
    def test_headersAndContinuedLines(self) -> None:
        text = base64.b64encode(BLOB)
        block = b"\r\n".join(
            (
                b"---- BEGIN SSH2 PUBLIC KEY ----",
                b"Subject: me",
                b'Comment: "a comment that is \\',
                b'continued"',
                b"x-private: none",
                text[:30],
                text[30:],
                b"---- END SSH2 PUBLIC KEY ----",
                b"",
            )
        )
        found = publictext.decodeRFC4716(block)
        assert type(makeKey()).fromMaterial(found) == makeKey().public()
        assert found.comment == b"a comment that is continued"

    def test_linesAreNotLong(self) -> None:
        block = publictext.encodeRFC4716(makeKey("rsa", 2048).blob(), b'x"' * 60)
        assert max(map(len, block.splitlines())) <= 72
        found = publictext.decodeRFC4716(block)
        assert type(makeKey()).fromMaterial(found) == makeKey("rsa", 2048).public()

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"---- BEGIN SSH2 PUBLIC KEY ----",
            b"---- BEGIN SSH2 PUBLIC KEY ----\n---- END SSH2 PUBLIC KEY ----",
            b"---- BEGIN SSH2 PUBLIC KEY ----\nComment: x\\\n---- END SSH2 PUBLIC KEY ----",
            b"---- BEGIN SSH2 PUBLIC KEY ----\nA\n---- END SSH2 PUBLIC KEY ----",
            publictext.encodeRFC4716(BLOB)[:-5],
            publictext.encodeRFC4716(BLOB) * 2,
            publictext.encodeRFC4716(NS(b"x")),
        ],
    )
    def test_whatIsNone(self, text: bytes) -> None:
        with pytest.raises(BadKeyError):
            publictext.decodeRFC4716(text)
