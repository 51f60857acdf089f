"""What the arguments of `limpet sftp` and `limpet cp` mean: the letters of sftp(1) and scp(1).

Rule: a letter that concerns the connection becomes a keyword of ssh_config(5) that goes before all
files, as in `limpet ssh`; the others are read here. Numbers are plain decimal digits.
"""

from __future__ import annotations

import getopt
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from limpet.client.errors import shown
from limpet.core.sshconfig import BadPlace, parseDestination, quoted
from limpet.wire.sftp import MAX_DATA_LENGTH

SFTP_LETTERS = "46AaCfhNpqrvVB:b:c:D:F:i:J:l:o:P:R:S:s:X:"
CP_LETTERS = "346ABChOpqRrsTvVc:D:F:i:J:l:o:P:S:X:"
CP_WORDS = ("help", "in-place", "links=", "resume", "sync", "verify")

SFTP_USAGE = """\
usage: limpet sftp [-46AaCfNpqrv] [-B buffer_size] [-b batchfile] [-c cipher]
                   [-D sftp_server_command] [-F ssh_config] [-i identity_file]
                   [-J destination] [-l limit] [-o ssh_option] [-P port] [-R num_requests]
                   [-s subsystem | sftp_server] [-X sftp_option] destination [local_path]

Copy files to and from another machine. The destination is [user@]host[:path] or
sftp://[user@]host[:port][/path]. The letters are those of sftp(1); docs/sftp-client.md says more.
"""

CP_USAGE = """\
usage: limpet cp [-346ABCpqrv] [-c cipher] [-D sftp_server_command] [-F ssh_config]
                 [-i identity_file] [-J destination] [-l limit] [-o ssh_option] [-P port]
                 [-X sftp_option] [--resume] [--verify] [--links=follow|copy|skip] [--sync]
                 [--in-place] source ... target

Copy files between machines. Source and target are local paths, [user@]host:[path], or
sftp://[user@]host[:port][/path]. The letters are those of scp(1); docs/sftp-client.md says more.
"""

MAX_DIGITS = 9

_KEYWORDS = {
    "-4": ("AddressFamily", "inet"),
    "-6": ("AddressFamily", "inet6"),
    "-A": ("ForwardAgent", "yes"),
    "-C": ("Compression", "yes"),
}
_KEYWORDS_WITH_VALUE = {"-c": "Ciphers", "-J": "ProxyJump"}
_LOUDNESS = ("DEBUG1", "DEBUG2", "DEBUG3")

ALWAYS = (
    ("ForwardAgent", "no"),
    ("ClearAllForwardings", "yes"),
    ("PermitLocalCommand", "no"),
    ("RemoteCommand", "none"),
    ("RequestTTY", "no"),
    ("SessionType", "subsystem"),
)
"""What holds for every file transfer, whatever the files say; sftp(1) passes the same to ssh."""


class Usage(Exception):
    """The arguments make no sense; the text says why, and is empty where there are none."""


@dataclass
class Place:
    """Where files are.

    Attributes:
        host: The host, as it was named; None for this machine.
        user: The user there, or None.
        port: The port, or None.
        path: The path, as bytes.
    """

    host: str | None
    path: bytes
    user: str | None = None
    port: int | None = None


@dataclass
class Transfer:
    """What was asked for.

    Attributes:
        places: Sources and target, or the destination.
        assigned: Keywords that letters assigned.
        inTurn: Keywords of -o, -i and -P, of which the first one counts.
        configFile: What -F named.
        copying: Fields of `CopyOptions`.
        recursive: Whether directories are copied.
        quiet: Whether nothing but errors is said.
        batch: The file of -b; "-" for standard input.
        command: What -D names.
        subsystem: What -s names.
        rate: Bytes per second (-l).
        requests: How many requests may be under way (-R).
        buffer: Bytes of one request (-B).
        help: Whether to print the usage.
    """

    places: list[Place] = field(default_factory=list)
    localPath: str | None = None
    assigned: dict[str, str] = field(default_factory=dict)
    inTurn: list[tuple[str, str]] = field(default_factory=list)
    configFile: str | None = None
    copying: dict[str, Any] = field(default_factory=dict)
    recursive: bool = False
    quiet: bool = False
    batch: str | None = None
    command: str | None = None
    subsystem: str = "sftp"
    rate: int | None = None
    requests: int | None = None
    buffer: int | None = None
    help: bool = False

    def overrides(self, place: Place) -> list[tuple[str, str]]:
        """The keywords for a connection to `place`."""
        keywords = [*self.assigned.items(), *self.inTurn]
        if place.user is not None:
            keywords.insert(0, ("User", quoted(place.user)))
        if place.port is not None:
            keywords.insert(0, ("Port", str(place.port)))
        return [*keywords, *ALWAYS]


def parseSFTP(arguments: Sequence[str]) -> Transfer:
    """Read the arguments of `limpet sftp`.

    Raises:
        Usage: They make no sense.
    """
    transfer = Transfer()
    rest = _options(transfer, arguments, SFTP_LETTERS, ("help",))
    if transfer.help:
        return transfer
    if len(rest) > 2:
        raise Usage(f"{shown(rest[2])}: only a destination and a local path can be given")
    if transfer.command is None and not rest:
        raise Usage("no host is named" if arguments else "")
    if transfer.command is not None and not rest:
        rest = [":"]
    place = parsePlace(rest[0]) if rest[0] != ":" else Place(None, b"")
    if place.host is None and transfer.command is None:
        place = parsePlace(rest[0] + ":")  # a host without a path
    transfer.places.append(place)
    if len(rest) > 1:
        transfer.localPath = rest[1]
    return transfer


def parseCp(arguments: Sequence[str]) -> Transfer:
    """Read the arguments of `limpet cp`.

    Raises:
        Usage: They make no sense.
    """
    transfer = Transfer()
    rest = _options(transfer, arguments, CP_LETTERS, CP_WORDS)
    if transfer.help:
        return transfer
    if len(rest) < 2:
        raise Usage("a source and a target are needed" if arguments else "")
    transfer.places = [parsePlace(text) for text in rest]
    return transfer


def _options(
    transfer: Transfer, arguments: Sequence[str], letters: str, words: Sequence[str]
) -> list[str]:
    """Take in the options, which may stand anywhere before `--`; return the rest."""
    try:
        options, rest = getopt.gnu_getopt(list(arguments), letters, list(words))
    except getopt.GetoptError as failure:
        raise Usage(str(failure)) from None
    loudness = 0
    for letter, value in options:
        if letter == "-v":
            loudness = min(loudness + 1, len(_LOUDNESS))
            transfer.assigned["LogLevel"] = _LOUDNESS[loudness - 1]
        elif letter in _KEYWORDS:
            keyword, setting = _KEYWORDS[letter]
            transfer.assigned[keyword] = setting
        elif letter in _KEYWORDS_WITH_VALUE:
            transfer.assigned[_KEYWORDS_WITH_VALUE[letter]] = value
        elif letter == "-B" and letters is CP_LETTERS:
            transfer.assigned["BatchMode"] = "yes"
        elif letter == "-R" and letters is CP_LETTERS:
            raise Usage("-R: hosts do not connect to one another; files go through here (-3)")
        else:
            _take(transfer, letter, value)
    return rest


def _take(transfer: Transfer, letter: str, value: str) -> None:
    copying = transfer.copying
    if letter in ("-h", "--help"):
        transfer.help = True
    elif letter in ("-a", "--resume"):
        copying["resume"] = True
    elif letter in ("-f", "--sync"):
        copying["sync"] = True
    elif letter in ("-V", "--verify"):
        copying["verify"] = True
    elif letter == "-p":
        copying["preserve"] = True
    elif letter == "-r":
        transfer.recursive = True
    elif letter == "--in-place":
        copying["atomic"] = False
    elif letter == "--links":
        if value not in ("follow", "copy", "skip"):
            raise Usage(f"--links={value}: write follow, copy or skip")
        copying["links"] = value
    elif letter == "-q":
        transfer.quiet = True
    elif letter == "-N":
        transfer.quiet = False
    elif letter == "-b":
        transfer.batch = value
    elif letter == "-D":
        transfer.command = value
    elif letter == "-F":
        transfer.configFile = value
    elif letter == "-i":
        transfer.inTurn.append(("IdentityFile", quoted(value)))
    elif letter == "-P":
        transfer.inTurn.append(("Port", value))
    elif letter == "-o":
        transfer.inTurn.append(keyword(value))
    elif letter == "-s":
        transfer.subsystem = value or "sftp"
    elif letter == "-l":
        transfer.rate = number(letter, value) * 1000 // 8
    elif letter == "-R":
        transfer.requests = number(letter, value)
    elif letter == "-B":
        transfer.buffer = min(number(letter, value), MAX_DATA_LENGTH)
    elif letter == "-X":
        name, _, text = value.partition("=")
        if name == "nrequests":
            transfer.requests = number(f"-X {name}", text)
        elif name == "buffer":
            transfer.buffer = min(number(f"-X {name}", text), MAX_DATA_LENGTH)
        else:
            raise Usage(f"-X {value}: write nrequests=NUMBER or buffer=BYTES")
    elif letter == "-O":
        raise Usage("-O: the protocol of the old scp is not spoken; leave it out")
    elif letter == "-S":
        raise Usage("-S: no other program makes the connection; a ProxyCommand may (-o)")


def number(letter: str, text: str) -> int:
    """A positive number in plain digits."""
    isPlain = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
    if not isPlain or int(text) == 0:
        raise Usage(f"{letter} {text!r}: write a number of at least 1")
    return int(text)


def keyword(text: str) -> tuple[str, str]:
    """KEYWORD=value or KEYWORD value, as in ssh_config(5)."""
    found = re.match(r"\s*([^\s=]+)(?:\s*=\s*|\s+)(.*\S)\s*\Z", text, re.DOTALL)
    if found is None:
        raise Usage(f"-o {text!r}: write KEYWORD=value")
    return found[1], found[2]


def parsePlace(text: str) -> Place:
    """A local path, [user@]host:path, or sftp://[user@]host[:port][/path]; scp:// as well.

    Raises:
        Usage: It names no host that there could be.
    """
    for scheme in ("sftp://", "scp://"):
        if text.startswith(scheme):
            authority, slash, path = text[len(scheme) :].partition("/")
            found = _destination("ssh://" + authority, text)
            return Place(found.host, _unescaped(path), found.user, found.port)
    # A path that begins before any colon is local: ./a:b is a file.
    found = re.match(r"(?:([^/:]*)@)?(\[[^]/]+\]|[^/:@]+):(.*)\Z", text, re.DOTALL)
    if found is None:
        if text.startswith(":") and text != ":":
            raise Usage(f"'{shown(text)}' names no host before the colon")
        return Place(None, text.encode("utf-8", "surrogateescape"))
    user, host, path = found.groups()
    place = _destination(host if user is None else f"{user}@{host}", text)
    return Place(place.host, path.encode("utf-8", "surrogateescape"), place.user, place.port)


def _destination(text: str, whole: str) -> Any:
    try:
        return parseDestination(text)
    except BadPlace as failure:
        raise Usage(f"'{shown(whole)}': {failure}") from None


def _unescaped(path: str) -> bytes:
    """The path of a URI, whose %XX are bytes."""
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(path)
