"""What the arguments of `limpet ssh` mean: the letters of ssh(1), turned into keywords.

Rule: a letter is a keyword of ssh_config(5) that goes before all files, so that there is one place
where a setting has its meaning. As in ssh, most letters assign: the last one counts, whatever -o
says. Only -l, -p and -o take turns: of these the first one counts. A letter that Limpet has no use
for is refused by name, or, where nothing but comfort is lost, told.
"""

from __future__ import annotations

import getopt
from collections.abc import Sequence
from dataclasses import dataclass, field

from limpet.core.sshconfig import (
    BadPlace,
    ForwardSpec,
    checkUser,
    parseDestination,
    parseForward,
    quoted,
)

LETTERS = "1246ab:c:e:fgi:kl:m:no:p:qstvxAB:CD:E:F:GI:J:KL:MNO:P:Q:R:S:TVw:W:XYy"  # those of ssh(1)

USAGE = """\
usage: limpet ssh [-46AaCfGgMNnqsTtVv] [-B bind_interface] [-b bind_address] [-c cipher_spec]
                  [-D [bind_address:]port] [-E log_file] [-e escape_char] [-F configfile]
                  [-i identity_file] [-J destination] [-L address] [-l login_name] [-m mac_spec]
                  [-O ctl_cmd] [-o option] [-p port] [-Q query_option] [-R address]
                  [-S ctl_path] [-W host:port]
                  destination [command [argument ...]]

Log in on another machine, or run a command there. The letters are those of ssh(1), and ssh_config
and known_hosts files are read; docs/ssh.md says what is different.
"""

_KEYWORDS = {
    "-4": ("AddressFamily", "inet"),
    "-6": ("AddressFamily", "inet6"),
    "-A": ("ForwardAgent", "yes"),
    "-a": ("ForwardAgent", "no"),
    "-C": ("Compression", "yes"),
    "-g": ("GatewayPorts", "yes"),
    "-k": ("GSSAPIDelegateCredentials", "no"),
    "-N": ("SessionType", "none"),
    "-n": ("StdinNull", "yes"),
    "-q": ("LogLevel", "QUIET"),
    "-s": ("SessionType", "subsystem"),
    "-T": ("RequestTTY", "no"),
}
"""Letters without a value that are a keyword with one."""

_KEYWORDS_WITH_VALUE = {
    "-B": "BindInterface",
    "-b": "BindAddress",
    "-c": "Ciphers",
    "-e": "EscapeChar",
    "-J": "ProxyJump",
    "-m": "MACs",
    "-P": "Tag",
    "-S": "ControlPath",
}
"""Letters whose value is that of a keyword."""

_IN_TURN = {"-i": "IdentityFile", "-l": "User", "-p": "Port"}
"""The same, where an earlier -o may have said it already, or where all of them count."""

_REFUSED = {
    "-1": "version 1 of the protocol is not safe, and is not spoken",
    "-I": "keys on a token (PKCS#11) cannot be used; an agent that has them can",
    "-w": "networks are not tunnelled (Tunnel)",
}
"""Letters that ask for something that is not there, and why nothing takes their place."""

_WITHOUT_EFFECT = {
    "-K": "GSSAPI is not available; going on without it (-K)",
    "-X": "X11 is not forwarded (-X)",
    "-Y": "X11 is not forwarded (-Y)",
    "-y": "messages go to standard error, not to the system's log (-y)",
}
"""Letters without which the session still is what was asked for, and what to say."""

_SILENT = frozenset({"-2", "-x"})
"""Letters that ask for what is the case anyway."""

CONTROL_COMMANDS = ("check", "exit", "stop", "forward", "cancel")
"""What -O takes."""

_LOUDNESS = ("DEBUG1", "DEBUG2", "DEBUG3")


_FOR_FORWARD = (
    ("SessionType", "none"),
    ("RequestTTY", "no"),
    ("ExitOnForwardFailure", "yes"),
    ("ClearAllForwardings", "yes"),
)
"""What -W goes with."""


class Usage(Exception):
    """The arguments make no sense; the text says why, and is empty where there are none."""


@dataclass
class Invocation:
    """What was asked for.

    Attributes:
        host: The host, as it was named.
        overrides: Keywords and values that go before all files.
        configFile: What -F named; "none" reads no file.
        command: The command, joined by blanks; None for none.
        logFile: Where messages go; None for standard error.
        forwardTo: What standard input and output are connected to (-W): host and port.
        showsConfig: Whether to print the configuration, and end (-G).
        showsVersion: Whether to print the version, and end (-V).
        query: The kind of algorithms to print (-Q).
        control: What to ask of a master (-O).
        localForwards: What -L asked for; likewise for -R and -D.
        notices: What to tell.
    """

    host: str = ""
    overrides: list[tuple[str, str]] = field(default_factory=list)
    configFile: str | None = None
    command: str | None = None
    logFile: str | None = None
    forwardTo: tuple[str, int] | None = None
    showsConfig: bool = False
    showsVersion: bool = False
    query: str | None = None
    control: str | None = None
    localForwards: list[ForwardSpec] = field(default_factory=list)
    remoteForwards: list[ForwardSpec] = field(default_factory=list)
    dynamicForwards: list[ForwardSpec] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def parse(arguments: Sequence[str]) -> Invocation:
    """Read the arguments as ssh(1) does: options, the destination, more options, the command.

    Raises:
        Usage: They make no sense.
    """
    invocation = Invocation()
    reader = _Reader(invocation)
    rest = reader.readOptions(list(arguments))
    if rest:
        destination, rest = rest[0], rest[1:]
        # Behind the destination options may follow, but "--" there belongs to the command's side.
        rest = reader.readOptions(rest)
        reader.setDestination(destination)
    elif not (invocation.showsVersion or invocation.query):
        raise Usage("no host is named" if arguments else "")
    if rest:
        invocation.command = " ".join(rest)
    reader.finish()
    return invocation


class _Reader:
    """Gathers what the letters say."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._loudness = 0
        # What letters assigned, the last one of each; and what -o and its like say, in turn.
        self._assigned: dict[str, str] = {}
        self._inTurn: list[tuple[str, str]] = []

    def readOptions(self, arguments: list[str]) -> list[str]:
        """Take the options off the front."""
        try:
            options, rest = getopt.getopt(arguments, LETTERS)
        except getopt.GetoptError as failure:
            raise Usage(str(failure)) from None
        for letter, value in options:
            self._take(letter, value)
        return rest

    def _take(self, letter: str, value: str) -> None:
        invocation = self._invocation
        if letter in _REFUSED:
            raise Usage(f"{letter}: {_REFUSED[letter]}")
        if letter in _KEYWORDS:
            self._assign(*_KEYWORDS[letter])
        elif letter in _KEYWORDS_WITH_VALUE:
            self._assign(_KEYWORDS_WITH_VALUE[letter], quoted(value))
        elif letter in _IN_TURN:
            self._inTurn.append((_IN_TURN[letter], quoted(value)))
        elif letter == "-o":
            self._inTurn.append(_keyword(value))
        elif letter in _WITHOUT_EFFECT:
            invocation.notices.append(_WITHOUT_EFFECT[letter])
        elif letter == "-v":
            self._loudness = min(self._loudness + 1, len(_LOUDNESS))
            self._assign("LogLevel", _LOUDNESS[self._loudness - 1])
        elif letter == "-M":
            again = self._assigned.get("ControlMaster") == "yes"
            self._assign("ControlMaster", "ask" if again else "yes")
        elif letter == "-t":
            again = self._assigned.get("RequestTTY") in ("yes", "force")
            self._assign("RequestTTY", "force" if again else "yes")
        elif letter in ("-D", "-L", "-R"):
            self._takeForward(letter, value)
        elif letter == "-W":
            invocation.forwardTo = _hostAndPort(value)
        elif letter == "-E":
            invocation.logFile = value
        elif letter == "-F":
            invocation.configFile = value
        elif letter == "-f":
            self._assign("ForkAfterAuthentication", "yes")
            self._assign("StdinNull", "yes")
        elif letter == "-G":
            invocation.showsConfig = True
        elif letter == "-V":
            invocation.showsVersion = True
        elif letter == "-Q":
            invocation.query = value
        elif letter == "-O":
            if value not in CONTROL_COMMANDS:
                raise Usage(f"-O: {value!r} is none of {', '.join(CONTROL_COMMANDS)}")
            invocation.control = value

    def _takeForward(self, letter: str, value: str) -> None:
        invocation = self._invocation
        lists = {
            "-D": invocation.dynamicForwards,
            "-L": invocation.localForwards,
            "-R": invocation.remoteForwards,
        }
        try:
            lists[letter].append(parseForward(value, dynamic=letter == "-D", remote=letter == "-R"))
        except BadPlace as failure:
            raise Usage(f"{letter}: {failure}") from None

    def _assign(self, keyword: str, value: str) -> None:
        before = self._assigned.get(keyword)
        if keyword == "SessionType" and before not in (None, value):
            raise Usage("-N and -s ask for different things")
        if keyword == "ProxyJump" and before is not None:
            raise Usage("-J is given once; several hosts are joined by commas")
        self._assigned[keyword] = value

    def setDestination(self, text: str) -> None:
        """Take [user@]host or ssh://[user@]host[:port]."""
        try:
            place = parseDestination(text)
            for keyword, value in self._inTurn:
                if keyword == "User":
                    checkUser(value)
        except BadPlace as failure:
            raise Usage(str(failure)) from None
        self._invocation.host = place.host
        if place.user is not None:
            self._inTurn.append(("User", quoted(place.user)))
        if place.port is not None:
            self._inTurn.append(("Port", str(place.port)))

    def finish(self) -> None:
        """Put together the keywords."""
        if self._invocation.forwardTo is not None:
            for keyword, value in _FOR_FORWARD:
                self._assign(keyword, value)
        self._invocation.overrides = [*self._assigned.items(), *self._inTurn]


def _keyword(text: str) -> tuple[str, str]:
    """KEYWORD=value or KEYWORD value, as in the file."""
    bare = text.strip()
    name = bare.split("=", 1)[0].split(None, 1)[0] if bare else ""
    value = bare[len(name) :].strip()
    if value.startswith("="):
        value = value[1:].strip()
    if not name or not value:
        raise Usage(f"-o {text!r}: write KEYWORD=value")
    return name, value


def _hostAndPort(text: str) -> tuple[str, int]:
    """HOST:PORT, an IPv6 address in brackets."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise Usage(f"-W {text!r}: write HOST:PORT, an IPv6 address in brackets")
    return host, int(port)
