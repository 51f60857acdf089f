"""The authorized_keys file: which keys let a user in, and what each of them still forbids.

Rule: any doubt denies. A line whose options are not understood, whose quotes do not close or whose
key does not parse lets nobody in; it never becomes a line with fewer restrictions. Text is bytes,
lines end at a newline and nowhere else, and only space and tab separate.

    data ──▶ parseAuthorizedKeys ──▶ AuthorizedKey (keyBlob, options) …, and what is wrong, by line
    AuthorizedKey.check(address, now) ──▶ why it must not be used here, or None
    options.restrictions ──▶ Restrictions, which the session obeys; `&` takes what both allow

The form is that of sshd(8), AUTHORIZED_KEYS FILE FORMAT.
"""

from __future__ import annotations

import binascii
import datetime
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from limpet.core.patterns import matchAddressList
from limpet.crypto.keyformats import publicblob
from limpet.wire.errors import WireError
from limpet.wire.fields import Reader

MAX_FILE_LENGTH = 1024 * 1024
"""Longest file that is read, in bytes (ours)."""

MAX_LINES = 1000
"""Most lines that are looked at (ours); more make a file that is no longer one person's."""

MAX_LINE_LENGTH = 32768
"""Longest line, in bytes (ours): the largest key in Base64 takes 22 KiB."""

MAX_OPTIONS = 64
"""Most options of one line (ours)."""

MAX_COMMAND_LENGTH = 8192
"""Longest forced command, in bytes (ours)."""


# ── What a login may do ───────────────────────────────────────────────────────────────────────


class ConflictingRestrictions(ValueError):
    """Two factors force different commands, so that no session would obey both."""


@dataclass(frozen=True, slots=True)
class ForwardTarget:
    """One host and port that may be forwarded to, or listened on.

    Attributes:
        host: A host's name or address, which no pattern stands for (sshd(8)); b"*" for every host.
        port: The port, None for every port.
    """

    host: bytes
    port: int | None

    def allows(self, host: bytes, port: int) -> bool:
        """Whether `host` and `port` are as this says; names are compared without case."""
        isHost = self.host == b"*" or self.host.lower() == host.lower()
        return isHost and self.port in (None, port)


@dataclass(frozen=True, slots=True)
class Restrictions:
    """What the way a user logged in still allows. A default one restricts nothing.

    It never gives what the server's own policy withholds; `environment` in particular is a wish,
    and a server sets only what it would let a client set.

    Attributes:
        forcedCommand: Runs instead of what the client asks for; None where nothing is forced.
        allowPty: Whether a pseudo-terminal may be had.
        allowAgentForwarding: Whether an agent may be forwarded.
        allowPortForwarding: Whether TCP and Unix sockets may be forwarded at all.
        allowX11Forwarding: Whether X11 may be forwarded.
        allowUserRc: Whether the user's rc file is run.
        permitOpen: Where forwarding may lead: each group has to have a target that allows it. No
            groups allow everything, an empty group nothing.
        permitListen: Where may be listened for the client; likewise.
        environment: Variables to set, in order.
    """

    forcedCommand: bytes | None = None
    allowPty: bool = True
    allowAgentForwarding: bool = True
    allowPortForwarding: bool = True
    allowX11Forwarding: bool = True
    allowUserRc: bool = True
    permitOpen: tuple[tuple[ForwardTarget, ...], ...] = ()
    permitListen: tuple[tuple[ForwardTarget, ...], ...] = ()
    environment: tuple[tuple[bytes, bytes], ...] = ()

    def __and__(self, other: Restrictions) -> Restrictions:
        """What both allow.

        Raises:
            ConflictingRestrictions: Each forces another command.
        """
        commands = {c for c in (self.forcedCommand, other.forcedCommand) if c is not None}
        if len(commands) > 1:
            raise ConflictingRestrictions("two different forced commands")
        return Restrictions(
            forcedCommand=commands.pop() if commands else None,
            allowPty=self.allowPty and other.allowPty,
            allowAgentForwarding=self.allowAgentForwarding and other.allowAgentForwarding,
            allowPortForwarding=self.allowPortForwarding and other.allowPortForwarding,
            allowX11Forwarding=self.allowX11Forwarding and other.allowX11Forwarding,
            allowUserRc=self.allowUserRc and other.allowUserRc,
            permitOpen=self.permitOpen + other.permitOpen,
            permitListen=self.permitListen + other.permitListen,
            environment=self.environment + other.environment,
        )

    def mayOpen(self, host: bytes, port: int) -> bool:
        """Whether a connection may be forwarded to `host` and `port`."""
        return self.allowPortForwarding and _allowedByAll(self.permitOpen, host, port)

    def mayListen(self, host: bytes, port: int) -> bool:
        """Whether the server may listen on `host` and `port` for the client."""
        return self.allowPortForwarding and _allowedByAll(self.permitListen, host, port)


UNRESTRICTED = Restrictions()
"""What a login without any restriction has."""

RESTRICTED = Restrictions(
    allowPty=False,
    allowAgentForwarding=False,
    allowPortForwarding=False,
    allowX11Forwarding=False,
    allowUserRc=False,
)
"""What the option `restrict` leaves."""


def _allowedByAll(groups: tuple[tuple[ForwardTarget, ...], ...], host: bytes, port: int) -> bool:
    return all(any(target.allows(host, port) for target in group) for group in groups)


# ── A line ────────────────────────────────────────────────────────────────────────────────────


class BadLine(ValueError):
    """A line of an authorized_keys file that lets nobody in; the message says why."""


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """The options before a key, understood.

    Attributes:
        restrictions: What a session obeys.
        fromPatterns: Addresses that may use the key; each list has to match. Empty: every address.
        expiry: When the key ends, in seconds since 1970; None for never.
        isAuthority: Whether the key is not for logging in but signs certificates for it.
        principals: Which principals such a certificate may have; None for the user's own name.
        requireUserPresence: Whether a security key has to have been touched.
        requireUserVerification: Whether a security key has to have checked its user.
    """

    restrictions: Restrictions = UNRESTRICTED
    fromPatterns: tuple[bytes, ...] = ()
    expiry: float | None = None
    isAuthority: bool = False
    principals: tuple[bytes, ...] | None = None
    requireUserPresence: bool = True
    requireUserVerification: bool = False


@dataclass(frozen=True, slots=True)
class AuthorizedKey:
    """One key of the file.

    Attributes:
        keyType: The key's type, as its line and its blob say.
        keyBlob: The public key as in messages; equal blobs are equal keys.
        options: Its options.
        comment: What stands behind the key.
        line: The number of its line, from 1; 0 where it is not from a file.
    """

    keyType: bytes
    keyBlob: bytes
    options: KeyOptions = field(default_factory=KeyOptions)
    comment: bytes = b""
    line: int = 0

    def toLine(self) -> bytes:
        """The key as a line without its options: type, Base64, comment."""
        encoded = binascii.b2a_base64(self.keyBlob, newline=False)
        return b" ".join(part for part in (self.keyType, encoded, self.comment) if part)

    def check(self, address: str | None, now: float) -> str | None:
        """Why the key must not be used by a peer at `address` at the time `now`; None if it may.

        Args:
            address: The peer's numeric address; None if there is none, which fails every `from=`.
            now: Seconds since 1970.
        """
        expiry = self.options.expiry
        if expiry is not None and now >= expiry:
            return "the key has expired"
        for patterns in self.options.fromPatterns:
            if address is None or not matchAddressList(patterns, address):
                return "the key is not for use from this address"
        return None


def parseLine(text: bytes, number: int = 0) -> AuthorizedKey | None:
    """Read one line: [options] type key [comment]; None for an empty line or a comment.

    Raises:
        BadLine: It is neither, or it has an option that is not understood.
    """
    text = text.strip(_BLANKS)
    if not text or text.startswith(b"#"):
        return None
    if len(text) > MAX_LINE_LENGTH:
        raise BadLine("a line that is too long")
    for control in _CONTROLS:
        if control in text:
            raise BadLine("a line with a control character")
    word, rest = _firstWord(text)
    if word in publicblob.KEY_TYPES:
        options = KeyOptions()
        keyType = word
    else:
        end = _endOfOptions(text)
        options = _parseOptions(text[:end])
        keyType, rest = _firstWord(text[end:].lstrip(_BLANKS))
        if keyType not in publicblob.KEY_TYPES:
            raise BadLine("no type of key that is known")
    encoded, comment = _firstWord(rest)
    return AuthorizedKey(keyType, _parseBlob(keyType, encoded), options, comment, number)


_BLANKS = b" \t"
_CONTROLS = tuple(bytes((byte,)) for byte in (*range(9), *range(10, 32), 127))


def _firstWord(text: bytes) -> tuple[bytes, bytes]:
    for index, byte in enumerate(text):
        if byte in _BLANKS:
            return text[:index], text[index:].lstrip(_BLANKS)
    return text, b""


def _endOfOptions(text: bytes) -> int:
    """Where the options end: at the first blank that is not within quotes."""
    quoted = False
    skip = False
    for index, byte in enumerate(text):
        if skip:
            skip = False
        elif byte == 0x5C and text[index + 1 : index + 2] == b'"':
            skip = True
        elif byte == 0x22:
            quoted = not quoted
        elif not quoted and byte in _BLANKS:
            return index
    raise BadLine("quotes that do not close, or options without a key")


def _parseBlob(keyType: bytes, encoded: bytes) -> bytes:
    if not encoded:
        raise BadLine("a type without a key")
    if len(encoded) % 4:
        raise BadLine("a key whose Base64 is cut short, or goes on too long")
    try:
        blob = binascii.a2b_base64(encoded, strict_mode=True)
        named = Reader(blob).string()
    except (binascii.Error, WireError):
        raise BadLine("a key that is not Base64, or cut short") from None
    if named != keyType:
        raise BadLine("a key of another type than its line says")
    return blob


# ── Options ───────────────────────────────────────────────────────────────────────────────────


def _parseOptions(text: bytes) -> KeyOptions:
    options = KeyOptions()
    seen: set[bytes] = set()
    count = 0
    while True:
        name, value, text = _nextOption(text)
        count += 1
        if count > MAX_OPTIONS:
            raise BadLine("too many options")
        # Names of options are compared without case (sshd(8)).
        name = name.lower()
        if value is None:
            flag = _FLAGS.get(name)
            if flag is None:
                raise BadLine("an option that is not known, or lacks its value")
            options = flag(options)
        else:
            reader = _VALUES.get(name)
            if reader is None:
                raise BadLine("an option that is not known, or takes no value")
            if name in seen and name not in _REPEATABLE:
                raise BadLine("an option that is there twice")
            options = reader(options, value)
        seen.add(name)
        if not text:
            break
    if options.principals is not None and not options.isAuthority:
        raise BadLine("principals= without cert-authority")
    return options


def _nextOption(text: bytes) -> tuple[bytes, bytes | None, bytes]:
    """The first option's name, its value if it has one, and what follows its comma."""
    index = 0
    while index < len(text) and text[index] not in b'=,"':
        index += 1
    name = text[:index]
    if not name:
        raise BadLine("an option without a name")
    if text[index : index + 1] == b"=":
        if text[index + 1 : index + 2] != b'"':
            raise BadLine("an option whose value is not in quotes")
        value, index = _quoted(text, index + 2)
    else:
        value = None
    if index == len(text):
        return name, value, b""
    if text[index : index + 1] != b"," or index + 1 == len(text):
        raise BadLine("something other than a comma between options")
    return name, value, text[index + 1 :]


def _quoted(text: bytes, start: int) -> tuple[bytes, int]:
    """The text from `start` to its closing quote, `\\"` read as a quote, and where that ends."""
    pieces: list[bytes] = []
    at = start
    while True:
        end = text.find(b'"', at)
        if end < 0:
            raise BadLine("quotes that do not close")
        if end > at and text[end - 1] == 0x5C:
            pieces.append(text[at : end - 1] + b'"')
            at = end + 1
            continue
        pieces.append(text[at:end])
        return b"".join(pieces), end + 1


def _restrict(**changes: Any) -> Callable[[KeyOptions], KeyOptions]:
    def apply(options: KeyOptions) -> KeyOptions:
        return replace(options, restrictions=replace(options.restrictions, **changes))

    return apply


def _restrictAll(options: KeyOptions) -> KeyOptions:
    # Later options may give back what this takes: "restrict,pty". What came before stays taken.
    return replace(options, restrictions=options.restrictions & RESTRICTED)


def _command(options: KeyOptions, value: bytes) -> KeyOptions:
    if not value or len(value) > MAX_COMMAND_LENGTH:
        raise BadLine("a command that is empty or too long")
    return replace(options, restrictions=replace(options.restrictions, forcedCommand=value))


def _environment(options: KeyOptions, value: bytes) -> KeyOptions:
    name, equals, content = value.partition(b"=")
    if not equals or not name or not _isVariableName(name):
        raise BadLine("an environment= that is not NAME=value")
    environment = (*options.restrictions.environment, (name, content))
    return replace(options, restrictions=replace(options.restrictions, environment=environment))


def _isVariableName(name: bytes) -> bool:
    return (
        name.isascii()
        and not name[:1].isdigit()
        and all(byte == 0x5F or bytes((byte,)).isalnum() for byte in name)
    )


def _from(options: KeyOptions, value: bytes) -> KeyOptions:
    if not value or b",," in value or value.startswith(b",") or value.endswith(b","):
        raise BadLine("a from= with an empty pattern")
    return replace(options, fromPatterns=(*options.fromPatterns, value))


def _expiry(options: KeyOptions, value: bytes) -> KeyOptions:
    moment = parseExpiry(value)
    if moment is None:
        raise BadLine("an expiry-time= that is no time")
    return replace(options, expiry=moment)


def parseExpiry(text: bytes) -> float | None:
    """Seconds since 1970 for YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS; None for anything else.

    With a Z behind it the time is UTC, else the machine's own.
    """
    utc = text[-1:] in (b"Z", b"z")
    digits = text[:-1] if utc else text
    layout = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}.get(len(digits))
    if layout is None or not (digits.isascii() and digits.isdigit()):
        return None
    try:
        moment = datetime.datetime.strptime(digits.decode("ascii"), layout)
        return (moment.replace(tzinfo=datetime.UTC) if utc else moment.astimezone()).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _permitOpen(options: KeyOptions, value: bytes) -> KeyOptions:
    restrictions = options.restrictions
    target = _target(value, hostNeeded=True)
    group = (*(restrictions.permitOpen[0] if restrictions.permitOpen else ()), target)
    return replace(options, restrictions=replace(restrictions, permitOpen=(group,)))


def _permitListen(options: KeyOptions, value: bytes) -> KeyOptions:
    restrictions = options.restrictions
    target = _target(value, hostNeeded=False)
    group = (*(restrictions.permitListen[0] if restrictions.permitListen else ()), target)
    return replace(options, restrictions=replace(restrictions, permitListen=(group,)))


def _target(value: bytes, hostNeeded: bool) -> ForwardTarget:
    """host:port, [address]:port, or just port where a host is not needed."""
    if value.startswith(b"["):
        host, bracket, port = value[1:].partition(b"]:")
        if not bracket:
            raise BadLine("an address whose bracket does not close")
    else:
        host, colon, port = value.rpartition(b":")
        if not colon:
            if hostNeeded:
                raise BadLine("a permitopen= without a port")
            host = b"*"
        elif b":" in host:
            raise BadLine("an IPv6 address without brackets")
    if not host:
        raise BadLine("a target without a host")
    if port == b"*":
        return ForwardTarget(host, None)
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= 65535):
        raise BadLine("a port that is not 1 to 65535")
    return ForwardTarget(host, int(port))


def _principals(options: KeyOptions, value: bytes) -> KeyOptions:
    names = tuple(value.split(b","))
    if not all(names):
        raise BadLine("an empty principal")
    return replace(options, principals=names)


def _tunnel(options: KeyOptions, value: bytes) -> KeyOptions:
    # Says which tunnel device is used; there are no tunnels here, so nothing is left to restrict.
    return options


_FLAGS: dict[bytes, Callable[[KeyOptions], KeyOptions]] = {
    b"restrict": _restrictAll,
    b"pty": _restrict(allowPty=True),
    b"no-pty": _restrict(allowPty=False),
    b"agent-forwarding": _restrict(allowAgentForwarding=True),
    b"no-agent-forwarding": _restrict(allowAgentForwarding=False),
    b"port-forwarding": _restrict(allowPortForwarding=True),
    b"no-port-forwarding": _restrict(allowPortForwarding=False),
    b"x11-forwarding": _restrict(allowX11Forwarding=True),
    b"no-x11-forwarding": _restrict(allowX11Forwarding=False),
    b"user-rc": _restrict(allowUserRc=True),
    b"no-user-rc": _restrict(allowUserRc=False),
    b"cert-authority": lambda options: replace(options, isAuthority=True),
    b"no-touch-required": lambda options: replace(options, requireUserPresence=False),
    b"verify-required": lambda options: replace(options, requireUserVerification=True),
}

_VALUES: dict[bytes, Callable[[KeyOptions, bytes], KeyOptions]] = {
    b"command": _command,
    b"environment": _environment,
    b"from": _from,
    b"expiry-time": _expiry,
    b"permitopen": _permitOpen,
    b"permitlisten": _permitListen,
    b"principals": _principals,
    b"tunnel": _tunnel,
}

_REPEATABLE = frozenset({b"environment", b"permitopen", b"permitlisten"})


# ── The file ──────────────────────────────────────────────────────────────────────────────────


def parseAuthorizedKeys(data: bytes) -> tuple[list[AuthorizedKey], list[tuple[int, str]]]:
    """Read a whole file.

    Args:
        data: The file's content.

    Returns:
        Its keys in order; and for each line that lets nobody in, its number and what is wrong.

    Raises:
        BadLine: The file is longer than `MAX_FILE_LENGTH`; nothing of it is used.
    """
    if len(data) > MAX_FILE_LENGTH:
        raise BadLine(f"a file of more than {MAX_FILE_LENGTH} bytes")
    keys: list[AuthorizedKey] = []
    problems: list[tuple[int, str]] = []
    for number, text in enumerate(data.split(b"\n"), 1):
        if number > MAX_LINES:
            if text:
                problems.append((number, f"more than {MAX_LINES} lines; the rest is not used"))
            break
        try:
            # Files that were edited on Windows end their lines with CR LF.
            key = parseLine(text.removesuffix(b"\r"), number)
        except BadLine as error:
            problems.append((number, str(error)))
            continue
        if key is not None:
            keys.append(key)
    return keys, problems
