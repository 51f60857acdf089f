"""`limpet.core.framing`: frames out of a stream, however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.core.framing import MAX_PIECES, FrameReceiver, Pieces, packFrame
from limpet.wire.errors import BadField


def taken(receiver: FrameReceiver) -> list[bytes]:
    frames = []
    while (frame := receiver.next()) is not None:
        frames.append(frame)
    return frames


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20), st.integers(1, 700))
def test_any_cut_gives_the_same_frames(bodies: list[bytes], step: int) -> None:
    stream = b"".join(map(packFrame, bodies))
    receiver = FrameReceiver(300)
    frames = []
    for start in range(0, len(stream), step):
        receiver.feed(stream[start : start + step])
        frames += taken(receiver)
    assert frames == bodies
    assert receiver.pending == 0


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20), st.integers(1, 700))
def test_frames_can_be_had_in_the_pieces_in_which_they_came(bodies: list[bytes], step: int) -> None:
    stream = b"".join(map(packFrame, bodies))
    receiver = FrameReceiver(300)
    frames = []
    for start in range(0, len(stream), step):
        receiver.feed(stream[start : start + step])
        while (pieces := receiver.take()) is not None:
            assert all(pieces)
            frames.append(bytes(Pieces(pieces)))
            assert len(Pieces(pieces)) == len(frames[-1])
    assert frames == bodies
    assert receiver.pending == 0


def test_a_frame_that_lies_in_one_piece_is_not_copied() -> None:
    receiver = FrameReceiver(10)
    data = packFrame(b"abcd") + packFrame(b"ef")
    receiver.feed(data)
    (piece,) = receiver.take() or []
    assert bytes(piece) == b"abcd"
    assert piece.obj is data


def test_what_others_may_change_is_copied() -> None:
    receiver = FrameReceiver(10)
    data = bytearray(packFrame(b"abcd"))
    receiver.feed(data)
    data[4:] = b"wxyz"
    assert receiver.next() == b"abcd"


def test_single_bytes_do_not_stay_in_pieces() -> None:
    receiver = FrameReceiver(10 * MAX_PIECES)
    body = bytes(range(256)) * (10 * MAX_PIECES // 256)
    for byte in packFrame(body)[:-1]:
        receiver.feed(bytes((byte,)))
        assert len(receiver._pieces) <= MAX_PIECES
        assert receiver.take() is None
    receiver.feed(body[-1:])
    pieces = receiver.take()
    assert pieces is not None
    assert len(pieces) <= MAX_PIECES + 2
    assert b"".join(pieces) == body


@pytest.mark.parametrize("length", [0, 11, 2**32 - 1])
def test_a_length_that_is_not_allowed_raises_at_once(length: int) -> None:
    receiver = FrameReceiver(10)
    receiver.feed(length.to_bytes(4, "big"))
    with pytest.raises(BadField):
        receiver.next()


def test_the_shortest_frame_can_be_set() -> None:
    receiver = FrameReceiver(10, minLength=5)
    receiver.feed(packFrame(b"abcd"))
    with pytest.raises(BadField):
        receiver.next()


def test_taken_frames_do_not_stay_in_memory() -> None:
    receiver = FrameReceiver(1000)
    for step in (1, 2, 3):
        for _ in range(step):
            receiver.feed(packFrame(bytes(1000)))
        assert len(taken(receiver)) == step
        assert not receiver._piece
        assert not receiver._pieces


def test_clear_forgets() -> None:
    receiver = FrameReceiver(10)
    receiver.feed(packFrame(b"ab") + b"\0")
    receiver.clear()
    receiver.feed(packFrame(b"cd"))
    assert taken(receiver) == [b"cd"]
