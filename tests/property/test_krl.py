"""Whatever bytes stand in a file of revoked keys, it is a list or an error that says so."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from limpet.core import krl
from limpet.core.krl import KrlError, RevokedCertificates, parseKrl
from limpet.core.revokedkeys import RevokedKeysError, parseRevokedKeys
from limpet.wire.fields import NS, u32, u64

HEADER = krl.MAGIC + u32(1) + u64(1) * 3 + NS(b"") + NS(b"")
SERIALS = st.integers(1, 200)
TEXT = st.binary(max_size=24)
BODIES = st.one_of(
    TEXT,
    TEXT.map(NS),
    st.tuples(TEXT, st.sampled_from((b"\0", b"\1")), TEXT).map(
        lambda parts: NS(parts[0]) + parts[1] + NS(parts[2])
    ),
    st.binary(min_size=8, max_size=8),
    st.tuples(SERIALS, TEXT).map(lambda parts: u64(parts[0]) + NS(parts[1])),
)
SUBSECTIONS = st.tuples(st.integers(0x1F, 0x3A), BODIES).map(
    lambda parts: bytes((parts[0],)) + NS(parts[1])
)
SECTIONS = st.one_of(
    st.tuples(st.integers(0, 255), BODIES).map(lambda parts: bytes((parts[0],)) + NS(parts[1])),
    st.lists(SUBSECTIONS, max_size=3).map(
        lambda parts: bytes((krl.CERTIFICATES,)) + NS(NS(b"") * 2 + b"".join(parts))
    ),
    st.binary(max_size=16),
)


@settings(max_examples=600, deadline=None)
@given(st.lists(SECTIONS, max_size=4).map(b"".join))
def test_a_list_is_read_or_refused(tail: bytes) -> None:
    try:
        found = parseKrl(HEADER + tail)
    except KrlError:
        return
    assert found.isRevoked(NS(b"x")) in (True, False)
    for certificates in found.certificates.values():
        assert not certificates.holds(0, b"no such id, for it is longer than any")


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=80), st.binary(max_size=40).map(lambda tail: HEADER + tail)))
def test_a_file_is_read_or_refused(data: bytes) -> None:
    with suppress(RevokedKeysError):
        parseRevokedKeys(data)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(SERIALS, max_size=8),
    st.lists(st.tuples(SERIALS, SERIALS).map(sorted), max_size=4),
    st.lists(st.tuples(SERIALS, st.integers(0, 2**40)), max_size=3),
)
def test_numbers_are_revoked_as_a_set_of_them_would_be(
    serials: Sequence[int], ranges: Sequence[Sequence[int]], bitmaps: Sequence[tuple[int, int]]
) -> None:
    body = bytes((krl.SERIALS,)) + NS(b"".join(u64(serial) for serial in serials))
    expected = set(serials)
    for first, last in ranges:
        body += bytes((krl.SERIAL_RANGE,)) + NS(u64(first) + u64(last))
        expected.update(range(first, last + 1))
    for offset, bits in bitmaps:
        number = bits.to_bytes(bits.bit_length() // 8 + 1, "big")
        body += bytes((krl.SERIAL_BITMAP,)) + NS(u64(offset) + NS(number))
        expected.update(offset + bit for bit in range(bits.bit_length()) if bits >> bit & 1)
    data = HEADER + bytes((krl.CERTIFICATES,)) + NS(NS(b"") * 2 + body)
    found: RevokedCertificates = parseKrl(data).certificates[b""]
    assert {serial for serial in range(300) if found.holds(serial, b"")} == expected
