"""Requests and answers of RFC 4252 and RFC 4256, and what is counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.core import authentication
from limpet.core.authentication import (
    AttemptBudget,
    Factors,
    PasswordFields,
    PublicKeyFields,
    UserAuthRequest,
)
from limpet.core.errors import TooManyAttempts
from limpet.wire.errors import WireError
from limpet.wire.fields import NS, u32


def test_parseRequest() -> None:
    payload = NS(b"alice") + NS(b"ssh-connection") + NS(b"none") + b"rest"
    assert authentication.parseRequest(payload) == UserAuthRequest(
        b"alice", b"ssh-connection", b"none", b"rest"
    )
    for length in range(len(payload) - 4):
        with pytest.raises(WireError):
            authentication.parseRequest(payload[:length])


@given(
    st.builds(
        PublicKeyFields,
        st.binary(max_size=20),
        st.binary(max_size=20),
        st.none() | st.binary(max_size=20),
        st.none() | st.binary(max_size=20),
    )
)
def test_publicKeyThereAndBack(fields: PublicKeyFields) -> None:
    hostBound = fields.hostKeyBlob is not None
    encoded = authentication.encodePublicKey(fields)
    assert authentication.parsePublicKey(encoded, hostBound) == fields
    with pytest.raises(WireError):
        authentication.parsePublicKey(encoded + b"x", hostBound)


def test_signedData() -> None:
    """Byte by byte as RFC 4252 section 7 writes it."""
    assert authentication.signedData(b"SID", b"u", b"s", b"alg", b"key") == (
        b"\0\0\0\3SID\x32\0\0\0\1u\0\0\0\1s\0\0\0\x09publickey\x01\0\0\0\3alg\0\0\0\3key"
    )


def test_signedDataHostBound() -> None:
    data = authentication.signedData(b"SID", b"u", b"s", b"alg", b"key", b"host")
    assert data.endswith(b"\x01\0\0\0\3alg\0\0\0\3key\0\0\0\4host")
    assert NS(b"publickey-hostbound-v00@openssh.com") in data


@pytest.mark.parametrize("change", [b"\x01", b"\xff"])
def test_parsePassword(change: bytes) -> None:
    """Any value but zero is true (RFC 4251 section 5); some clients send 255."""
    assert authentication.parsePassword(b"\0" + NS(b"a")) == PasswordFields(b"a")
    assert authentication.parsePassword(change + NS(b"a") + NS(b"b")) == PasswordFields(b"a", b"b")
    for bad in (b"", b"\0", change + NS(b"a"), b"\0" + NS(b"a") + NS(b"b")):
        with pytest.raises(WireError):
            authentication.parsePassword(bad)


def test_keyboardInteractive() -> None:
    parse = authentication.parseKeyboardInteractive
    assert parse(NS(b"") + NS(b"")) == ()
    assert parse(NS(b"en") + NS(b"pam,otp")) == (b"pam", b"otp")
    for bad in (NS(b""), NS(b"") + NS(b"a,,b"), NS(b"") + NS(b"a") + b"x", NS(b"") + NS(b"\xff")):
        with pytest.raises(WireError):
            parse(bad)


@given(
    st.binary(max_size=20),
    st.binary(max_size=20),
    st.lists(st.tuples(st.binary(max_size=20), st.booleans()), max_size=5),
)
def test_questionsThereAndBack(
    name: bytes, instruction: bytes, prompts: list[tuple[bytes, bool]]
) -> None:
    encoded = authentication.encodeInfoRequest(name, instruction, prompts)
    assert authentication.parseInfoRequest(encoded) == (name, instruction, prompts)


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_answersThereAndBack(answers: list[bytes]) -> None:
    encoded = authentication.encodeInfoResponse(answers)
    assert authentication.parseInfoResponse(encoded, len(answers)) == answers
    with pytest.raises(WireError):
        authentication.parseInfoResponse(encoded, len(answers) + 1)


def test_tooManyPrompts() -> None:
    with pytest.raises(ValueError):
        authentication.encodeInfoRequest(b"", b"", [(b"?", True)] * 33)
    with pytest.raises(WireError):
        authentication.parseInfoRequest(NS(b"") * 3 + u32(33) + (NS(b"?") + b"\1") * 33)


def test_failure() -> None:
    assert authentication.encodeFailure([b"publickey", b"password"], True) == (
        NS(b"publickey,password") + b"\x01"
    )


@pytest.mark.parametrize("name", ["alice", "a b", "\u00e9lo\u00efse", "\u5f20", "x" * 1024])
def test_plausibleNames(name: str) -> None:
    assert authentication.isPlausibleUserName(name.encode("utf-8"))


def test_sanitised() -> None:
    assert authentication.sanitised(b"a\r\nb\tc") == b"a\nb\tc"
    assert authentication.sanitised("\u00e9\u202e".encode()) == "\u00e9\\u202e".encode()
    assert authentication.sanitised(b"\x1b[31m\r\x00") == b"\\x1b[31m\\r\\x00"


class TestAttemptBudget:
    def test_requests(self) -> None:
        budget = AttemptBudget(maxRequests=3)
        for _ in range(3):
            budget.countRequest()
        with pytest.raises(TooManyAttempts):
            budget.countRequest()

    def test_keyQueries(self) -> None:
        budget = AttemptBudget(maxKeyQueries=2)
        budget.countKeyQuery()
        budget.countKeyQuery()
        with pytest.raises(TooManyAttempts):
            budget.countKeyQuery()

    def test_failures(self) -> None:
        budget = AttemptBudget(maxFailures=2)
        budget.countFailure()
        with pytest.raises(TooManyAttempts):
            budget.countFailure()

    def test_defaults(self) -> None:
        budget = AttemptBudget()
        assert (budget.maxFailures, budget.maxKeyQueries, budget.maxRequests) == (6, 20, 128)


def test_factorsBelongToUserAndService() -> None:
    factors = Factors(b"alice", b"s")
    assert factors.isFor(UserAuthRequest(b"alice", b"s", b"password", b""))
    assert not factors.isFor(UserAuthRequest(b"bob", b"s", b"password", b""))
    assert not factors.isFor(UserAuthRequest(b"alice", b"t", b"password", b""))
