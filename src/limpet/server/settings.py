"""The settings of `limpet serve`: a dataclass, a TOML file, and the command line over both.

Rule: a setting that is not known, or not of its kind, stops the start and is named with its file; a
server never runs with something other than what was written down.

    listen = ["127.0.0.1:2222", "[::1]:2222"]
    host-keys = ["/etc/limpet/host_key"]
    max-startups = "10:30:100"
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limpet.core.destinations import BadRule, Destinations
from limpet.core.patterns import MAX_PATTERNS
from limpet.server.limits import StartupLimit

MAX_FILE_SIZE = 1024 * 1024
"""Largest settings file, in bytes (ours)."""

ALGORITHM_PROFILES = ("default", "hardened", "modern", "legacy")
"""What `algorithms` may be: see `limpet.core.negotiation`."""

FORWARDING_KINDS = ("local", "remote", "unix", "agent")
"""What `allow-forwarding` may name."""

LOG_LEVELS = ("debug", "info", "warn", "error")


class SettingsError(Exception):
    """A setting that cannot be used; the text names it, and its file where it is from one."""


@dataclass(frozen=True)
class Address:
    """Where to listen.

    Attributes:
        host: A numeric address.
        port: The port; 0 for a free one.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read HOST:PORT or [IPV6]:PORT; the host is a number, "localhost" or "*".

        Raises:
            SettingsError: It is neither.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not (port.isascii() and port.isdigit() and len(port) <= 5):
            raise SettingsError(f"{text!r} is not HOST:PORT, for example 127.0.0.1:2222")
        if int(port) > 65535:
            raise SettingsError(f"{text!r}: a port is at most 65535")
        bracketed = host.startswith("[") and host.endswith("]")
        name = host[1:-1] if bracketed else host
        if not bracketed and ":" in name:
            raise SettingsError(f"{text!r}: write an IPv6 address in brackets, [::1]:2222")
        name = {"localhost": "127.0.0.1", "*": "0.0.0.0"}.get(name, name)
        try:
            address = ipaddress.ip_address(name.partition("%")[0])
        except ValueError:
            raise SettingsError(
                f"{text!r}: {name!r} is not an address of this machine in numbers"
            ) from None
        if bracketed != (address.version == 6):
            raise SettingsError(f"{text!r}: brackets are for IPv6 addresses")
        return cls(name, int(port))


@dataclass(frozen=True)
class Settings:
    """What a server is told. The names in a file are these, in the form `max-startups`.

    Attributes:
        listen: Where to listen.
        hostKeys: Files of private host keys; none means one of our own making.
        authorizedKeys: Files of keys that let a user in; %h and %u stand for the home and the name
            of the user who logs in, and a relative path begins at that home.
        revokedKeys: A file of keys and certificates that let nobody in, in one of OpenSSH's forms;
            empty for none.
        badKeys: A file of keys whose private half is known, in badkeys' form; empty for none.
        acceptEnv: Variables a client may set: names, or prefixes with a trailing *.
        path: PATH of the sessions; empty for the default.
        allowPty: Whether terminals may be had.
        sftp: Whether files may be transferred by SFTP.
        sftpRoot: A directory that clients cannot leave; there are no shells and commands then. %h
            and %u as above, %% for a percent sign. Empty for all that the user may reach.
        readOnly: Whether files may only be read; there are no shells and commands then.
        allowForwarding: What may be forwarded, of `FORWARDING_KINDS`: connections made from here
            ("local": ssh -L, -D, -W, -J), ports listened on here ("remote": ssh -R), Unix sockets
            both ways ("unix"), an agent ("agent").
        permitOpen: Where forwarded connections may lead, as `limpet.core.destinations` has it.
        permitListen: Where may be listened for clients, likewise.
        gatewayPorts: Whether clients choose the address that is listened on for them; otherwise it
            is the loopback.
        algorithms: What is offered: "default"; "hardened", for clients of today only; "modern",
            with finite-field groups and compression; "legacy", with SHA-1 and CBC.
        maxStartups: Connections without a login: start:rate:full.
        maxSessions: Sessions on one connection.
        handshakesPerSecond: New connections from one source; 0 for no limit. Not for loopback.
        penalties: Whether a source has to wait that has connected in vain again and again.
        exempt: Addresses and networks to which neither of these two applies.
        loginGraceSeconds: How long a login may take.
        keepaliveSeconds: How long a client may be silent before it is asked whether it is there.
        hangupGraceSeconds: How long a program lives on after its client has gone.
        drainSeconds: How long sessions may go on after SIGTERM.
        banner: A text that is shown before the login; empty for none.
        logLevel: "debug", "info", "warn" or "error".
    """

    listen: tuple[str, ...] = ("127.0.0.1:2222",)
    hostKeys: tuple[str, ...] = ()
    authorizedKeys: tuple[str, ...] = ("%h/.ssh/authorized_keys",)
    revokedKeys: str = ""
    badKeys: str = ""
    acceptEnv: tuple[str, ...] = ("LANG", "LC_*", "TERM", "GIT_PROTOCOL")
    path: str = ""
    allowPty: bool = True
    sftp: bool = True
    sftpRoot: str = ""
    readOnly: bool = False
    allowForwarding: tuple[str, ...] = ()
    permitOpen: tuple[str, ...] = ("*:*", "/*")
    permitListen: tuple[str, ...] = ("*:*", "/*")
    gatewayPorts: bool = False
    algorithms: str = "default"
    maxStartups: str = "10:30:100"
    maxSessions: int = 10
    handshakesPerSecond: float = 20.0
    penalties: bool = True
    exempt: tuple[str, ...] = ()
    loginGraceSeconds: float = 60.0
    keepaliveSeconds: float = 0.0
    hangupGraceSeconds: float = 5.0
    drainSeconds: float = 30.0
    banner: str = ""
    logLevel: str = "info"

    def addresses(self) -> list[Address]:
        """Where to listen. Raises SettingsError where one is not an address."""
        return [Address.parse(text) for text in self.listen]

    def startupLimit(self) -> StartupLimit:
        """The limit of connections without a login."""
        return StartupLimit.parse(self.maxStartups)


def settingName(field: str) -> str:
    """The name in a file of the field: "maxStartups" → "max-startups"."""
    return "".join("-" + letter.lower() if letter.isupper() else letter for letter in field)


FIELDS: Mapping[str, dataclasses.Field[Any]] = {
    settingName(field.name): field for field in dataclasses.fields(Settings)
}
"""Name in a file to the field."""


def load(
    path: str | os.PathLike[str] | None,
    overrides: Mapping[str, Any] | None = None,
    isAgain: bool = False,
) -> Settings:
    """Read the settings.

    Args:
        path: A TOML file, or None for the defaults.
        overrides: Fields that go before the file's; those that are None or empty do not.
        isAgain: Whether the server runs by it already. What is no file is not read twice: a pipe
            would keep the server waiting, or be empty by now, which means all defaults.

    Raises:
        SettingsError: The file cannot be read, or something in it is not a setting.
    """
    values: dict[str, Any] = {}
    if path is not None:
        values.update(_read(Path(path), isAgain))
        try:
            _check(Settings(**values))
        except SettingsError as failure:
            raise SettingsError(f"{os.fspath(path)}: {failure}") from None
    for name, value in (overrides or {}).items():
        if value is not None and value != ():
            values[name] = value
    settings = Settings(**values)
    _check(settings)
    return settings


def _read(path: Path, filesOnly: bool) -> dict[str, Any]:
    try:
        if filesOnly and not path.is_file():
            path.stat()
            raise SettingsError(f"{path}: not a file, which could be read again")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_SIZE + 1)
    except OSError as failure:
        raise SettingsError(f"{path}: {failure.strerror}") from None
    if len(data) > MAX_FILE_SIZE:
        raise SettingsError(f"{path}: larger than {MAX_FILE_SIZE} bytes")
    try:
        table = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as failure:
        # Besides what is no TOML: a number of thousands of digits, lists in thousands of lists.
        raise SettingsError(f"{path}: not TOML: {failure}") from None
    values = {}
    for name, value in table.items():
        field = FIELDS.get(name)
        if field is None:
            raise SettingsError(f"{path}: unknown setting {name!r}; {_meant(name)}")
        kind = type(field.default)
        try:
            values[field.name] = _KINDS[kind](value)
        except (TypeError, OverflowError) as failure:
            raise SettingsError(f"{path}: {name}: {failure}") from None
    return values


def _meant(name: str) -> str:
    """The setting that a mistyped one is likely to be, or else all that there are."""
    similar = difflib.get_close_matches(name, FIELDS, 1)
    return f"is it {similar[0]}?" if similar else f"known are {', '.join(FIELDS)}"


def _strings(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise TypeError("has to be a list of strings")


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("has to be a string")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("has to be true or false")
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("has to be a whole number")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("has to be a number")
    return float(value)


_KINDS: Mapping[type, Callable[[Any], Any]] = {
    tuple: _strings,
    str: _string,
    bool: _boolean,
    int: _integer,
    float: _number,
}


def _check(settings: Settings) -> None:
    """Refuse what has the right type and makes no sense."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, str | tuple) and any("\0" in text for text in value):
            raise SettingsError(f"{settingName(field.name)}: there is a NUL in it")
    try:
        settings.addresses()
    except SettingsError as failure:
        raise SettingsError(f"listen: {failure}") from None
    if not settings.listen:
        raise SettingsError("listen: there has to be an address")
    try:
        settings.startupLimit()
    except ValueError as failure:
        raise SettingsError(f"max-startups: {failure}") from None
    for address in settings.exempt:
        try:
            ipaddress.ip_network(address)
        except ValueError:
            raise SettingsError(
                f"exempt: {address!r} is no address, and no network such as 192.0.2.0/24"
            ) from None
    if len(settings.exempt) > MAX_PATTERNS:
        raise SettingsError(f"exempt: more than {MAX_PATTERNS} networks")
    for name in settings.authorizedKeys:
        if not name or set(re.findall(r"%(.?)", name)) - {"h", "u", "%"}:
            raise SettingsError(f"authorized-keys: {name!r}: only %h, %u and %% may follow a %")
    if set(re.findall(r"%(.?)", settings.sftpRoot)) - {"h", "u", "%"}:
        raise SettingsError("sftp-root: only %h, %u and %% may follow a %")
    if settings.sftpRoot and not re.match("/|%h", settings.sftpRoot):
        raise SettingsError(f"sftp-root: {settings.sftpRoot!r} does not begin with / or %h")
    if (settings.sftpRoot or settings.readOnly) and not settings.sftp:
        raise SettingsError("sftp-root and read-only make sense with sftp only, which is off")
    unknown = set(settings.allowForwarding) - set(FORWARDING_KINDS)
    if unknown:
        raise SettingsError(
            f"allow-forwarding: {sorted(unknown)[0]!r} is none of {', '.join(FORWARDING_KINDS)}"
        )
    if "unix" in settings.allowForwarding and (settings.sftpRoot or settings.readOnly):
        raise SettingsError(
            "allow-forwarding: Unix sockets lead out of sftp-root, and are made though read-only"
        )
    for setting, rules in (
        ("permit-open", settings.permitOpen),
        ("permit-listen", settings.permitListen),
    ):
        try:
            Destinations(rules)
        except BadRule as failure:
            raise SettingsError(f"{setting}: {failure}") from None
    if settings.algorithms not in ALGORITHM_PROFILES:
        raise SettingsError(f"algorithms: one of {', '.join(ALGORITHM_PROFILES)}")
    if settings.logLevel not in LOG_LEVELS:
        raise SettingsError(f"log-level: one of {', '.join(LOG_LEVELS)}")
    if settings.maxSessions < 1:
        raise SettingsError("max-sessions: at least 1")
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, float) and not 0 <= value < 1e9:
            raise SettingsError(f"{settingName(field.name)}: a number from 0 on")
    if settings.loginGraceSeconds <= 0:
        raise SettingsError("login-grace-seconds: more than 0")
