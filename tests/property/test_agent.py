"""The agent, whatever it is sent: one answer for each message, and keys only as they were given."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from limpet.core.framing import FrameReceiver, packFrame
from limpet.core.signables import Use, recognise
from limpet.wire import agent as wire
from limpet.wire.agent import Constraints, Destination, Hop, SessionBind, SignRequest
from limpet.wire.errors import WireError
from limpet.wire.fields import NS, Reader
from tests.agents import HOST_KEY, SESSION, Joined, bindTo, fileToSign, login
from tests.keymaking import makeKey

KEY = makeKey()
OTHER = makeKey(number=1)

SEEDS = [
    b"",
    NS(KEY.blob()),
    NS(b"passphrase"),
    SignRequest(KEY.blob(), login(KEY)).encode(),
    SignRequest(KEY.blob(), fileToSign()).encode(),
    OTHER.privateBlob() + NS(b"comment"),
    OTHER.privateBlob() + NS(b"comment") + Constraints(60, True).encode(),
    NS(wire.EXTENSION_QUERY),
    NS(wire.EXTENSION_SESSION_BIND) + bindTo(HOST_KEY, SESSION).encode(),
]

bodies = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(SEEDS),
    st.builds(lambda seed, end: seed[:end], st.sampled_from(SEEDS), st.integers(0, 400)),
    st.builds(
        lambda seed, at, value: seed[: at % (len(seed) + 1)] + bytes((value,)) + seed[at:],
        st.sampled_from(SEEDS),
        st.integers(0, 400),
        st.integers(0, 255),
    ),
)
messages = st.builds(
    lambda kind, body: bytes((kind,)) + body,
    st.one_of(st.integers(0, 255), st.sampled_from(sorted(wire.REQUEST_NAMES))),
    bodies,
)


def answersOf(data: bytes) -> int:
    frames = FrameReceiver(wire.MAX_MESSAGE_LENGTH)
    frames.feed(data)
    count = 0
    while frames.next() is not None:
        count += 1
    assert not frames.pending
    return count


@settings(max_examples=150, deadline=None)
@given(st.lists(messages, max_size=8), st.integers(1, 400))
def test_one_answer_for_each_message_however_it_is_cut(sent: list[bytes], size: int) -> None:
    joined = Joined()
    joined.add(KEY)
    stream = b"".join(map(packFrame, sent))
    written = bytearray()
    for at in range(0, len(stream), size):
        joined.server.dataReceived(stream[at : at + size])
        # Wrong passphrases are answered late, and what is behind them has to wait.
        for _ in range(12):
            joined.clock.advance(1.0)
        written += joined.serverTransport.written
        joined.serverTransport.written.clear()
    for _ in range(12):
        joined.clock.advance(1.0)
    written += joined.serverTransport.written
    assert answersOf(bytes(written)) == len(sent)
    assert not joined.serverTransport.lost


hops = st.builds(
    Hop,
    st.just(b""),
    st.binary(min_size=1, max_size=20),
    st.lists(st.tuples(st.binary(max_size=40), st.booleans()), min_size=1, max_size=3).map(tuple),
)
destinations = st.builds(Destination, st.one_of(st.just(Hop()), hops), hops)
constraints = st.builds(
    Constraints,
    st.one_of(st.none(), st.integers(1, 2**32 - 1)),
    st.booleans(),
    st.lists(destinations, max_size=4).map(tuple),
)


@given(constraints)
def test_constraints_there_and_back(made: Constraints) -> None:
    assert Constraints.read(Reader(made.encode())) == made


@given(constraints, st.binary(min_size=1, max_size=30))
def test_constraints_with_something_behind_them_are_not_fewer(
    made: Constraints, behind: bytes
) -> None:
    """What follows is either a constraint, too, or makes the whole be refused."""
    try:
        found = Constraints.read(Reader(made.encode() + behind))
    except WireError:
        return
    assert found.lifetimeSeconds == made.lifetimeSeconds or made.lifetimeSeconds is None
    assert found.confirm >= made.confirm
    assert found.destinations == made.destinations or not made.destinations


@given(st.binary(max_size=60), st.binary(max_size=40), st.binary(max_size=80), st.booleans())
def test_binds_there_and_back(key: bytes, session: bytes, signed: bytes, forwards: bool) -> None:
    bind = SessionBind(key, session, signed, forwards)
    assert SessionBind.decode(bind.encode()) == bind


@given(st.binary(max_size=300))
def test_D16_bytes_by_chance_are_nothing_that_is_signed(data: bytes) -> None:
    assert recognise(data).use is Use.ANYTHING


@given(st.integers(0, len(login(KEY)) - 1), st.integers(1, 255))
def test_D16_a_login_with_one_byte_changed_is_another_login_or_none(at: int, change: int) -> None:
    data = bytearray(login(KEY))
    data[at] ^= change
    found = recognise(bytes(data))
    assert found.use in (Use.LOGIN, Use.ANYTHING)
    if found.use is Use.LOGIN:
        assert found != recognise(login(KEY))
