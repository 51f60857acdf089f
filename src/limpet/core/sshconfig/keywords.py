"""The keywords of ssh_config(5): how each one's value is read, and whether Limpet heeds it.

Rule: a keyword is in this table or it is an error. One that Limpet does not heed says here what
that means for the person who wrote it, and which values ask for nothing that Limpet does not do
anyway.

The table is OpenSSH 10's; `Host`, `Match`, `Include` and `IgnoreUnknown` steer the reading itself
and are handled where it is done.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from limpet.core.sshconfig import values
from limpet.core.sshconfig.values import BadValue, Reader, choice, many, one


class Support(enum.Enum):
    """What becomes of a keyword."""

    HEEDED = "heeded"
    COMFORT = "not heeded, and nothing but speed, comfort or one more way to log in is lost"
    MISSING = "not heeded, and the connection is another than was asked for"
    IDLE = "says nothing by itself: it is about what another keyword, or letter, would turn on"


@dataclass(frozen=True, slots=True)
class Keyword:
    """One keyword.

    Attributes:
        name: As ssh_config(5) writes it.
        read: Makes its value of a line's arguments.
        support: Whether Limpet heeds it.
        accumulates: Whether every line counts, not only the first.
        takesRest: Whether the value is the rest of the line as it stands, with quotes and all.
        harmless: Values, as text in lower case, that ask for nothing Limpet does not do.
    """

    name: str
    read: Reader
    support: Support = Support.HEEDED
    accumulates: bool = False
    takesRest: bool = False
    harmless: frozenset[str] = frozenset()


_text = one(values.text)
_texts = many(values.text)
_flag = one(values.flag)
_integer = one(values.integer)
_time = one(values.time)


def _rest(arguments: Sequence[str]) -> str:
    if not arguments or not arguments[0]:
        raise BadValue("the value is missing")
    return arguments[0]


def _level(text: str) -> str:
    name = choice(
        "QUIET",
        "FATAL",
        "ERROR",
        "INFO",
        "VERBOSE",
        "DEBUG1",
        "DEBUG2",
        "DEBUG3",
        debug="DEBUG1",
    )
    return name(text)


def _addKeys(arguments: Sequence[str]) -> tuple[str, int | None]:
    """(no, yes, ask or confirm; how long an agent keeps the key, in seconds)."""
    if not 1 <= len(arguments) <= 2:
        raise BadValue("write yes, no, ask, confirm, or a time")
    word = arguments[0].lower()
    names = {"yes": "yes", "true": "yes", "no": "no", "false": "no", "ask": "ask"}
    names["confirm"] = "confirm"
    if word not in names:
        if len(arguments) == 2:
            raise BadValue(f"{arguments[0]!r} is none of yes, no, ask, confirm")
        return "yes", values.time(word)
    if len(arguments) == 2 and word != "confirm":
        raise BadValue("only confirm takes a time behind it")
    return names[word], values.time(arguments[1]) if len(arguments) == 2 else None


def _forwardAgent(text: str) -> str:
    """yes, no, or the path (or $VARIABLE) of the agent."""
    return {"yes": "yes", "true": "yes", "no": "no", "false": "no"}.get(text.lower(), text)


def _algorithms(text: str) -> str:
    """A list of names with or without its sign; what is in it is judged where it is used."""
    if text.startswith("-"):
        body = text[1:]
    else:
        body = text[1:] if text[:1] in ("+", "^") else text
        if any(char in "*?!" for char in body):
            raise BadValue(f"{text!r}: patterns are for lists that begin with - only")
    if not body or not all(body.split(",")):
        raise BadValue(f"{text!r} is not a list of names joined by commas")
    return text


def _control(text: str) -> str:
    return choice("yes", "no", "ask", "auto", "autoask", true="yes", false="no")(text)


def _persist(text: str) -> int | None:
    """How many seconds a master goes on with nothing to do; 0 for ever, None not at all."""
    if text in ("no", "false"):
        return None
    return 0 if text in ("yes", "true") else values.time(text)


def _keystrokes(arguments: Sequence[str]) -> int:
    """The milliseconds between keystrokes on the wire; 0 for none."""
    if len(arguments) != 1:
        raise BadValue("write yes, no, or interval:milliseconds")
    word = arguments[0]
    known = {"yes": 20, "true": 20, "no": 0, "false": 0}
    if word in known:
        return known[word]
    digits = word.removeprefix("interval:")
    if digits == word or not (digits.isascii() and digits.isdigit() and 0 < int(digits) <= 1000):
        raise BadValue(f"{word!r} is none of yes, no, interval:20")
    return int(digits)


def _weakCrypto(arguments: Sequence[str]) -> bool:
    """Whether anything is to be warned of; of single warnings there is one, no-pq-kex."""
    if len(arguments) != 1:
        raise BadValue("write yes, no, or no-pq-kex")
    word = arguments[0].lower()
    if word not in ("yes", "true", "no", "false", "no-pq-kex"):
        raise BadValue(f"{arguments[0]!r} is none of yes, no, no-pq-kex")
    return word in ("yes", "true")


def _octal(text: str) -> int:
    try:
        mask = int(text, 8)
    except ValueError:
        mask = -1
    if not 0 <= mask <= 0o777:
        raise BadValue(f"{text!r} is not an octal mask such as 0177")
    return mask


def _table(*keywords: Keyword) -> dict[str, Keyword]:
    return {keyword.name.lower(): keyword for keyword in keywords}


def _comfort(name: str, read: Reader, *harmless: str, accumulates: bool = False) -> Keyword:
    return Keyword(
        name, read, Support.COMFORT, accumulates=accumulates, harmless=frozenset(harmless)
    )


def _idle(name: str, read: Reader) -> Keyword:
    return Keyword(name, read, Support.IDLE)


def _missing(name: str, read: Reader, *harmless: str, takesRest: bool = False) -> Keyword:
    return Keyword(name, read, Support.MISSING, takesRest=takesRest, harmless=frozenset(harmless))


_OFF = ("no", "false", "none")

KEYWORDS: dict[str, Keyword] = _table(
    # ── Where to, and how ──
    Keyword("HostName", _text),
    Keyword("Port", one(values.port)),
    Keyword("User", _text),
    Keyword("AddressFamily", one(choice("any", "inet", "inet6"))),
    Keyword("BindAddress", _text),
    Keyword("BindInterface", _text),
    Keyword("CanonicalizeHostname", one(choice("yes", "no", "always", true="yes", false="no"))),
    Keyword("CanonicalDomains", values.noneOrMany(values.domain)),
    Keyword("CanonicalizeMaxDots", _integer),
    Keyword("CanonicalizeFallbackLocal", _flag),
    Keyword("CanonicalizePermittedCNAMEs", values.noneOrMany(values.cnameRule)),
    Keyword("ConnectTimeout", one(values.timeOrNone)),
    Keyword("ConnectionAttempts", _integer),
    Keyword("TCPKeepAlive", _flag),
    Keyword("ServerAliveInterval", one(values.timeOrNone)),
    Keyword("ServerAliveCountMax", _integer),
    Keyword("ProxyJump", one(values.jumps)),
    Keyword("ProxyCommand", _rest, takesRest=True),
    Keyword("ProxyUseFdpass", _flag),
    Keyword("ControlMaster", one(_control)),
    Keyword("ControlPath", _text),
    Keyword("ControlPersist", one(_persist)),
    Keyword("IPQoS", values.trafficClasses),
    Keyword("VersionAddendum", _rest, takesRest=True),
    Keyword("Tag", _text),
    Keyword("RefuseConnection", _rest, takesRest=True),
    # Limpet's own: behind an IgnoreUnknown for it, `ssh` reads the same file.
    Keyword("LimpetMatchExec", _flag),
    # ── Algorithms ──
    Keyword("Ciphers", one(_algorithms)),
    Keyword("MACs", one(_algorithms)),
    Keyword("KexAlgorithms", one(_algorithms)),
    Keyword("HostKeyAlgorithms", one(_algorithms)),
    Keyword("PubkeyAcceptedAlgorithms", one(_algorithms)),
    Keyword("CASignatureAlgorithms", one(_algorithms)),
    Keyword("RequiredRSASize", _integer),
    Keyword("RekeyLimit", values.rekeyLimit),
    Keyword("Compression", one(lambda word: choice("yes", "no")(word) == "yes")),
    # ── Who the server is ──
    Keyword(
        "StrictHostKeyChecking",
        one(choice("yes", "no", "ask", "accept-new", true="yes", false="no", off="no")),
    ),
    Keyword("UserKnownHostsFile", _texts),
    Keyword("GlobalKnownHostsFile", _texts),
    Keyword("HashKnownHosts", _flag),
    Keyword("HostKeyAlias", _text),
    Keyword("CheckHostIP", _flag),
    Keyword("NoHostAuthenticationForLocalhost", _flag),
    Keyword("KnownHostsCommand", _rest, takesRest=True),
    Keyword("RevokedHostKeys", values.noneOrMany(values.text)),
    Keyword("FingerprintHash", one(choice("md5", "sha256"))),
    Keyword("VisualHostKey", _flag),
    Keyword("UpdateHostKeys", one(choice("yes", "no", "ask", true="yes", false="no"))),
    # ── Who we are ──
    Keyword("IdentityFile", _text, accumulates=True),
    Keyword("CertificateFile", _text, accumulates=True),
    Keyword("IdentitiesOnly", _flag),
    Keyword("IdentityAgent", _text),
    Keyword("AddKeysToAgent", _addKeys),
    Keyword("PreferredAuthentications", _text),
    Keyword(
        "PubkeyAuthentication",
        one(choice("yes", "no", "unbound", "host-bound", true="yes", false="no")),
    ),
    Keyword("PasswordAuthentication", _flag),
    Keyword("KbdInteractiveAuthentication", _flag),
    Keyword("KbdInteractiveDevices", _text),
    Keyword("NumberOfPasswordPrompts", _integer),
    Keyword("BatchMode", _flag),
    # ── The session ──
    Keyword("RequestTTY", one(choice("auto", "yes", "no", "force", true="yes", false="no"))),
    Keyword("SessionType", one(choice("default", "none", "subsystem"))),
    Keyword("RemoteCommand", _rest, takesRest=True),
    Keyword("SendEnv", _texts, accumulates=True),
    Keyword("SetEnv", values.assignments),
    Keyword("EscapeChar", one(values.escapeChar)),
    Keyword("EnableEscapeCommandline", _flag),
    Keyword("StdinNull", _flag),
    Keyword("ForkAfterAuthentication", _flag),
    Keyword("PermitLocalCommand", _flag),
    Keyword("LocalCommand", _rest, takesRest=True),
    Keyword("ChannelTimeout", values.noneOrMany(values.channelTimeout)),
    Keyword("LogLevel", one(_level)),
    Keyword("ObscureKeystrokeTiming", _keystrokes),
    Keyword("WarnWeakCrypto", _weakCrypto),
    # ── Forwarding ──
    Keyword("LocalForward", values.forward(remote=False), accumulates=True),
    Keyword("RemoteForward", values.forward(remote=True), accumulates=True),
    Keyword("DynamicForward", one(values.dynamicForward), accumulates=True),
    Keyword("ClearAllForwardings", _flag),
    Keyword("PermitRemoteOpen", values.permittedTargets),
    Keyword("ExitOnForwardFailure", _flag),
    Keyword("GatewayPorts", _flag),
    Keyword("ForwardAgent", one(_forwardAgent)),
    Keyword("StreamLocalBindUnlink", _flag),
    Keyword("StreamLocalBindMask", one(_octal)),
    # ── What is not heeded, and changes what the connection is ──
    _missing("ForwardX11", _flag, *_OFF),
    _missing("HostbasedAuthentication", _flag, *_OFF),
    _missing("PKCS11Provider", _text, "none"),
    _missing(
        "Tunnel",
        one(choice("yes", "no", "point-to-point", "ethernet", true="point-to-point", false="no")),
        *_OFF,
    ),
    _missing("VerifyHostKeyDNS", one(choice("yes", "no", "ask", true="yes", false="no")), *_OFF),
    # ── What is not heeded, and costs comfort only ──
    _comfort("GSSAPIAuthentication", _flag, *_OFF),
    _comfort("GSSAPIKeyExchange", _flag, *_OFF),
    _comfort("LogVerbose", _texts, "none"),
    _comfort("SecurityKeyProvider", _text),
    # ── What is about something that another keyword or letter would turn on ──
    _idle("EnableSSHKeysign", _flag),
    _idle("ForwardX11Timeout", _time),
    _idle("ForwardX11Trusted", _flag),
    _idle("GSSAPIClientIdentity", _text),
    _idle("GSSAPIDelegateCredentials", _flag),
    _idle("GSSAPIKexAlgorithms", _text),
    _idle("GSSAPIRenewalForcesRekey", _flag),
    _idle("GSSAPIServerIdentity", _text),
    _idle("GSSAPITrustDns", _flag),
    _idle("HostbasedAcceptedAlgorithms", one(_algorithms)),
    _idle(
        "SyslogFacility",
        one(choice("DAEMON", "USER", "AUTH", *(f"LOCAL{number}" for number in range(8)))),
    ),
    _idle("TunnelDevice", _text),
    _idle("XAuthLocation", _text),
)
"""Name in lower case to keyword."""

ALIASES: dict[str, str] = {
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "dsaauthentication": "pubkeyauthentication",
    "hostbasedkeytypes": "hostbasedacceptedalgorithms",
    "identityfile2": "identityfile",
    "keepalive": "tcpkeepalive",
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
    "skeyauthentication": "kbdinteractiveauthentication",
    "smartcarddevice": "pkcs11provider",
    "tisauthentication": "kbdinteractiveauthentication",
}
"""Older names of keywords that still stand in people's files."""

RETIRED = frozenset(
    {
        "afstokenpassing",
        "cipher",
        "compressionlevel",
        "fallbacktorsh",
        "globalknownhostsfile2",
        "kerberosauthentication",
        "kerberostgtpassing",
        "protocol",
        "rhostsauthentication",
        "rhostsrsaauthentication",
        "rsaauthentication",
        "useblacklistedkeys",
        "useprivilegedport",
        "userknownhostsfile2",
        "useroaming",
        "usersh",
    }
)
"""Keywords that OpenSSH itself reads and ignores."""


def readValue(keyword: Keyword, arguments: Sequence[str]) -> Any:
    """The value of a line.

    Raises:
        BadValue: The keyword does not take it.
    """
    return keyword.read(arguments)


def isHarmless(keyword: Keyword, arguments: Sequence[str]) -> bool:
    """Whether the line asks for nothing that Limpet does not do anyway."""
    return bool(arguments) and all(word.lower() in keyword.harmless for word in arguments)
