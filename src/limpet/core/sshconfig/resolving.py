"""From the lines of configuration files to the settings for one host (ssh_config(5)).

Rule: for each keyword the first value counts, so files are read in order of precedence: what was
given on the command line, the user's file, the system's. Every line is read and judged, also in a
block that does not apply.

Reading files, running commands and looking at the machine belong to whoever calls: the `World`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from limpet.core.patterns import (
    MAX_PATTERN_LENGTH,
    MAX_PATTERNS,
    matchPattern,
    matchPatternList,
    parseAddress,
)
from limpet.core.sshconfig.keywords import (
    ALIASES,
    KEYWORDS,
    RETIRED,
    Keyword,
    Support,
    isHarmless,
    readValue,
)
from limpet.core.sshconfig.lines import (
    COMMAND_LINE,
    MAX_FILE_LENGTH,
    Source,
    splitArguments,
    splitLine,
)
from limpet.core.sshconfig.tokens import BadToken, expand
from limpet.core.sshconfig.values import BadValue

MAX_INCLUDE_DEPTH = 16
"""How deep files may include each other (OpenSSH's READCONF_MAX_DEPTH)."""

MAX_INCLUDED_FILES = 512
"""Most files that are read for one host (ours; what bounds depth alone lets sixteen levels double
at each)."""


@dataclass(frozen=True, slots=True)
class IncludedFile:
    """A file that an Include led to: its name, and its text."""

    name: str
    text: str


class World(Protocol):
    """What reading a configuration needs from outside."""

    @property
    def version(self) -> str:
        """What `Match version` is held against: the name of the program, and its version."""

    def include(self, pattern: str, source: Source, settings: Settings) -> Iterable[IncludedFile]:
        """The files that an argument of Include names, in order; none where there are none.

        Raises:
            BadConfig: One of them cannot be read, or a token in the argument has no meaning.
        """

    def localAddresses(self) -> Iterable[str]:
        """The numeric addresses of this machine's interfaces that are up."""

    def matchExec(self, command: str, source: Source, settings: Settings) -> bool | None:
        """Whether the command of a `Match exec` succeeds; None where it is not run.

        Raises:
            BadConfig: It cannot be run.
        """


@dataclass(frozen=True, slots=True)
class Setting:
    """One value, and where it comes from.

    Attributes:
        value: What the keyword's reader made of the line.
        arguments: The line's arguments as written, free of quotes.
        source: Where it stands.
    """

    value: Any
    arguments: tuple[str, ...]
    source: Source


@dataclass(slots=True)
class Settings:
    """What has been found for one host.

    Attributes:
        originalHost: The host as it was asked for.
        host: The name that `Host` patterns are held against: the same at first, and in the final
            pass what HostName made of it.
        localUser: The name of the user on this machine.
        command: The command or the subsystem that was asked for beside the configuration; "" for
            none.
        values: Keyword in lower case to what was found for it, at least one each.
        warnings: What was asked for and is not done, with file and line.
        notes: The same where nothing but comfort is lost.
        wantsFinalPass: Whether a `Match final` asked for the files to be read once more.
    """

    originalHost: str
    localUser: str
    command: str = ""
    host: str = ""
    values: dict[str, list[Setting]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    wantsFinalPass: bool = False

    def __post_init__(self) -> None:
        self.host = self.host or self.originalHost

    def get(self, keyword: str, default: Any = None) -> Any:
        """The value of a keyword, in lower case, that does not accumulate."""
        found = self.values.get(keyword)
        return found[0].value if found else default

    def all(self, keyword: str) -> list[Any]:
        """All values of a keyword."""
        return [setting.value for setting in self.values.get(keyword, ())]

    def source(self, keyword: str) -> Source:
        """Where the value of a keyword that was found comes from."""
        return self.values[keyword][0].source

    def user(self) -> str:
        """Who is to log in, as far as it is known."""
        return str(self.get("user", self.localUser))

    def targetHost(self) -> str:
        """The host that will be connected to, as far as it is known."""
        name = self.get("hostname")
        if name is None:
            return self.host
        try:
            return expand(name, {"h": self.host})
        except BadToken as failure:
            raise self.source("hostname").error(f"HostName: {failure}") from None


class Resolver:
    """Reads options and files into `settings`.

    Args:
        settings: The host, and where what is found goes.
        world: Files and commands.
    """

    def __init__(self, settings: Settings, world: World) -> None:
        self.settings = settings
        self._world = world
        self._final = False
        self._files = 0

    def addOption(self, keyword: str, value: str) -> None:
        """An option of the command line; those added first win.

        Raises:
            BadConfig: It is not one.
        """
        self._line(keyword, value, COMMAND_LINE, True, 0)

    def readFile(self, name: str, text: str, system: bool = False) -> None:
        """A whole file.

        Raises:
            BadConfig: Something in it, or in what it includes, cannot be used.
        """
        self._readFile(name, text, system, True, 0)

    def startFinalPass(self, found: str | None = None) -> None:
        """The files will be read once more, under the name that was found.

        Args:
            found: The name, where more than HostName had a say in it.
        """
        if found is None:
            found = self.settings.targetHost()
        self.settings.host = found
        # What HostName says has been found out; its tokens are not put in twice.
        literal = found.replace("%", "%%")
        self.settings.values["hostname"] = [Setting(literal, (literal,), COMMAND_LINE)]
        self._final = True
        self._files = 0

    def _readFile(self, name: str, text: str, system: bool, applies: bool, depth: int) -> None:
        self._files += 1
        whole = Source(name, 0, system)
        if self._files > MAX_INCLUDED_FILES:
            raise whole.error(f"more than {MAX_INCLUDED_FILES} files are included")
        if len(text) > MAX_FILE_LENGTH:
            raise whole.error(f"more than {MAX_FILE_LENGTH} characters")
        active = applies
        for number, line in enumerate(text.split("\n"), 1):
            source = Source(name, number, system)
            split = splitLine(line, source)
            if split is None:
                continue
            keyword, rest = split
            kind = keyword.lower()
            if kind == "host":
                # Judged also where the file as a whole does not apply, for its mistakes.
                active = self._host(splitArguments(rest, source), source) and applies
            elif kind == "match":
                active = self._match(splitArguments(rest, source), source, applies)
            else:
                self._line(keyword, rest, source, active, depth)

    def _line(self, word: str, rest: str, source: Source, active: bool, depth: int) -> None:
        kind = ALIASES.get(word.lower(), word.lower())
        if kind in ("host", "match"):
            raise source.error(f"{word} stands in files only")
        if kind == "include":
            self._include(splitArguments(rest, source), source, active, depth)
            return
        if kind == "ignoreunknown":
            arguments = splitArguments(rest, source)
            if len(arguments) != 1:
                raise source.error("IgnoreUnknown takes one list of patterns, joined by commas")
            self._found(kind, Setting(arguments[0], tuple(arguments), source), active, False)
            return
        keyword = KEYWORDS.get(kind)
        if keyword is None:
            self._unknown(word, source)
            return
        arguments = [rest.rstrip()] if keyword.takesRest else splitArguments(rest, source)
        try:
            value = readValue(keyword, arguments)
        except BadValue as failure:
            raise source.error(f"{keyword.name}: {failure}") from None
        isNew = self._found(
            kind, Setting(value, tuple(arguments), source), active, keyword.accumulates
        )
        if isNew and keyword.support in (Support.MISSING, Support.COMFORT):
            self._notHeeded(keyword, arguments, source)

    def _found(self, kind: str, setting: Setting, active: bool, accumulates: bool) -> bool:
        """Keep a value; whether it was kept."""
        if not active:
            return False
        # A way to the host is chosen once, whether by hosts to jump through or by a command.
        other = _EITHER.get(kind)
        if other is not None and other in self.settings.values:
            return False
        before = self.settings.values.setdefault(kind, [])
        if before and not accumulates:
            return False
        # The second pass comes across everything again; and a file twice is no different.
        if any(old.value == setting.value for old in before):
            return False
        before.append(setting)
        return True

    def _notHeeded(self, keyword: Keyword, arguments: list[str], source: Source) -> None:
        if isHarmless(keyword, arguments):
            return
        told = f"{source}: {keyword.name} {' '.join(arguments)}: Limpet does not do this"
        if keyword.support is Support.MISSING:
            self.settings.warnings.append(told)
        else:
            self.settings.notes.append(told)

    def _unknown(self, word: str, source: Source) -> None:
        kind = word.lower()
        if kind in RETIRED:
            self.settings.notes.append(f"{source}: {word} means nothing any more")
            return
        patterns = self.settings.get("ignoreunknown")
        if patterns is not None and matchPatternList(_bytes(patterns.lower()), _bytes(kind)):
            return
        raise source.error(
            f"there is no keyword {word!r}; correct it, or name it in an IgnoreUnknown before it"
        )

    # ── Blocks ────────────────────────────────────────────────────────────────────────────────

    def _host(self, patterns: list[str], source: Source) -> bool:
        """Whether a `Host` line is about our host: one pattern matches, and none with a `!`."""
        if not patterns:
            raise source.error("Host without a pattern; Host * is for every host")
        found = False
        for pattern in patterns:
            _checkPattern(pattern, source)
            if pattern.startswith("!"):
                if matchPattern(_bytes(pattern[1:]), _bytes(self.settings.host)):
                    return False
            elif matchPattern(_bytes(pattern), _bytes(self.settings.host)):
                found = True
        return found

    def _match(self, words: list[str], source: Source, applies: bool) -> bool:
        """Whether a `Match` line is about our connection: every criterion holds."""
        if not words:
            raise source.error("Match without a criterion; Match all is for every host")
        result = True
        seen: list[str] = []
        at = 0
        while at < len(words):
            name, joined, value = words[at].partition("=")
            at += 1
            negated = name.startswith("!")
            name = name.removeprefix("!").lower()
            if name in _ALONE:
                holds = self._alone(name, negated, seen, at < len(words), joined, source)
            elif name in _CRITERIA or name in _JUDGED:
                if not joined:
                    if at == len(words):
                        raise source.error(f"Match {name}: what to match is missing")
                    value = words[at]
                    at += 1
                if not value and name not in _MAY_BE_EMPTY:
                    raise source.error(f"Match {name}: what to match is missing")
                if name == "localnetwork":
                    holds = self._isLocal(value, source)
                elif name == "exec" and not (result and applies):
                    # Commands are run only where nothing else has decided already.
                    holds = False
                elif name == "exec":
                    answer = self._world.matchExec(value, source, self.settings)
                    # Without an answer the block does not apply, with a `!` or without.
                    holds = negated if answer is None else answer
                else:
                    _checkPatterns(value, source)
                    holds = self._holds(name, value)
            else:
                raise source.error(
                    f"Match {name}: there is no such criterion; there are "
                    f"{', '.join((*_ALONE, *_JUDGED, *_CRITERIA))}"
                )
            seen.append(name)
            result = result and holds != negated
        return result and applies

    def _holds(self, name: str, patterns: str) -> bool:
        text = _CRITERIA[name](self)
        if not text and name in _MAY_BE_EMPTY:
            # What was not asked for is no text that a `*` would match.
            return not patterns
        # Unlike `Host`, these do not tell large letters from small.
        if name in ("host", "originalhost"):
            patterns, text = patterns.lower(), text.lower()
        return matchPatternList(_bytes(patterns), _bytes(text))

    def _isLocal(self, networks: str, source: Source) -> bool:
        """Whether an address of this machine is in one of the networks."""
        found = [_network(text, source) for text in networks.split(",")]
        addresses = [parseAddress(text) for text in self._world.localAddresses()]
        return any(
            address.version == network.version and address in network
            for network in found
            for address in addresses
            if address is not None
        )

    def _alone(
        self, name: str, negated: bool, seen: list[str], more: bool, joined: str, source: Source
    ) -> bool:
        if joined:
            raise source.error(f"Match {name} takes no value")
        if name == "all":
            if more or seen not in ([], ["canonical"], ["final"]):
                raise source.error("Match all stands alone, or behind canonical or final")
            return True
        if name == "final" and not negated:
            self.settings.wantsFinalPass = True
        return self._final

    def _sessionType(self) -> str:
        return {"none": "none", "subsystem": "subsystem"}.get(
            self.settings.get("sessiontype", ""),
            "exec" if self.settings.command else "shell",
        )

    def _include(self, patterns: list[str], source: Source, active: bool, depth: int) -> None:
        if source is COMMAND_LINE:
            raise source.error("Include stands in files only")
        if not patterns:
            raise source.error("Include without a file")
        if depth >= MAX_INCLUDE_DEPTH:
            raise source.error(
                f"files include each other more than {MAX_INCLUDE_DEPTH} deep; "
                "does one include itself?"
            )
        for pattern in patterns:
            for included in self._world.include(pattern, source, self.settings):
                self._readFile(included.name, included.text, source.system, active, depth + 1)


_EITHER = {"proxyjump": "proxycommand", "proxycommand": "proxyjump"}

_ALONE = ("all", "canonical", "final")

_JUDGED = ("exec", "localnetwork")
"""Criteria whose value is no list of patterns."""

_MAY_BE_EMPTY = frozenset({"tagged", "command"})
"""Criteria that an empty value is for: where there is none."""

_CRITERIA: Mapping[str, Callable[[Resolver], str]] = {
    "host": lambda resolver: resolver.settings.targetHost(),
    "originalhost": lambda resolver: resolver.settings.originalHost,
    "user": lambda resolver: resolver.settings.user(),
    "localuser": lambda resolver: resolver.settings.localUser,
    "tagged": lambda resolver: str(resolver.settings.get("tag", "")),
    "command": lambda resolver: resolver.settings.command,
    "sessiontype": lambda resolver: resolver._sessionType(),
    "version": lambda resolver: resolver._world.version,
}


def _network(text: str, source: Source) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        # Strict: what has bits behind its prefix is more likely a slip than a network.
        return ipaddress.ip_network(text, strict=True)
    except ValueError:
        raise source.error(
            f"Match localnetwork: {text!r} is no network; write for example 192.0.2.0/24"
        ) from None


def _checkPattern(pattern: str, source: Source) -> None:
    # One that matches nothing because it is too long would exclude nobody, either.
    if len(_bytes(pattern)) > MAX_PATTERN_LENGTH:
        raise source.error(f"a pattern of more than {MAX_PATTERN_LENGTH} bytes")


def _checkPatterns(patterns: str, source: Source) -> None:
    items = patterns.split(",")
    if len(items) > MAX_PATTERNS:
        raise source.error(f"more than {MAX_PATTERNS} patterns in one list")
    for item in items:
        _checkPattern(item, source)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
