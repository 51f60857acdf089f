"""What a peer may send when: one table, phase by phase, for what each role receives.

Rule: a number that a phase's row does not name is a violation or is answered with
MSG_UNIMPLEMENTED, by that phase's own word. No message handler decides this for itself, so that
skipping authentication, injecting messages into a key exchange and speaking in the wrong role are
not guarded against here and there but cannot be written (RFC 4253 sections 7 to 10, RFC 4252
section 5.1, RFC 8308 section 2.4; strict key exchange: OpenSSH's PROTOCOL section 1.10).

    KEXINIT ─ 20 ─▶ EXCHANGE ─ method done ─▶ NEWKEYS ─ 21 ─▶ SERVICE ─ 5/6 ─▶ AUTHENTICATION
                                                                                   │ 52
    REKEY_NEWKEYS ◀─ method done ─ REKEY_EXCHANGE ◀─ 20 ─ CONNECTION or APPLICATION ◀┘
          └────────────────────────── 21 ────────────────────────▲
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping

from limpet.wire import numbers as n


class Phase(enum.Enum):
    """Where a connection stands, as far as the peer's next message is concerned."""

    KEXINIT = "waiting for the first MSG_KEXINIT"
    EXCHANGE = "in the first key exchange, strict"
    EXCHANGE_LENIENT = "in the first key exchange"
    NEWKEYS = "waiting for the first MSG_NEWKEYS, strict"
    NEWKEYS_LENIENT = "waiting for the first MSG_NEWKEYS"
    SERVICE = "waiting for a service"
    AUTHENTICATION = "authenticating"
    CONNECTION = "in the connection protocol"
    APPLICATION = "in an application's own service"
    REKEY_EXCHANGE = "in a repeated key exchange"
    REKEY_NEWKEYS = "waiting for MSG_NEWKEYS of a repeated key exchange"


class Verdict(enum.IntEnum):
    """What becomes of a message that arrived."""

    VIOLATION = 0
    """The connection ends."""

    ACCEPT = 1
    """It goes to its handler."""

    UNIMPLEMENTED = 2
    """It is answered with MSG_UNIMPLEMENTED and goes nowhere (RFC 4253 section 11.4)."""

    IGNORE = 3
    """It goes nowhere, in silence."""


_ALWAYS = (n.MSG_DISCONNECT,)
_CHATTER = (n.MSG_IGNORE, n.MSG_UNIMPLEMENTED, n.MSG_DEBUG)
_METHOD = range(30, 35)  # what the methods that we have use of 30 to 49
_CONNECTION = (*range(80, 83), *range(90, 101))
_PINGS = (n.MSG_PING, n.MSG_PONG)

# Numbers to which RFC 4250 section 4.1.2 and OpenSSH give a meaning that we know. One of these out
# of place is a violation; any other is merely something that we do not implement.
_KNOWN = frozenset(
    (*range(1, 8), n.MSG_KEXINIT, n.MSG_NEWKEYS, *range(30, 50), *range(50, 54), *range(60, 80))
) | frozenset(_CONNECTION + _PINGS)


def _row(
    accept: Iterable[int],
    *,
    ignore: Iterable[int] = (),
    otherwise: Verdict = Verdict.VIOLATION,
    unknown: Verdict = Verdict.VIOLATION,
) -> tuple[Verdict, ...]:
    """One row: a verdict for each number 0 .. 255.

    Args:
        accept: Numbers that go to their handlers; MSG_DISCONNECT always does.
        ignore: Numbers that are dropped in silence.
        otherwise: What becomes of a number that we know and that is not listed.
        unknown: What becomes of a number without a meaning.
    """
    row = [otherwise if number in _KNOWN else unknown for number in range(256)]
    for number in ignore:
        row[number] = Verdict.IGNORE
    for number in (*_ALWAYS, *accept):
        row[number] = Verdict.ACCEPT
    row[0] = Verdict.VIOLATION
    return tuple(row)


def _both(row: tuple[Verdict, ...]) -> dict[bool, tuple[Verdict, ...]]:
    return {False: row, True: row}


_UNKNOWN = Verdict.UNIMPLEMENTED

PHASES: Mapping[Phase, Mapping[bool, tuple[Verdict, ...]]] = {
    # Nothing but the one message that is due. Before the peer's MSG_KEXINIT it is not known whether
    # it asks for strictness, and no peer has a reason to chatter before it.
    Phase.KEXINIT: _both(_row([n.MSG_KEXINIT])),
    Phase.EXCHANGE: _both(_row(_METHOD)),
    Phase.EXCHANGE_LENIENT: _both(_row([*_METHOD, *_CHATTER])),
    Phase.NEWKEYS: _both(_row([n.MSG_NEWKEYS])),
    Phase.NEWKEYS_LENIENT: _both(_row([n.MSG_NEWKEYS, *_CHATTER])),
    # False is what a server receives, True what a client receives.
    Phase.SERVICE: {
        False: _row([n.MSG_SERVICE_REQUEST, n.MSG_EXT_INFO, *_CHATTER], unknown=_UNKNOWN),
        True: _row([n.MSG_SERVICE_ACCEPT, n.MSG_EXT_INFO, *_CHATTER], unknown=_UNKNOWN),
    },
    Phase.AUTHENTICATION: {
        # 61 and 63, 65 … are a client's answers within a method; 60, 62 … a server's.
        False: _row(
            [
                n.MSG_USERAUTH_REQUEST,
                n.MSG_USERAUTH_INFO_RESPONSE,
                n.MSG_SERVICE_REQUEST,
                *_CHATTER,
            ],
            unknown=_UNKNOWN,
        ),
        True: _row(
            [
                n.MSG_USERAUTH_FAILURE,
                n.MSG_USERAUTH_SUCCESS,
                n.MSG_USERAUTH_BANNER,
                n.MSG_USERAUTH_PK_OK,
                n.MSG_EXT_INFO,
                *_CHATTER,
            ],
            unknown=_UNKNOWN,
        ),
    },
    Phase.CONNECTION: {
        # A client may have sent requests before it saw the success (RFC 4252 section 5.1).
        False: _row(
            [*_CONNECTION, n.MSG_KEXINIT, *_PINGS, *_CHATTER],
            ignore=[n.MSG_USERAUTH_REQUEST],
            unknown=_UNKNOWN,
        ),
        # OpenSSH sends a banner late when PAM has something to say after the success.
        True: _row(
            [*_CONNECTION, n.MSG_KEXINIT, *_PINGS, *_CHATTER],
            ignore=[n.MSG_USERAUTH_BANNER],
            unknown=_UNKNOWN,
        ),
    },
    # A service that an application brought: its own numbers are for it to judge.
    Phase.APPLICATION: _both(
        _row([n.MSG_KEXINIT, *_CHATTER, *range(50, 256)], unknown=_UNKNOWN),
    ),
    Phase.REKEY_EXCHANGE: _both(_row([*_METHOD, *_CHATTER])),
    Phase.REKEY_NEWKEYS: _both(_row([n.MSG_NEWKEYS, *_CHATTER])),
}
"""Phase → whether it is a client that receives → message number → what becomes of it."""

SERVICE_PHASES: Mapping[bytes, Phase] = {
    b"ssh-userauth": Phase.AUTHENTICATION,
    b"ssh-connection": Phase.CONNECTION,
}
"""The phase that a service of this name begins; any other name begins `Phase.APPLICATION`."""

HELD_DURING_EXCHANGE = tuple(
    number not in (n.MSG_DISCONNECT, n.MSG_KEXINIT, n.MSG_NEWKEYS) and number not in _METHOD
    for number in range(256)
)
"""Number → whether we hold it back from our MSG_KEXINIT until new keys are in use.

RFC 4253 section 7.1 allows messages 2 to 4 in between; a strict key exchange does not, and OpenSSH
from 10.4 on ends a connection that speaks of other things in the meantime. So we are silent.
"""
