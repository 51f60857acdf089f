"""`limpet.crypto.fingerprints`; the values are what ssh-keygen -l prints for this key."""

from __future__ import annotations

import pytest

from limpet.crypto.errors import BadFingerPrintFormat
from limpet.crypto.fingerprints import (
    FingerprintFormats,
    displayFingerprint,
    fingerprint,
    randomArt,
)

BLOB = (
    bytes.fromhex("0000000b7373682d65643235353139") + bytes.fromhex("00000020") + bytes(range(32))
)


def test_md5() -> None:
    shown = fingerprint(BLOB, FingerprintFormats.MD5_HEX)
    assert shown == "0f:a2:0a:d7:38:3e:65:45:08:6b:63:84:1c:ff:dc:ba"


def test_sha256() -> None:
    shown = fingerprint(BLOB, FingerprintFormats.SHA256_BASE64)
    assert shown == "ZkAslGjFiUHdGf/WUL8rQvkib4PTvQatUV0OUQSncCA="


def test_display() -> None:
    assert displayFingerprint(BLOB) == "SHA256:ZkAslGjFiUHdGf/WUL8rQvkib4PTvQatUV0OUQSncCA"


@pytest.mark.parametrize("other", ["sha256-base64", None, 2])
def test_anyOtherFormat(other: object) -> None:
    with pytest.raises(BadFingerPrintFormat):
        fingerprint(BLOB, other)  # type: ignore[arg-type]


PICTURE = [
    "+--[ED25519 256]--+",
    "| .oOo=oo  E +.+=+|",
    "|  + *.+.   o +.o.|",
    "| .   .. . .  .o+ |",
    "|       . . +. ...|",
    "|        S =o. .  |",
    "|       o oo..  . |",
    "|        .oo=o .  |",
    "|        oo=oo.   |",
    "|         o.o..   |",
    "+----[SHA256]-----+",
]


class TestPictures:
    """As `ssh-keygen -lv` draws them; tests/interop compares further ones."""

    def test_a_key(self) -> None:
        assert randomArt(BLOB, "ED25519 256").split("\n") == PICTURE

    def test_a_title_that_is_too_long_loses_its_end(self) -> None:
        first, *_, last = randomArt(b"", "ECDSA-SK-AND-SO 256", "md5").split("\n")
        assert first == "+[ECDSA-SK-AND-SO]+"
        assert last == "+------[MD5]------+"

    def test_a_walk_that_goes_to_one_corner_stays_in_the_field(self) -> None:
        lines = randomArt(b"", "x").split("\n")
        assert len(lines) == 11
        assert {len(line) for line in lines} == {19}
