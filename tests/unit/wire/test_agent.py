"""The agent's messages: bodies there and back, and what is no body."""

from __future__ import annotations

import pytest

from limpet.wire import agent as wire
from limpet.wire.agent import Constraints, Destination, Hop, SessionBind, SignRequest
from limpet.wire.errors import BadField, TrailingBytes, Truncated, WireError
from limpet.wire.fields import NS, Reader, u32

HOME = Hop()
HOST = Hop(b"", b"host", ((b"key", False),))
TO_HOST = Destination(HOME, Hop(b"root", b"host", ((b"key", False), (b"authority", True))))
ONWARDS = Destination(HOST, Hop(b"", b"next", ((b"other", False),)))


class TestIdentities:
    def test_there_and_back(self) -> None:
        listed = [(b"blob", b"comment"), (b"other", b"")]
        assert wire.decodeIdentities(wire.encodeIdentities(listed)) == listed

    def test_none(self) -> None:
        assert wire.encodeIdentities([]) == u32(0)
        assert wire.decodeIdentities(u32(0)) == []

    def test_more_than_any_agent_has(self) -> None:
        with pytest.raises(BadField):
            wire.decodeIdentities(u32(wire.MAX_IDENTITIES + 1))

    @pytest.mark.parametrize("body", [b"", u32(1), u32(1) + NS(b"x"), u32(0) + b"x"])
    def test_another_form(self, body: bytes) -> None:
        with pytest.raises(WireError):
            wire.decodeIdentities(body)


class TestSignRequest:
    def test_there_and_back(self) -> None:
        request = SignRequest(b"blob", b"data", 4)
        assert request.encode() == NS(b"blob") + NS(b"data") + u32(4)
        assert SignRequest.decode(request.encode()) == request

    def test_something_behind_it(self) -> None:
        with pytest.raises(TrailingBytes):
            SignRequest.decode(SignRequest(b"", b"").encode() + b"x")


class TestOneString:
    def test_it_is_all_of_the_body(self) -> None:
        assert wire.readOneString(NS(b"x")) == b"x"
        with pytest.raises(TrailingBytes):
            wire.readOneString(NS(b"x") + b"y")
        with pytest.raises(BadField):
            wire.readOneString(NS(b"xx"), limit=1)


class TestConstraints:
    @pytest.mark.parametrize(
        "constraints",
        [
            Constraints(),
            Constraints(lifetimeSeconds=3600),
            Constraints(confirm=True),
            Constraints(1, True, (TO_HOST, ONWARDS)),
        ],
    )
    def test_there_and_back(self, constraints: Constraints) -> None:
        assert Constraints.read(Reader(constraints.encode())) == constraints

    def test_the_form_on_the_wire(self) -> None:
        assert Constraints(7, True).encode() == b"\x01" + u32(7) + b"\x02"

    def test_a_key_without_any_is_told_from_one_with_some(self) -> None:
        assert not Constraints()
        assert Constraints(confirm=True)

    @pytest.mark.parametrize(
        "body",
        [
            b"\x01" + u32(0),
            b"\x01" + u32(1) + b"\x01" + u32(1),
            b"\x02\x02",
            b"\x03" + u32(1),
            b"\xff" + NS(b"unknown@example.com"),
            b"\xff" + NS(wire.CONSTRAINT_DESTINATION) + NS(b""),
            Constraints(destinations=(TO_HOST,)).encode() * 2,
        ],
        ids=["no time", "two times", "twice", "maxsign", "unknown", "nowhere", "two lists"],
    )
    def test_L3_what_is_not_understood_is_not_passed_over(self, body: bytes) -> None:
        with pytest.raises(BadField):
            Constraints.read(Reader(body))

    @pytest.mark.parametrize("body", [b"\x01\0\0", b"\xff", b"\xff" + NS(b"")[:3]])
    def test_one_that_is_cut_short(self, body: bytes) -> None:
        with pytest.raises(Truncated):
            Constraints.read(Reader(body))

    def test_not_more_destinations_than_are_taken(self) -> None:
        many = Constraints(destinations=(TO_HOST,) * (wire.MAX_DESTINATIONS + 1))
        with pytest.raises(BadField):
            Constraints.read(Reader(many.encode()))


class TestDestination:
    @pytest.mark.parametrize("destination", [TO_HOST, ONWARDS])
    def test_there_and_back(self, destination: Destination) -> None:
        assert Destination.decode(destination.encode()) == destination

    @pytest.mark.parametrize(
        "destination",
        [
            Destination(Hop(b"user", b"host", HOST.hostKeys), HOST),
            Destination(Hop(b"", b"host", ()), HOST),
            Destination(Hop(b"", b"", HOST.hostKeys), HOST),
            Destination(HOME, Hop(b"", b"", HOST.hostKeys)),
            Destination(HOME, Hop(b"", b"host", ())),
        ],
        ids=["a user to leave as", "no keys", "no name", "to no name", "to no keys"],
    )
    def test_one_that_makes_no_sense(self, destination: Destination) -> None:
        with pytest.raises(BadField):
            Destination.decode(destination.encode())

    def test_reserved_fields_are_empty(self) -> None:
        body = NS(HOME.encode()) + NS(HOST.encode()) + NS(b"x")
        with pytest.raises(BadField):
            Destination.decode(body)
        with pytest.raises(BadField):
            Hop.decode(NS(b"") + NS(b"") + NS(b"x"))


class TestExtensions:
    def test_session_bind_there_and_back(self) -> None:
        bind = SessionBind(b"key", b"id", b"signature", isForwarding=True)
        assert SessionBind.decode(bind.encode()) == bind

    def test_name_and_contents(self) -> None:
        assert wire.decodeExtension(wire.encodeExtension(b"a@b", b"rest")) == (b"a@b", b"rest")
        with pytest.raises(BadField):
            wire.decodeExtension(NS(b"x" * (wire.MAX_NAME_LENGTH + 1)))
