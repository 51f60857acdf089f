"""The authorized_keys form, and what its restrictions mean together."""

from __future__ import annotations

import base64
import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.core.authorizedkeys import (
    RESTRICTED,
    UNRESTRICTED,
    AuthorizedKey,
    BadLine,
    ConflictingRestrictions,
    ForwardTarget,
    KeyOptions,
    Restrictions,
    parseAuthorizedKeys,
    parseExpiry,
    parseLine,
)
from limpet.wire.fields import NS

BLOB = NS(b"ssh-ed25519") + NS(bytes(range(32)))
KEY = b"ssh-ed25519 " + base64.b64encode(BLOB)


def parsed(options: bytes) -> AuthorizedKey:
    """The key of a line with these options."""
    key = parseLine(options + b" " + KEY)
    assert key is not None
    return key


def test_plainLine() -> None:
    key = parseLine(b"  " + KEY + b"\t me@host  with blanks ", 7)
    assert key == AuthorizedKey(b"ssh-ed25519", BLOB, KeyOptions(), b"me@host  with blanks", 7)
    assert key.toLine() == KEY + b" me@host  with blanks"


@pytest.mark.parametrize("line", [b"", b"   \t", b"# comment", b"  #" + KEY])
def test_linesWithoutAnything(line: bytes) -> None:
    assert parseLine(line) is None


def test_everyFlag() -> None:
    key = parsed(b"no-pty,no-agent-forwarding,no-port-forwarding,no-X11-forwarding,no-user-rc")
    assert key.options.restrictions == RESTRICTED
    assert parsed(b"restrict").options.restrictions == RESTRICTED


def test_restrictAndGiveBack() -> None:
    restrictions = parsed(b"restrict,pty,port-forwarding").options.restrictions
    assert restrictions.allowPty
    assert restrictions.allowPortForwarding
    assert not restrictions.allowAgentForwarding


def test_optionNamesWithoutCase() -> None:
    assert not parsed(b"NO-PTY").options.restrictions.allowPty
    assert parsed(b'Command="x"').options.restrictions.forcedCommand == b"x"


def test_commandWithQuotesAndCommas() -> None:
    key = parsed(rb'command="echo \"a, b\"; exit 3",no-pty')
    assert key.options.restrictions.forcedCommand == b'echo "a, b"; exit 3'
    assert not key.options.restrictions.allowPty


def test_backslashBeforeTheLastQuote() -> None:
    """As in OpenSSH a backslash does not escape a backslash, so these quotes do not close."""
    with pytest.raises(BadLine):
        parsed(rb'command="a\\",no-pty')


def test_environment() -> None:
    key = parsed(b'environment="LANG=C",environment="A_1=x=y"')
    assert key.options.restrictions.environment == ((b"LANG", b"C"), (b"A_1", b"x=y"))


def test_from() -> None:
    key = parsed(b'from="192.0.2.0/24,!192.0.2.5"')
    assert key.check("192.0.2.1", 0.0) is None
    assert key.check("192.0.2.5", 0.0) is not None
    assert key.check("198.51.100.1", 0.0) is not None


def test_expiry() -> None:
    key = parsed(b'expiry-time="20260102030405Z"')
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC).timestamp()
    assert key.check(None, moment - 1) is None
    assert key.check(None, moment) is not None


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        (b"20260102Z", datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)),
        (b"202601020304Z", datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC)),
    ],
)
def test_parseExpiry(text: bytes, utc: datetime.datetime) -> None:
    assert parseExpiry(text) == utc.timestamp()
    local = utc.replace(tzinfo=None)
    assert parseExpiry(text[:-1]) == local.timestamp()


def test_forwardTargets() -> None:
    restrictions = parsed(
        b'permitopen="db.example.com:5432",permitopen="[::1]:*",permitlisten="8080",'
        b'permitlisten="localhost:9000"'
    ).options.restrictions
    assert restrictions.mayOpen(b"DB.example.com", 5432)
    assert not restrictions.mayOpen(b"db.example.com", 5433)
    assert restrictions.mayOpen(b"::1", 1)
    assert not restrictions.mayOpen(b"other", 5432)
    assert restrictions.mayListen(b"anything", 8080)
    assert restrictions.mayListen(b"localhost", 9000)
    assert not restrictions.mayListen(b"0.0.0.0", 9000)


@pytest.mark.parametrize("pattern", [b"*.example.com", b"db?example.com", b"d*"])
def test_forwardTargetsAreNoPatterns(pattern: bytes) -> None:
    restrictions = parsed(b'permitopen="' + pattern + b':*"').options.restrictions
    assert not restrictions.mayOpen(b"db.example.com", 80)
    assert restrictions.mayOpen(pattern, 80)


def test_forwardTargetOfEveryHost() -> None:
    restrictions = parsed(b'permitopen="*:80"').options.restrictions
    assert restrictions.mayOpen(b"db.example.com", 80)
    assert not restrictions.mayOpen(b"db.example.com", 81)


def test_noForwardingBeatsTargets() -> None:
    restrictions = parsed(b'permitopen="a:1",no-port-forwarding').options.restrictions
    assert not restrictions.mayOpen(b"a", 1)


def test_authority() -> None:
    key = parsed(b'cert-authority,principals="alice,admin"')
    assert key.options.isAuthority
    assert key.options.principals == (b"alice", b"admin")


def test_securityKeyOptions() -> None:
    options = parsed(b"no-touch-required,verify-required").options
    assert not options.requireUserPresence
    assert options.requireUserVerification


def test_windowsLineEnds() -> None:
    keys, problems = parseAuthorizedKeys(KEY + b"\r\n\r\n# x\r\n" + KEY + b"\r\n")
    assert [key.line for key in keys] == [1, 4]
    assert problems == []


# ── Together ──────────────────────────────────────────────────────────────────────────────────

TARGETS = st.lists(
    st.builds(ForwardTarget, st.sampled_from([b"a", b"b", b"*"]), st.sampled_from([None, 1, 2])),
    max_size=2,
).map(tuple)
RESTRICTIONS = st.builds(
    Restrictions,
    forcedCommand=st.sampled_from([None, b"x", b"y"]),
    allowPty=st.booleans(),
    allowAgentForwarding=st.booleans(),
    allowPortForwarding=st.booleans(),
    permitOpen=st.lists(TARGETS, max_size=2).map(tuple),
)


@given(RESTRICTIONS, RESTRICTIONS)
def test_andAllowsWhatBothAllow(one: Restrictions, other: Restrictions) -> None:
    try:
        both = one & other
    except ConflictingRestrictions:
        assert one.forcedCommand != other.forcedCommand
        return
    assert both.allowPty == (one.allowPty and other.allowPty)
    for host in (b"a", b"b", b"c"):
        for port in (1, 2, 3):
            allowed = one.mayOpen(host, port) and other.mayOpen(host, port)
            assert both.mayOpen(host, port) == allowed
    assert both.forcedCommand == (one.forcedCommand or other.forcedCommand)


@given(RESTRICTIONS)
def test_unrestrictedChangesNothing(one: Restrictions) -> None:
    assert one & UNRESTRICTED == one
    assert UNRESTRICTED & one == one


def test_emptyGroupAllowsNothing() -> None:
    assert not Restrictions(permitOpen=((),)).mayOpen(b"a", 1)


@given(st.binary(max_size=200))
def test_anyBytesAreALineOrNone(line: bytes) -> None:
    try:
        key = parseLine(line)
    except BadLine:
        return
    assert key is None or key.keyBlob


@given(st.binary(max_size=60))
def test_optionsNeverGetLost(options: bytes) -> None:
    """Whatever stands before a key: the key is refused, or the options were understood."""
    text = options.strip(b" \t")
    try:
        key = parseLine(options + b" " + KEY)
    except BadLine:
        return
    assert key is None or not text or key.options != KeyOptions() or key.line == 0
    if key is not None and text and b" " not in text and b"\t" not in text:
        names = {b"pty", b"agent-forwarding", b"port-forwarding", b"x11-forwarding", b"user-rc"}
        if key.options == KeyOptions():
            assert {name.lower() for name in text.split(b",")} <= names
