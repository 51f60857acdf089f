"""Key revocation lists: what each section revokes, and what makes a list void."""

from __future__ import annotations

import hashlib

import pytest

from limpet.core import krl
from limpet.core.krl import KrlError, RevokedCertificates, parseKrl
from limpet.crypto.errors import BadKeyError
from limpet.wire.fields import NS, u32, u64
from tests.keymaking import makeCertificate, makeKey

AUTHORITY = makeKey("ed25519", number=1).public()
OTHER_AUTHORITY = makeKey("ed25519", number=2).public()
KEY = makeKey("ed25519", number=3).public()
OTHER_KEY = makeKey("ecdsa", 256, number=4).public()

# makeCertificate gives its certificates the number 42 and the id "the key's name".
SERIAL = 42
KEY_ID = b"the key's name"
CERTIFICATE = makeCertificate(KEY, makeKey("ed25519", number=1))
OTHERS_CERTIFICATE = makeCertificate(KEY, makeKey("ed25519", number=2))


def header(
    magic: bytes = krl.MAGIC, formatVersion: int = 1, version: int = 7, comment: bytes = b"ours"
) -> bytes:
    return (
        magic
        + u32(formatVersion)
        + u64(version)
        + u64(1_700_000_000)
        + u64(0)
        + NS(b"reserved")
        + NS(comment)
    )


def section(kind: int, *strings: bytes) -> bytes:
    return bytes((kind,)) + NS(b"".join(NS(text) for text in strings))


def ofCertificates(kind: int, body: bytes, authority: bytes = AUTHORITY.blob()) -> bytes:
    return bytes((krl.CERTIFICATES,)) + NS(NS(authority) + NS(b"") + bytes((kind,)) + NS(body))


def mpint(number: int) -> bytes:
    return NS(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def extension(body: bytes) -> bytes:
    return bytes((krl.EXTENSION,)) + NS(body)


def certificateExtension(body: bytes) -> bytes:
    return ofCertificates(krl.CERTIFICATE_EXTENSION, body)


class TestKeys:
    def test_an_empty_list_revokes_nothing_and_tells_of_itself(self) -> None:
        found = parseKrl(header())
        assert (found.version, found.generated, found.comment) == (7, 1_700_000_000, b"ours")
        assert not found.isRevoked(KEY.blob())
        assert not found.isRevoked(CERTIFICATE)

    @pytest.mark.parametrize(
        ("kind", "entry"),
        [
            (krl.EXPLICIT_KEYS, KEY.blob()),
            (krl.SHA1_FINGERPRINTS, hashlib.sha1(KEY.blob()).digest()),
            (krl.SHA256_FINGERPRINTS, hashlib.sha256(KEY.blob()).digest()),
        ],
    )
    def test_a_key_is_revoked_itself_and_in_every_certificate(
        self, kind: int, entry: bytes
    ) -> None:
        found = parseKrl(header() + section(kind, entry))
        assert found.isRevoked(KEY.blob())
        assert found.isRevoked(CERTIFICATE)
        assert found.isRevoked(OTHERS_CERTIFICATE)
        assert not found.isRevoked(OTHER_KEY.blob())

    def test_with_an_authority_go_all_its_certificates(self) -> None:
        found = parseKrl(header() + section(krl.EXPLICIT_KEYS, AUTHORITY.blob()))
        assert found.isRevoked(CERTIFICATE)
        assert not found.isRevoked(OTHERS_CERTIFICATE)
        assert not found.isRevoked(KEY.blob())

    def test_sections_add_up(self) -> None:
        found = parseKrl(
            header()
            + section(krl.EXPLICIT_KEYS, KEY.blob())
            + section(krl.SHA256_FINGERPRINTS)
            + section(krl.EXPLICIT_KEYS, OTHER_KEY.blob())
        )
        assert found.isRevoked(KEY.blob())
        assert found.isRevoked(OTHER_KEY.blob())

    @pytest.mark.parametrize("blob", [b"", b"\0\0", u32(9) + b"short", NS(b"ssh-unheard-of")])
    def test_what_is_no_key_is_not_revoked(self, blob: bytes) -> None:
        assert not parseKrl(header()).isRevoked(blob)

    def test_a_key_of_a_type_that_is_not_known_can_be_revoked(self) -> None:
        blob = NS(b"ssh-unheard-of") + NS(b"x")
        assert parseKrl(header() + section(krl.EXPLICIT_KEYS, blob)).isRevoked(blob)

    def test_a_damaged_certificate_is_no_answer(self) -> None:
        with pytest.raises(BadKeyError, match="damaged"):
            parseKrl(header()).isRevoked(CERTIFICATE[:-1])


class TestCertificates:
    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            (krl.SERIALS, u64(7) + u64(SERIAL) + u64(9)),
            (krl.SERIAL_RANGE, u64(SERIAL) + u64(SERIAL)),
            (krl.SERIAL_RANGE, u64(1) + u64(2**64 - 1)),
            (krl.SERIAL_BITMAP, u64(SERIAL) + mpint(1)),
            (krl.SERIAL_BITMAP, u64(40) + mpint(0b100)),
            (krl.SERIAL_BITMAP, u64(2) + mpint(1 << 40 | 1 << 60)),
            (krl.KEY_IDS, NS(b"x") + NS(KEY_ID)),
        ],
    )
    def test_one_is_revoked_by_number_or_id_for_its_authority_alone(
        self, kind: int, body: bytes
    ) -> None:
        found = parseKrl(header() + ofCertificates(kind, body))
        assert found.isRevoked(CERTIFICATE)
        assert not found.isRevoked(OTHERS_CERTIFICATE)
        assert not found.isRevoked(KEY.blob())
        everywhere = parseKrl(header() + ofCertificates(kind, body, b""))
        assert everywhere.isRevoked(CERTIFICATE)
        assert everywhere.isRevoked(OTHERS_CERTIFICATE)

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            (krl.SERIALS, u64(SERIAL - 1) + u64(SERIAL + 1)),
            (krl.SERIALS, b""),
            (krl.SERIAL_RANGE, u64(1) + u64(SERIAL - 1)),
            (krl.SERIAL_RANGE, u64(SERIAL + 1) + u64(2**64 - 1)),
            (krl.SERIAL_BITMAP, u64(SERIAL + 1) + mpint(1)),
            (krl.SERIAL_BITMAP, u64(40) + mpint(0b11011)),
            (krl.SERIAL_BITMAP, u64(40) + NS(b"")),
            (krl.KEY_IDS, NS(KEY_ID + b"2") + NS(b"")),
        ],
    )
    def test_its_neighbours_are_not(self, kind: int, body: bytes) -> None:
        assert not parseKrl(header() + ofCertificates(kind, body)).isRevoked(CERTIFICATE)

    def test_two_sections_on_one_authority_add_up(self) -> None:
        found = parseKrl(
            header()
            + ofCertificates(krl.SERIALS, u64(1))
            + ofCertificates(krl.SERIALS, u64(SERIAL))
        )
        assert found.isRevoked(CERTIFICATE)

    def test_the_number_of_those_without_a_number_is_never_looked_for(self) -> None:
        revoked = RevokedCertificates([0], [(0, 5)], [krl.Bitmap(0, b"\xff")])
        assert not revoked.holds(0, b"")
        assert revoked.holds(1, b"")

    def test_ranges_may_overlap_and_lie_within_each_other(self) -> None:
        revoked = RevokedCertificates(ranges=[(50, 60), (10, 40), (20, 30), (35, 45)])
        held = [serial for serial in range(1, 70) if revoked.holds(serial, b"")]
        assert held == [*range(10, 46), *range(50, 61)]


class TestWhatIsNotUnderstood:
    @pytest.mark.parametrize(
        ("data", "says"),
        [
            (b"", "does not begin with SSHKRL"),
            (header(b"SSHKRL\n\1"), "does not begin with SSHKRL"),
            (header(formatVersion=2), "format 2"),
            (header() + section(6), "not known: 6"),
            (header() + section(krl.SHA1_FINGERPRINTS, b"x" * 32), "32 bytes where 20"),
            (header() + section(krl.SHA256_FINGERPRINTS, b"x" * 20), "20 bytes where 32"),
            (header() + bytes((krl.EXPLICIT_KEYS,)) + NS(b"\0\0\0"), "damaged"),
            (header() + bytes((krl.EXPLICIT_KEYS,)) + u32(2**32 - 1), "damaged"),
            (header() + b"\1", "damaged"),
            (header() + bytes((krl.CERTIFICATES,)) + NS(b""), "damaged"),
            (header() + bytes((krl.SIGNATURE,)) + NS(KEY.blob()), "damaged"),
            (header() + ofCertificates(0x24, b""), "not known: 36"),
            (header() + ofCertificates(krl.SERIALS, b"\0" * 7), "damaged"),
            (header() + ofCertificates(krl.SERIALS, u64(0)), "serial number 0"),
            (header() + ofCertificates(krl.SERIAL_RANGE, u64(0) + u64(1)), "serial number 0"),
            (header() + ofCertificates(krl.SERIAL_RANGE, u64(2) + u64(1)), "2-1"),
            (header() + ofCertificates(krl.SERIAL_RANGE, u64(1) * 3), "after the last field"),
            (header() + ofCertificates(krl.SERIAL_BITMAP, u64(1) + NS(b"\x80")), "negative"),
            (header() + ofCertificates(krl.SERIAL_BITMAP, u64(0) + mpint(1)), "serial number 0"),
            (
                header() + ofCertificates(krl.SERIAL_BITMAP, u64(2**64 - 1) + mpint(2)),
                "beyond 64 bits",
            ),
            (header() + ofCertificates(krl.KEY_IDS, u32(4) + b"abc"), "damaged"),
        ],
    )
    def test_it_is_told(self, data: bytes, says: str) -> None:
        with pytest.raises(KrlError, match=says):
            parseKrl(data)

    def test_an_extension_that_matters_makes_the_list_void(self) -> None:
        critical = NS(b"new\n@example.com") + b"\1" + NS(b"x")
        passing = NS(b"new@example.com") + b"\0" + NS(b"x")
        for made in (extension, certificateExtension):
            with pytest.raises(KrlError, match=r"critical extension .*new\\x0a@example.com"):
                parseKrl(header() + made(critical))
            with pytest.raises(KrlError, match="damaged"):
                parseKrl(header() + made(passing + b"\0"))
            assert not parseKrl(header() + made(passing)).isRevoked(KEY.blob())

    def test_a_list_that_is_too_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(krl, "MAX_LENGTH", len(header()) - 1)
        with pytest.raises(KrlError, match="more than"):
            parseKrl(header())

    def test_a_bitmap_at_the_end_of_what_there_is(self) -> None:
        found = parseKrl(header() + ofCertificates(krl.SERIAL_BITMAP, u64(2**64 - 8) + mpint(0x80)))
        revoked = found.certificates[AUTHORITY.blob()]
        assert revoked.holds(2**64 - 1, b"")
        assert not revoked.holds(2**64 - 2, b"")

    def test_a_signature_is_passed_over(self) -> None:
        data = header() + bytes((krl.SIGNATURE,)) + NS(KEY.blob()) + NS(b"signature")
        found = parseKrl(data + section(krl.EXPLICIT_KEYS, KEY.blob()))
        assert found.isRevoked(KEY.blob())

    def test_every_list_that_is_cut_off_is_damaged_or_says_less(self) -> None:
        whole = header() + ofCertificates(krl.SERIALS, u64(SERIAL))
        for length in range(len(header()) + 1, len(whole)):
            with pytest.raises(KrlError):
                parseKrl(whole[:length])
