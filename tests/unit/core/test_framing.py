"""`limpet.core.framing`: frames out of a stream, however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.core.framing import COMPACT_ABOVE, FrameReceiver, packFrame
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
    receiver.feed(packFrame(bytes(1000)) * 200)
    while receiver.next() is not None:
        assert len(receiver._buffer) - receiver.pending < COMPACT_ABOVE
    assert not receiver._buffer


def test_clear_forgets() -> None:
    receiver = FrameReceiver(10)
    receiver.feed(packFrame(b"ab") + b"\0")
    receiver.clear()
    receiver.feed(packFrame(b"cd"))
    assert taken(receiver) == [b"cd"]
