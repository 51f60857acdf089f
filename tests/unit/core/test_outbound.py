"""`limpet.core.outbound`: order, completeness, and cost that does not grow with what waits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.core.outbound import MERGE_BELOW, OutboundBuffer

PIECES = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.integers(MERGE_BELOW - 2, MERGE_BELOW + 2).map(lambda size: bytes([size % 251]) * size),
    ),
    max_size=30,
)


class TestOutboundBuffer:
    def test_an_empty_one(self) -> None:
        buffer = OutboundBuffer()
        assert len(buffer) == 0
        assert not buffer
        assert bytes(buffer) == b""
        assert buffer.take(5) == b""

    def test_takes_across_pieces(self) -> None:
        buffer = OutboundBuffer(b"abc")
        buffer.append(b"")
        buffer.append(b"def")
        assert buffer.take(4) == b"abcd"
        assert bytes(buffer) == b"ef"
        assert buffer.take(100) == b"ef"
        assert not buffer

    def test_appending_after_a_part_was_taken(self) -> None:
        buffer = OutboundBuffer(b"abc")
        assert buffer.take(1) == b"a"
        buffer.append(b"de")
        assert buffer.take(9) == b"bcde"

    def test_take_nothing(self) -> None:
        buffer = OutboundBuffer(b"abc")
        assert buffer.take(0) == b""
        assert buffer.take(-1) == b""
        assert len(buffer) == 3

    def test_a_large_piece_comes_back_as_it_is(self) -> None:
        piece = b"x" * MERGE_BELOW
        buffer = OutboundBuffer()
        buffer.append(piece)
        assert buffer.take(len(piece)) is piece

    def test_what_is_not_bytes_is_copied(self) -> None:
        for size in (3, MERGE_BELOW):
            mutable = bytearray(b"a" * size)
            buffer = OutboundBuffer()
            buffer.append(memoryview(mutable))
            mutable[:] = b"z" * size
            assert bytes(buffer) == b"a" * size

    def test_single_bytes_share_a_chunk(self) -> None:
        buffer = OutboundBuffer()
        for _ in range(10 * MERGE_BELOW):
            buffer.append(b"x")
        assert len(buffer._chunks) == 10

    def test_clear(self) -> None:
        buffer = OutboundBuffer(b"abc")
        buffer.take(1)
        buffer.clear()
        buffer.append(b"def")
        assert bytes(buffer) == b"def"

    def test_a_view_of_a_large_chunk_is_no_copy(self) -> None:
        buffer = OutboundBuffer(b"x" * (2 * MERGE_BELOW))
        assert type(buffer.takeView(MERGE_BELOW)) is memoryview
        assert len(buffer) == MERGE_BELOW
        assert type(buffer.takeView(MERGE_BELOW)) is bytes
        assert buffer.takeView(1) == b""

    @given(
        PIECES,
        st.lists(st.integers(0, 2 * MERGE_BELOW), max_size=60),
        st.sampled_from([OutboundBuffer.take, OutboundBuffer.takeView]),
    )
    def test_any_pieces_in_and_out_keep_the_bytes(
        self, pieces: list[bytes], takes: list[int], take: Any
    ) -> None:
        buffer = OutboundBuffer()
        given = b""
        taken = b""
        for index in range(max(len(pieces), len(takes))):
            if index < len(pieces):
                buffer.append(pieces[index])
                given += pieces[index]
            if index < len(takes):
                piece = bytes(take(buffer, takes[index]))
                assert len(piece) <= takes[index]
                taken += piece
            assert len(buffer) == len(given) - len(taken)
            assert taken + bytes(buffer) == given
        assert taken + buffer.take(len(buffer)) == given

    @given(PIECES, st.integers(0, 100), st.binary(min_size=1, max_size=3), st.integers(0, 100))
    def test_a_mark_is_found_across_pieces(
        self, pieces: list[bytes], taken: int, mark: bytes, start: int
    ) -> None:
        buffer = OutboundBuffer()
        for piece in pieces:
            buffer.append(piece)
        buffer.take(taken)
        whole = bytes(buffer)
        assert buffer.find(mark, start) == (whole.find(mark, start) if start <= len(whole) else -1)

    @pytest.mark.parametrize("size", [10, 3 * MERGE_BELOW])
    def test_what_is_put_back_comes_first(self, size: int) -> None:
        data = bytes(number % 251 for number in range(size))
        buffer = OutboundBuffer(data)
        first = buffer.take(size // 2)
        buffer.putBack(first[-3:])
        buffer.putBack(b"")
        buffer.append(b"end")
        assert bytes(buffer) == data[size // 2 - 3 :] + b"end"
        assert len(buffer) == size - size // 2 + 6
        assert buffer.take(5) == data[size // 2 - 3 :][:5]
