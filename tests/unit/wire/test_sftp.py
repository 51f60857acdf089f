"""`limpet.wire.sftp`: every message there and back, and what is no message."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.wire import sftp
from limpet.wire.errors import BadField, Truncated, WireError
from limpet.wire.fields import NS, Reader, u32, u64

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
PLAIN_ATTRS = st.fixed_dictionaries(
    {},
    optional={"size": U64, "permissions": U32, "ext_a@b": st.binary(max_size=20)},
)
VALUES: dict[str, Any] = {
    sftp.STRING: st.binary(max_size=40),
    sftp.U32: U32,
    sftp.U64: U64,
    sftp.ATTRS: PLAIN_ATTRS,
}


class TestAttributes:
    def test_the_layout_is_the_drafts(self) -> None:
        attrs = {"size": 1, "uid": 2, "gid": 3, "permissions": 0o644, "atime": 4, "mtime": 5}
        expected = u32(0xF) + u64(1) + u32(2) + u32(3) + u32(0o644) + u32(4) + u32(5)
        assert sftp.packAttrs(attrs) == expected
        assert sftp.readAttrs(Reader(expected)) == attrs

    def test_extended_attributes_keep_their_name_and_data(self) -> None:
        packed = sftp.packAttrs({"ext_foo@bar": b"\0x"})
        assert packed == u32(0x80000000) + u32(1) + NS(b"foo@bar") + NS(b"\0x")
        assert sftp.readAttrs(Reader(packed)) == {"ext_foo@bar": b"\0x"}

    def test_one_of_a_pair_alone_is_not_sent(self) -> None:
        assert sftp.packAttrs({"uid": 1}) == sftp.packAttrs({"mtime": 1}) == u32(0)

    def test_times_outside_the_wires_range_are_clamped(self) -> None:
        packed = sftp.packAttrs({"atime": -1, "mtime": 2.0**40})
        assert sftp.readAttrs(Reader(packed)) == {"atime": 0, "mtime": 2**32 - 1}

    @pytest.mark.parametrize("flags", [0x10, 0x40000000])
    def test_flags_of_another_version_are_refused(self, flags: int) -> None:
        with pytest.raises(BadField):
            sftp.readAttrs(Reader(u32(flags) + bytes(100)))

    def test_a_count_of_extended_attributes_is_bounded(self) -> None:
        with pytest.raises(BadField):
            sftp.readAttrs(Reader(u32(sftp.ATTR_EXTENDED) + u32(2**32 - 1) + bytes(1000)))

    @given(data=st.binary(max_size=60))
    def test_nothing_but_a_wire_error_comes_of_noise(self, data: bytes) -> None:
        with contextlib.suppress(WireError):
            sftp.readAttrs(Reader(data))


class TestRequests:
    @pytest.mark.parametrize("kind", sorted(sftp.REQUESTS))
    @given(data=st.data())
    def test_what_is_packed_is_read(self, kind: int, data: st.DataObject) -> None:
        values = [data.draw(VALUES[field]) for field in sftp.REQUESTS[kind]]
        reader = Reader(sftp.packRequest(kind, 7, *values))
        assert reader.u32() == 7
        assert sftp.readFields(sftp.REQUESTS[kind], reader) == values
        reader.end()

    @pytest.mark.parametrize("name", sorted(sftp.EXTENDED_REQUESTS))
    @given(data=st.data())
    def test_so_are_extended_ones(self, name: bytes, data: st.DataObject) -> None:
        values = [data.draw(VALUES[field]) for field in sftp.EXTENDED_REQUESTS[name]]
        reader = Reader(sftp.packExtended(9, name, *values))
        assert (reader.u32(), reader.string()) == (9, name)
        assert sftp.readFields(sftp.EXTENDED_REQUESTS[name], reader) == values

    def test_a_wrong_number_of_values_is_the_callers_mistake(self) -> None:
        with pytest.raises(ValueError, match="zip"):
            sftp.packRequest(sftp.FXP_RENAME, 1, b"one")

    def test_every_extension_is_announced(self) -> None:
        assert set(sftp.EXTENSION_VERSIONS) == set(sftp.EXTENDED_REQUESTS)


class TestHello:
    def test_there_and_back(self) -> None:
        extensions = {b"a": b"1", b"b@c": b""}
        assert sftp.readHello(sftp.packHello(3, extensions.items())) == (3, extensions)

    def test_half_a_pair_is_truncated(self) -> None:
        with pytest.raises(Truncated):
            sftp.readHello(u32(3) + NS(b"name"))

    def test_their_number_is_bounded(self) -> None:
        with pytest.raises(BadField):
            sftp.readHello(u32(3) + b"".join(NS(b"%d" % n) + NS(b"") for n in range(100)))


class TestReplies:
    def test_status(self) -> None:
        reader = Reader(sftp.packStatus(1, sftp.FX_EOF))
        assert reader.u32() == 1
        assert sftp.readStatus(reader) == (sftp.FX_EOF, b"End of file", b"")

    def test_status_of_an_old_server_is_a_code_alone(self) -> None:
        assert sftp.readStatus(Reader(u32(4))) == (4, b"", b"")

    def test_names(self) -> None:
        names = [sftp.Name(b"a\n\xff", b"-rw a", {"size": 3}), sftp.Name(b"", b"", {})]
        reader = Reader(sftp.packNames(5, names))
        assert reader.u32() == 5
        assert sftp.readNames(reader) == names

    def test_a_huge_count_of_names_ends_with_the_message(self) -> None:
        with pytest.raises(Truncated):
            sftp.readNames(Reader(u32(2**32 - 1) + bytes(120)))

    def test_statvfs_and_limits(self) -> None:
        numbers = sftp.StatVfs(*range(11))
        assert numbers.encode() == struct.pack(">11Q", *range(11))
        assert sftp.StatVfs.decode(numbers.encode()) == numbers
        limits = sftp.Limits(1, 2, 3, 2**64 - 1)
        assert sftp.Limits.decode(limits.encode()) == limits

    def test_ids_and_names(self) -> None:
        assert sftp.readIds(sftp.packIds([0, 2**32 - 1])) == [0, 2**32 - 1]
        assert sftp.readStrings(sftp.packStrings([b"", b"x"])) == [b"", b"x"]

    def test_a_frame(self) -> None:
        assert sftp.packFrame(sftp.FXP_INIT, u32(3)) == bytes([0, 0, 0, 5, 1, 0, 0, 0, 3])
