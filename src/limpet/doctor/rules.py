"""What the doctor knows of Conch: for each thing that an application does, what Limpet makes of it.

Rule: a sentence says what is otherwise and what to do. What is the same needs no rule; that a name
is missing is not told by a rule but by looking, in `reading`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass


class Verdict(enum.Enum):
    """What becomes of a use of Conch."""

    SAME = "same"
    DIFFERS = "differs"
    MISSING = "missing"


@dataclass(frozen=True)
class Rule:
    """What there is to say about one use."""

    verdict: Verdict
    advice: str


def _differs(advice: str) -> Rule:
    return Rule(Verdict.DIFFERS, advice)


def _missing(advice: str) -> Rule:
    return Rule(Verdict.MISSING, advice)


_OWN_STREAM = (
    "works; `currentEncryptions.encrypt` seals a whole packet with whatever was agreed on, and "
    "`getPacket` ends the connection itself where the peer breaks the protocol"
)
_KEX_STEP = _missing(
    "key exchanges are generators in `limpet.core.kex`; choose methods by `supportedKeyExchanges`"
)
_OWN_REQUESTS = _differs(
    "works; the client is offered no host-bound keys then, and the bounds of concurrent requests "
    "are the application's own"
)

MODULES: Mapping[str, Rule] = {
    "ssh._kex": _KEX_STEP,
    "ssh.sexpy": _differs("stays Twisted's; `limpet.ssh.keys` reads keys in LSH's form by itself"),
    "scripts": _differs(
        "stays Twisted's; the commands of Limpet are `limpet ssh`, `sftp`, `keygen`"
    ),
    "ui": _differs("stays Twisted's"),
}
"""Parts of Conch that Limpet does not replace but that need a word, below `twisted.conch`."""

NEEDS_INSTALL = _differs(
    "stays Twisted's and runs on Limpet only after `limpet.install_as_conch()`, or by "
    "`python -m limpet.conch`"
)
"""Of what is in `LOAD_CONCH`, in a program that imports Limpet by its own name."""

STAYS_CONCHS = _differs(
    "is Conch's own, beside others that are imported as Limpet's: import it from `limpet`, too, or "
    "call `limpet.install_as_conch()` first"
)
"""Of a module that Limpet replaces, in such a program."""

BEFORE_INSTALL = _differs(
    "is imported before `limpet.install_as_conch()` is called, which raises ConchAlreadyLoaded: "
    "call that first"
)
LOAD_CONCH = frozenset(("manhole_ssh", "manhole_tap", "scripts", "tap"))
"""What Twisted keeps and that imports parts of Conch which Limpet replaces."""

METHODS: Mapping[str, Mapping[str, Rule]] = {
    "ssh.transport": {
        "connectionSecure": _differs("called once per connection, not after every key exchange"),
        "verifyHostKey": _differs(
            "has to answer with something true; called for the first key exchange only"
        ),
        "dataReceived": _differs(_OWN_STREAM),
        "sendPacket": _differs(_OWN_STREAM),
        "getPacket": _missing("packets are opened by `core.packets`; override `dispatchMessage`"),
        "sendDisconnect": _differs("the words of a violation are Limpet's own"),
        "_newKeys": _differs("called when new keys are in use both ways"),
        "_keySetup": _differs("takes the shared secret in the encoding that was hashed"),
        **dict.fromkeys(
            (
                "_continueGEX_REPLY",
                "_continueKEXDH_REPLY",
                "_encodeECPublicKey",
                "_finishEphemeralDH",
                "_generateECPrivateKey",
                "_generateECSharedSecret",
                "_ssh_KEXDH_INIT",
                "_ssh_KEXDH_REPLY",
                "_ssh_KEX_ECDH_INIT",
                "_ssh_KEX_ECDH_REPLY",
                "_startEphemeralDH",
                "ssh_KEX_DH_GEX_INIT",
            ),
            _KEX_STEP,
        ),
        "ssh_KEX_DH_GEX_REQUEST": _differs(
            "may answer with a group of its own: set `dhGexRequest`, `g` and `p`; group exchange "
            "is in the profiles modern and legacy only"
        ),
    },
    "ssh.userauth": {
        "auth_publickey": _OWN_REQUESTS,
        "ssh_USERAUTH_REQUEST": _OWN_REQUESTS,
        "_pamAuthentication": _missing("let a checker take `IKeyboardInteractiveCredentials`"),
        "_pamConv": _differs("Limpet asks by `IKeyboardInteractiveCredentials.ask`"),
    },
    "ssh.connection": {
        "packetReceived": _differs("large CHANNEL_DATA comes as a memoryview unless overridden"),
    },
    "ssh.channel": {
        "startWriting": _differs("called when all that waits fits into the window"),
    },
    "ssh.session": {
        "dataReceived": _differs("input that comes before a program runs is kept apart from `buf`"),
    },
    "checkers": {
        "requestAvatarId": _differs("empty passwords are refused before a checker is asked"),
        "requireAvatarId": _differs("empty passwords are refused before a checker is asked"),
    },
}
"""Module of the class that is derived from, to the methods that a subclass may have of its own."""

ATTRIBUTES: Mapping[str, Mapping[str, Rule]] = {
    "ssh.transport": {
        "nextEncryptions": _missing("read `currentEncryptions`; keys are set by `core.packets`"),
        "dhSecretKey": _KEX_STEP,
        "dhSecretKeyPublicMP": _KEX_STEP,
        "ecPriv": _KEX_STEP,
        "ecPub": _KEX_STEP,
        "_dhMinimalGroupSize": _KEX_STEP,
        "_dhPreferredGroupSize": _KEX_STEP,
        "_dhMaximalGroupSize": _KEX_STEP,
        "first": _missing("the packet that is read in part is in `core.packets`"),
    },
    "ssh.userauth": {
        "loginTimeout": _differs("60 seconds unless set, from the connection's start"),
        "attemptsBeforeDisconnect": _differs(
            "6 unless set; key queries have a budget of their own"
        ),
    },
}
"""The same for what a subclass reads or sets of itself."""

CALLS: Mapping[str, Rule] = {
    "ssh.keys.Key.sign": _differs("an RSA key signs with SHA-512 unless `signatureType` says so"),
    "ssh.keys.Key.verify": _differs("SHA-1 signatures only where `signatureType` names them"),
    "ssh.transport.SSHCiphers._getCipher": _missing("`limpet.crypto.ciphers.makeBlockCipher`"),
    "ssh.transport.SSHCiphers._getMAC": _missing("`limpet.crypto.macs.Authenticator`"),
    "unix.SSHSessionForUnixConchUser": _differs(
        "programs become their user, the server's process does not; nothing is written to utmp"
    ),
    "ssh.keys.FingerprintFormats.lookupByName": _missing(
        "an `enum.Enum` here: `FingerprintFormats[name]`"
    ),
}
"""What is called or read by its full name."""

WEAK = re.compile(
    r"diffie-hellman-(group1-sha1|group14-sha1|group-exchange-sha1)|(aes\d+|3des|blowfish|cast128)"
    r"-cbc|hmac-(md5|sha1)(-96)?|ssh-dss"
)
WEAK_RULE = _differs(
    "is not offered unless it is asked for: a list on the transport or factory does, or "
    "`install_as_conch(algorithms='legacy')` for all"
)
"""Names of algorithms that are off by default."""

WEAK_RSA_RULE = _missing("RSA keys have 2048 bits at least")

TEXT_KEY_RULE = _differs("the key is text; names of channels, services and keys are bytes")
TEXT_KEYED = frozenset(
    ("channelLookup", "subsystemLookup", "services", "publicKeys", "privateKeys")
)
"""Dictionaries of Conch whose keys are bytes."""
