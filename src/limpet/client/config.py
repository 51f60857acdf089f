"""What a client is to do for one host: the person's ssh_config(5), options over it, and defaults.

    loadClientConfig("web1")                        ~/.ssh/config, then /etc/ssh/ssh_config
    loadClientConfig("web1", files=())              OpenSSH's defaults, whatever the files say
    loadClientConfig("web1", overrides=[("Port", "2222")])

Rule: the files are read as `ssh` reads them, and what is asked for and not done is in `warnings`,
with file and line. Names of hosts and users are judged before they are put in place of any token;
no shell is started, `Match exec` runs nothing and no name is looked up unless the caller allows it.
"""

from __future__ import annotations

import getpass
import glob
import os
import socket
import stat
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from limpet._posix import O_BINARY, O_CLOEXEC, O_NOCTTY, O_NONBLOCK, userNumber
from limpet._version import __version__
from limpet.client.errors import ClientError
from limpet.client.names import localAddresses, numericAddress
from limpet.core import negotiation
from limpet.core.kex import KEX_METHODS
from limpet.core.negotiation import AlgorithmLists
from limpet.core.patterns import matchPattern
from limpet.core.rekey import RekeyPolicy
from limpet.core.sshconfig import (
    COMMAND_LINE,
    BadConfig,
    BadPlace,
    BadToken,
    ForwardSpec,
    IncludedFile,
    JumpHost,
    NeedsShell,
    Resolver,
    Settings,
    Source,
    checkHost,
    checkUser,
    parseDestination,
    parseForward,
    parseJumps,
    quoted,
    splitCommand,
)
from limpet.core.sshconfig.canonical import NameRules, NoSuchName
from limpet.core.sshconfig.lines import MAX_FILE_LENGTH
from limpet.core.sshconfig.tokens import connectionHash, expand, expandAll, expandHome
from limpet.core.sshconfig.values import preferred
from limpet.crypto.ciphers import CIPHERS
from limpet.crypto.macs import MACS
from limpet.crypto.signatures import (
    CERTIFICATE_ALGORITHMS,
    DEFAULT_SIGNATURE_ALGORITHMS,
    HOST_KEY_ALGORITHMS,
)

__all__ = [
    "ClientConfig",
    "ConfigError",
    "ForwardSpec",
    "JumpHost",
    "WouldWait",
    "loadClientConfig",
    "parseDestination",
    "parseForward",
    "parseJumps",
    "quoted",
]

SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")

MATCH_EXEC_SECONDS = 10.0
"""How long the command of a `Match exec` may take (ours)."""

MAX_DOMAINS = 32
"""Most domains that a short name is looked for in; further ones are not asked (ours)."""

VERSION = f"Limpet_{__version__}"
"""What `Match version` is held against."""

KNOWN_HOSTS_TOKENS = "fHIKt"
"""Tokens of KnownHostsCommand beside the usual ones."""

LOCAL_COMMAND_TOKENS = "fHIKtT"
"""Tokens of LocalCommand beside the usual ones."""

LookUpName = Callable[[str, str], str | None]
"""Takes a name and an AddressFamily, and returns where the name leads; None where nowhere."""

MAX_ADDENDUM = 200
"""Longest VersionAddendum, in characters (ours; the line has 255 bytes, RFC 4253 section 4.2)."""

MAX_JUMP_DEPTH = 16
"""Most hosts on the way, however their configurations add up (ours)."""

DEFAULT_PORT = 22

DEFAULT_ALGORITHMS = negotiation.ALL_MODERN
"""What a client offers: everything sound, because it has to reach every server."""

_DEFAULT_IDENTITIES = ("id_ed25519", "id_ecdsa", "id_rsa")
_DEFAULT_METHODS = ("publickey", "keyboard-interactive", "password")

_KNOWN_CIPHERS = frozenset(CIPHERS) - {b"none"}
_KNOWN_MACS = frozenset(MACS) - {b"none"}
_DEFAULT_HOST_KEYS = (*CERTIFICATE_ALGORITHMS, *DEFAULT_ALGORITHMS.publicKeys)
_DEFAULT_USER_KEYS = (*CERTIFICATE_ALGORITHMS, *DEFAULT_SIGNATURE_ALGORITHMS)


class ConfigError(ClientError):
    """The configuration cannot be used; the message names file and line, and what to do."""


@dataclass(frozen=True)
class ClientConfig:
    """Everything a client has to know to reach one host and to work there.

    Names, and defaults, are those of ssh_config(5). Paths have their tokens replaced. Times are in
    seconds, and None where there is no limit.

    Attributes:
        host: The host as it was asked for.
        hostName: The host to connect to.
        localUser: The name of the user on this machine.
        identityFiles: Files of private keys to try, in order.
        identityFilesGiven: Whether they were named, and are not just the usual ones.
        certificateFiles: Files of certificates to try besides.
        identityAgent: The path of the agent's socket; None for no agent.
        proxyJump: The hosts on the way, nearest first; see `forJump`.
        proxyCommand: The command that leads there, tokens replaced, as `ssh -G` shows it.
        proxyArguments: The same as arguments, for running it without a shell; None for none.
        strictHostKeyChecking: "ask", "yes", "accept-new" or "no".
        hostKeyAlias: The name to look for in known_hosts files; None for the host's own.
        updateHostKeys: Whether further keys of a known host are learnt: "yes", "no" or "ask".
        rekeyLimit: Bytes and seconds after which keys are exchanged; 0 where the default stays.
        ciphers: What to offer, of what Limpet has, in order; likewise `macs`, `kexAlgorithms`, and
            `hostKeyAlgorithms`, which `limpet.client.knownhosts` puts in order for a host.
        pubkeyAcceptedAlgorithms: What to sign with when logging in.
        caSignatureAlgorithms: What a host certificate may be signed with.
        proxyIsSilent: Whether what the ProxyCommand says on standard error is dropped: whoever gave
            it would wait for its end, and it lasts as long as the connection.
        controlPath: The socket of a program whose connection is used, or that is made.
        controlMaster: Whether it is made: "no", "yes", "ask" (a person, about each client), "auto"
            and "autoask" (where there is none to be used).
        controlPersist: How many seconds a master goes on when nothing is done on its connection; 0
            for ever, None for no longer than its own session.
        ipQoS: The traffic class of sessions at a terminal, and that of all others; None to leave it
            to the system.
        knownHostsCommand: A command that prints further lines of known_hosts, as it was written;
            see `arguments`.
        revokedHostKeys: Files of revoked keys.
        kbdInteractiveDevices: What is asked for in keyboard-interactive.
        preferredAuthentications: The methods, in order.
        pubkeyAuthentication: "yes", "no", "unbound" or "host-bound".
        sendEnv: Patterns of variables to send; see `environment`.
        setEnv: Variables to send whatever the environment says.
        requestTTY: "auto", "yes", "no" or "force".
        sessionType: "default", "none" or "subsystem".
        localCommand: What is run here after the login, as it was written; None where
            PermitLocalCommand does not allow it.
        channelTimeouts: Patterns of channel types, and the seconds after which idle ones close;
            0 for never.
        escapeChar: What begins an escape at the start of a line; None for nothing.
        permitRemoteOpen: Where a remote dynamic forwarding may lead: hosts and ports, None for any
            port; None for everywhere.
        forwardAgent: Whether the agent is forwarded; `forwardAgentPath` is its socket, None for
            the usual one.
        addKeysToAgent: "no", "yes", "ask" or "confirm"; `addKeysToAgentSeconds` says how long.
        wantsLookUps: Whether the host's name should have been made canonical, and nothing was there
            to look it up with.
        tokens: What %-tokens stand for.
        warnings: What the configuration asks for and Limpet does not do, with file and line.
        notes: The same where nothing but comfort is lost.
        filesRead: The files that were read, in order.
    """

    host: str
    hostName: str
    port: int = DEFAULT_PORT
    user: str = ""
    localUser: str = ""
    # Where to, and how
    addressFamily: str = "any"
    bindAddress: str | None = None
    bindInterface: str | None = None
    canonicalizeHostname: str = "no"
    nameRules: NameRules = field(default_factory=NameRules)
    wantsLookUps: bool = False
    ipQoS: tuple[int | None, int | None] = (None, None)
    versionAddendum: str | None = None
    connectTimeout: float | None = None
    connectionAttempts: int = 1
    tcpKeepAlive: bool = True
    serverAliveInterval: float = 0
    serverAliveCountMax: int = 3
    proxyJump: tuple[JumpHost, ...] = ()
    proxyCommand: str | None = None
    proxyArguments: list[str] | None = None
    proxyUseFdpass: bool = False
    proxyIsSilent: bool = False
    controlPath: str | None = None
    controlMaster: str = "no"
    controlPersist: int | None = None
    # Algorithms
    ciphers: list[bytes] = field(default_factory=lambda: list(DEFAULT_ALGORITHMS.ciphers))
    macs: list[bytes] = field(default_factory=lambda: list(DEFAULT_ALGORITHMS.macs))
    kexAlgorithms: list[bytes] = field(
        default_factory=lambda: list(DEFAULT_ALGORITHMS.keyExchanges)
    )
    hostKeyAlgorithms: list[bytes] = field(default_factory=lambda: list(_DEFAULT_HOST_KEYS))
    hostKeyAlgorithmsGiven: bool = False
    pubkeyAcceptedAlgorithms: list[bytes] = field(default_factory=lambda: list(_DEFAULT_USER_KEYS))
    caSignatureAlgorithms: list[bytes] = field(
        default_factory=lambda: list(DEFAULT_SIGNATURE_ALGORITHMS)
    )
    requiredRSASize: int = 2048
    rekeyLimit: tuple[int, int] = (0, 0)
    compression: bool = False
    # Who the server is
    strictHostKeyChecking: str = "ask"
    userKnownHostsFiles: list[str] = field(default_factory=list)
    globalKnownHostsFiles: list[str] = field(default_factory=list)
    hashKnownHosts: bool = False
    hostKeyAlias: str | None = None
    checkHostIP: bool = False
    noHostAuthenticationForLocalhost: bool = False
    knownHostsCommand: str | None = None
    revokedHostKeys: list[str] = field(default_factory=list)
    updateHostKeys: str = "no"
    fingerprintHash: str = "sha256"
    visualHostKey: bool = False
    keystrokeMilliseconds: int = 20
    # Who we are
    identityFiles: list[str] = field(default_factory=list)
    identityFilesGiven: bool = False
    certificateFiles: list[str] = field(default_factory=list)
    identitiesOnly: bool = False
    identityAgent: str | None = None
    addKeysToAgent: str = "no"
    addKeysToAgentSeconds: int | None = None
    preferredAuthentications: list[str] = field(default_factory=lambda: list(_DEFAULT_METHODS))
    pubkeyAuthentication: str = "yes"
    passwordAuthentication: bool = True
    kbdInteractiveAuthentication: bool = True
    kbdInteractiveDevices: list[str] = field(default_factory=list)
    numberOfPasswordPrompts: int = 3
    batchMode: bool = False
    # The session
    requestTTY: str = "auto"
    sessionType: str = "default"
    remoteCommand: str | None = None
    sendEnv: list[str] = field(default_factory=list)
    setEnv: dict[str, str] = field(default_factory=dict)
    escapeChar: str | None = "~"
    enableEscapeCommandline: bool = False
    stdinNull: bool = False
    forkAfterAuthentication: bool = False
    permitLocalCommand: bool = False
    localCommand: str | None = None
    channelTimeouts: list[tuple[str, int]] = field(default_factory=list)
    logLevel: str = "INFO"
    warnWeakCrypto: bool = False
    # Forwarding
    localForwards: list[ForwardSpec] = field(default_factory=list)
    remoteForwards: list[ForwardSpec] = field(default_factory=list)
    dynamicForwards: list[ForwardSpec] = field(default_factory=list)
    permitRemoteOpen: tuple[tuple[str, int | None], ...] | None = None
    exitOnForwardFailure: bool = False
    gatewayPorts: bool = False
    forwardAgent: bool = False
    forwardAgentPath: str | None = None
    streamLocalBindMask: int = 0o177
    streamLocalBindUnlink: bool = False
    # What was read
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    filesRead: Sequence[str] = ()
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    settings: Settings | None = field(default=None, repr=False, compare=False)
    loadedWith: LoadArguments | None = field(default=None, repr=False, compare=False)

    @property
    def algorithms(self) -> AlgorithmLists:
        """What to offer in the key exchange, host key algorithms without regard to known hosts."""
        compressions = (b"zlib@openssh.com", b"none") if self.compression else (b"none",)
        return AlgorithmLists(
            keyExchanges=tuple(self.kexAlgorithms),
            publicKeys=tuple(self.hostKeyAlgorithms),
            ciphers=tuple(self.ciphers),
            macs=tuple(self.macs),
            compressions=compressions,
        )

    @property
    def rekeyPolicy(self) -> RekeyPolicy:
        """When keys are exchanged again."""
        limit, seconds = self.rekeyLimit
        policy = RekeyPolicy()
        if limit:
            policy = replace(policy, maxBytes=limit)
        return replace(policy, maxSeconds=float(seconds)) if seconds else policy

    def mayOpenRemotely(self, host: str, port: int) -> bool:
        """Whether the server's side may have `host` connected to from here (PermitRemoteOpen)."""
        if self.permitRemoteOpen is None:
            return True
        return any(
            name in ("*", host.lower()) and number in (None, port)
            for name, number in self.permitRemoteOpen
        )

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """The variables to send: those of `variables` that SendEnv names, and SetEnv's."""
        patterns = [os.fsencode(pattern) for pattern in self.sendEnv]
        found = {
            name: value
            for name, value in variables.items()
            if any(matchPattern(pattern, os.fsencode(name)) for pattern in patterns)
        }
        return found | self.setEnv

    def arguments(self, command: str, more: Mapping[str, str] | None = None) -> list[str]:
        """A command of the configuration as arguments, tokens replaced, to be run without a shell.

        Args:
            command: `knownHostsCommand` or `localCommand`.
            more: What further tokens stand for.

        Raises:
            ConfigError: It needs a shell, or a token has no meaning.
        """
        loadedWith = self.loadedWith or LoadArguments(files=())
        given = loadedWith.environment
        environment = os.environ if given is None else given
        home = loadedWith.home or os.path.expanduser("~")
        try:
            return splitCommand(command, {**self.tokens, **(more or {})}, environment, home)
        except (NeedsShell, BadToken) as failure:
            raise ConfigError(f"{command!r} cannot be run: {failure}") from None

    def forJump(
        self, lookUp: LookUpName | None = None, mayWait: bool = True
    ) -> ClientConfig | None:
        """The configuration of the last host on the way, whose own `forJump` leads further.

        Args:
            lookUp: As for `loadClientConfig`; likewise `mayWait`.

        Returns:
            None where the way is direct.

        Raises:
            ConfigError: It cannot be used, or the hosts lead around in a circle.
            WouldWait: As for `loadClientConfig`.
        """
        if not self.proxyJump:
            return None
        loadedWith = self.loadedWith or LoadArguments(files=())
        if loadedWith.depth >= MAX_JUMP_DEPTH:
            raise ConfigError(
                f"more than {MAX_JUMP_DEPTH} jump hosts lead to one host; does ProxyJump of "
                f"{self.host} lead back to itself? Write ProxyJump none for the first host on "
                "the way"
            )
        *before, jump = self.proxyJump
        overrides = [("SessionType", "none")]
        if jump.user is not None:
            overrides.append(("User", quoted(jump.user)))
        if jump.port is not None:
            overrides.append(("Port", str(jump.port)))
        if before:
            overrides.append(("ProxyJump", ",".join(str(host) for host in before)))
        # What was given for the target alone (its keys, its port) is not for the hosts on the way.
        depth = loadedWith.depth + 1
        arguments = replace(loadedWith, depth=depth, command="", lookUp=lookUp, mayWait=mayWait)
        return _load(jump.host, overrides, arguments)


class WouldWait(Exception):
    """A command is to be run, and its end to be waited for: call again where that does no harm."""


@dataclass(frozen=True)
class LoadArguments:
    """What `loadClientConfig` was called with, to be used again for the hosts on the way."""

    files: Sequence[Path] | None = None
    localUser: str | None = None
    home: str | None = None
    environment: Mapping[str, str] | None = None
    allowMatchExec: bool = False
    command: str = ""
    lookUp: LookUpName | None = None
    mayWait: bool = True
    depth: int = 0


def loadClientConfig(
    host: str,
    *,
    overrides: Sequence[tuple[str, str]] = (),
    files: Sequence[Path] | None = None,
    localUser: str | None = None,
    home: str | None = None,
    environment: Mapping[str, str] | None = None,
    allowMatchExec: bool = False,
    command: str | None = None,
    lookUp: LookUpName | None = None,
    mayWait: bool = True,
) -> ClientConfig:
    """Find out what the configuration says of a host.

    It reads files, and may run commands and look up names where that is allowed.

    Args:
        host: The host as the person calls it; `Host` patterns are held against it.
        overrides: Keywords with their values that go before all files; the first of a kind wins.
            A value is read as in a file; `quoted` makes one argument of a name or path that may
            hold blanks.
        files: The files to read; None for the user's and the system's.
        localUser: The name of the user on this machine; None to ask the system.
        home: That user's home directory; None to ask the system.
        environment: What `${NAME}` and SSH_AUTH_SOCK are taken from; None for the process's.
        allowMatchExec: Whether the commands of `Match exec` are run, without a shell, also where
            LimpetMatchExec does not say so. Otherwise such a block does not apply, and that is one
            of the warnings.
        command: The command or the subsystem that is to be run, for `Match command`.
        lookUp: What looks up names, and waits for the answers, where CanonicalizeHostname asks for
            that: `limpet.client.names.systemLookUp`, say. None looks up none; then the result's
            `wantsLookUps` says whether one was needed, and that is one of the warnings.
        mayWait: Whether a command of `Match exec` that is to be run may be waited for.

    Raises:
        ConfigError: Something in it cannot be used, or `host` is not a name of a host.
        WouldWait: `mayWait` is false, and there is such a command.
    """
    arguments = LoadArguments(
        None if files is None else tuple(files),
        localUser,
        home,
        environment,
        allowMatchExec,
        command or "",
        lookUp,
        mayWait,
    )
    return _load(host, overrides, arguments)


def _load(
    host: str, overrides: Sequence[tuple[str, str]], arguments: LoadArguments
) -> ClientConfig:
    try:
        checkHost(host)
        machine = _Machine(arguments)
        settings = Settings(host, machine.localUser, arguments.command)
        resolver = Resolver(settings, machine)
        for keyword, value in overrides:
            resolver.addOption(keyword, value)
        _readFiles(resolver, machine, arguments.files)
        name, isPending = _canonicalName(settings, arguments.lookUp)
        if settings.wantsFinalPass or (_nameRules(settings).wanted != "no" and not isPending):
            resolver.startFinalPass(name)
            _readFiles(resolver, machine, arguments.files)
        elif isPending:
            settings.warnings.append(
                f"{settings.source('canonicalizehostname')}: CanonicalizeHostname: the name was not"
                " looked up; see lookUp of loadClientConfig"
            )
        config = _configOf(settings, machine, arguments, name, isPending)
        return replace(config, filesRead=tuple(dict.fromkeys(machine.filesRead)))
    except (BadConfig, BadPlace, NoSuchName) as failure:
        raise ConfigError(str(failure)) from None


# ── Names ─────────────────────────────────────────────────────────────────────────────────────


def _nameRules(settings: Settings) -> NameRules:
    get = settings.get
    return NameRules(
        get("canonicalizehostname", "no"),
        get("canonicaldomains", ())[:MAX_DOMAINS],
        get("canonicalizemaxdots", 1),
        get("canonicalizefallbacklocal", True),
        get("canonicalizepermittedcnames", ()),
    )


def _canonicalName(settings: Settings, lookUp: LookUpName | None) -> tuple[str, bool]:
    """The name of the host to connect to, and whether it should have been looked up."""
    family = settings.get("addressfamily", "any")
    name = settings.targetHost()
    address = numericAddress(name, family)
    if address is not None:
        return address, False
    name = checkHost(name.lower())
    command = settings.get("proxycommand")
    isDirect = not settings.get("proxyjump") and (command is None or command.lower() == "none")
    rules = _nameRules(settings)
    if lookUp is None:
        return name, rules.wanted != "no"
    return rules.canonicalName(name, isDirect, lambda wanted: lookUp(wanted, family)), False


# ── Files ─────────────────────────────────────────────────────────────────────────────────────


def _readFiles(resolver: Resolver, machine: _Machine, files: Sequence[Path] | None) -> None:
    if files is not None:
        for path in files:
            machine.filesRead.append(str(path))
            resolver.readFile(str(path), _readGiven(path))
        return
    mine = os.path.join(machine.home, ".ssh", "config")
    text = _readRegular(mine, Source(mine), ownersOnly=True)
    if text is not None:
        machine.filesRead.append(mine)
        resolver.readFile(mine, text)
    name = str(SYSTEM_CONFIG)
    text = _readRegular(name, Source(name))
    if text is not None:
        machine.filesRead.append(name)
        resolver.readFile(name, text, system=True)


def _readGiven(path: Path) -> str:
    """A file that somebody named: it has to be there, and may be a pipe (`-F <(make-config)`)."""
    try:
        with path.open("rb") as file:
            return _text(file.read(MAX_FILE_LENGTH + 1))
    except OSError as failure:
        raise BadConfig(f"{path}: {failure.strerror}") from None


def _readRegular(path: str, source: Source, ownersOnly: bool = False) -> str | None:
    """A regular file; None where there is none."""
    try:
        flags = os.O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | O_BINARY
        descriptor = os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as failure:
        raise source.error(f"{path}: {failure.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise source.error(f"{path} is not a regular file")
        if ownersOnly:
            _checkOwner(path, found, source)
        with open(descriptor, "rb", closefd=False) as file:
            return _text(file.read(MAX_FILE_LENGTH + 1))
    except OSError as failure:
        raise source.error(f"{path}: {failure.strerror}") from None
    finally:
        os.close(descriptor)


def _checkOwner(path: str, found: os.stat_result, source: Source) -> None:
    me = userNumber()
    if me is None:
        return
    if found.st_uid not in (0, me):
        raise source.error(f"{path} belongs to somebody else, who could send you anywhere")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise source.error(f"{path} can be written by others; run: chmod go-w {path}")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


class _Machine:
    """This machine and its user, as a configuration sees them: a `World`."""

    def __init__(self, arguments: LoadArguments) -> None:
        self.home = arguments.home or os.path.expanduser("~")
        self.localUser = arguments.localUser or _localUser()
        given = arguments.environment
        self.environment: Mapping[str, str] = os.environ if given is None else given
        self._allowExec = arguments.allowMatchExec
        self._mayWait = arguments.mayWait
        self._ownersOnly = arguments.files is None
        self.filesRead: list[str] = []
        # Each command is run once, however many passes there are.
        self._answers: dict[tuple[str, ...], bool] = {}

    @property
    def version(self) -> str:
        return VERSION

    def localAddresses(self) -> Iterable[str]:
        return [address.text for address in localAddresses()]

    def include(self, pattern: str, source: Source, settings: Settings) -> Iterable[IncludedFile]:
        if "%" in pattern or "${" in pattern:
            port = settings.get("port", DEFAULT_PORT)
            tokens = self.tokens(settings, settings.targetHost(), port)
            try:
                pattern = expandAll(pattern, tokens, self.environment)
            except BadToken as failure:
                raise source.error(f"Include: {failure}") from None
        path = self.atHome(pattern, source)
        if not os.path.isabs(path):
            base = "/etc/ssh" if source.system else os.path.join(self.home, ".ssh")
            path = os.path.join(base, path)
        for name in sorted(glob.glob(path)):
            ownersOnly = self._ownersOnly and not source.system
            text = _readRegular(name, source, ownersOnly)
            if text is not None:
                self.filesRead.append(name)
                yield IncludedFile(name, text)

    def atHome(self, path: str, source: Source) -> str:
        """`path` with a leading ~ or ~USER replaced by that home directory."""
        expanded = expandHome(path, self.home)
        if not expanded.startswith("~"):
            return expanded
        found = os.path.expanduser(expanded)
        if found.startswith("~"):
            raise source.error(f"{path}: there is no such user")
        return found

    def matchExec(self, command: str, source: Source, settings: Settings) -> bool | None:
        if not (self._allowExec or self._wantsExec(settings)):
            told = (
                f"{source}: Match exec: the command is not run, and the block does not apply; "
                "LimpetMatchExec yes, above it or with -o, has it run"
            )
            if told not in settings.warnings:
                settings.warnings.append(told)
            return None
        tokens = self.tokens(settings, settings.targetHost(), settings.get("port", DEFAULT_PORT))
        try:
            argv = splitCommand(command, tokens, self.environment, self.home)
        except (NeedsShell, BadToken) as failure:
            raise source.error(f"Match exec: {failure}") from None
        answer = self._answers.get(tuple(argv))
        if answer is None and not self._mayWait:
            raise WouldWait(f"{source}: Match exec: {argv[0]}")
        if answer is None:
            answer = self._answers[tuple(argv)] = self._run(argv, source)
        return answer

    def _wantsExec(self, settings: Settings) -> bool:
        """Whether the person said so; what the whole system's file says is not that person's."""
        wants: bool = settings.get("limpetmatchexec", False)
        return wants and not settings.source("limpetmatchexec").system

    def _run(self, argv: list[str], source: Source) -> bool:
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                timeout=MATCH_EXEC_SECONDS,
                env=dict(self.environment),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise source.error(
                f"Match exec: {argv[0]} took longer than {MATCH_EXEC_SECONDS:g} seconds"
            ) from None
        except (OSError, ValueError) as failure:
            raise source.error(f"Match exec: {argv[0]} cannot be run: {failure}") from None
        return done.returncode == 0

    def tokens(self, settings: Settings, hostName: str, port: int) -> dict[str, str]:
        """What the tokens stand for that most keywords take."""
        name = socket.gethostname()
        jump = ",".join(str(host) for host in settings.get("proxyjump", ()))
        tokens = {
            "d": self.home,
            "h": hostName,
            "i": str(userNumber() or 0),
            "j": jump,
            "k": settings.get("hostkeyalias", settings.originalHost),
            "L": name.partition(".")[0],
            "l": name,
            "n": settings.originalHost,
            "p": str(port),
            "u": self.localUser,
        }
        user = self._user(settings, tokens)
        return tokens | {"C": connectionHash(name, hostName, str(port), user, jump), "r": user}

    def _user(self, settings: Settings, tokens: Mapping[str, str]) -> str:
        """Who is to log in; in a file tokens and variables may stand for parts of the name."""
        user = settings.user()
        if "user" not in settings.values or settings.source("user") is COMMAND_LINE:
            return checkUser(user)
        try:
            return checkUser(expandAll(user, tokens, self.environment), allowSpaces=True)
        except BadToken as failure:
            raise settings.source("user").error(f"User: {failure}") from None


def _localUser() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        number = userNumber()
        return "" if number is None else str(number)


# ── From what was found to the configuration ──────────────────────────────────────────────────


def _configOf(
    settings: Settings, machine: _Machine, arguments: LoadArguments, name: str, isPending: bool
) -> ClientConfig:
    refusal = settings.get("refuseconnection")
    if refusal:
        raise settings.source("refuseconnection").error(f"RefuseConnection: {refusal}")
    port: int = settings.get("port", DEFAULT_PORT)
    builder = _Builder(settings, machine, checkHost(name), port)
    return replace(builder.build(arguments), wantsLookUps=isPending)


class _Builder:
    """Puts together a `ClientConfig`: defaults, tokens, and what follows from several keywords."""

    def __init__(self, settings: Settings, machine: _Machine, hostName: str, port: int) -> None:
        self._settings = settings
        self._machine = machine
        self._hostName = hostName
        self._port = port
        self._tokens = machine.tokens(settings, hostName, port)
        self._warnings = list(settings.warnings)
        self._notes = list(settings.notes)

    def build(self, arguments: LoadArguments) -> ClientConfig:
        get = self._settings.get
        agent = get("forwardagent", "no")
        addKeys, addKeysSeconds = get("addkeystoagent", ("no", None))
        jumps = self._jumps()
        command = self._proxyCommand()
        timeout = get("connecttimeout")
        escape = get("escapechar", "~")
        return ClientConfig(
            host=self._settings.originalHost,
            hostName=self._hostName,
            port=self._port,
            user=self._tokens["r"],
            localUser=self._machine.localUser,
            addressFamily=get("addressfamily", "any"),
            bindAddress=get("bindaddress"),
            bindInterface=get("bindinterface"),
            canonicalizeHostname=get("canonicalizehostname", "no"),
            nameRules=_nameRules(self._settings),
            ipQoS=get("ipqos", (None, None)),
            versionAddendum=self._versionAddendum(),
            connectTimeout=float(timeout) if timeout else None,
            connectionAttempts=max(1, get("connectionattempts", 1)),
            tcpKeepAlive=get("tcpkeepalive", True),
            serverAliveInterval=get("serveraliveinterval", 0) or 0,
            serverAliveCountMax=get("serveralivecountmax", 3),
            proxyJump=jumps,
            proxyCommand=command,
            proxyArguments=None if command is None else self._proxyArguments(),
            proxyUseFdpass=get("proxyusefdpass", False),
            controlPath=self._controlPath(),
            controlMaster=get("controlmaster", "no"),
            controlPersist=get("controlpersist"),
            ciphers=self._algorithms("ciphers", DEFAULT_ALGORITHMS.ciphers, _KNOWN_CIPHERS),
            macs=self._algorithms("macs", DEFAULT_ALGORITHMS.macs, _KNOWN_MACS),
            kexAlgorithms=self._algorithms(
                "kexalgorithms", DEFAULT_ALGORITHMS.keyExchanges, frozenset(KEX_METHODS)
            ),
            hostKeyAlgorithms=self._algorithms(
                "hostkeyalgorithms", _DEFAULT_HOST_KEYS, frozenset(HOST_KEY_ALGORITHMS)
            ),
            hostKeyAlgorithmsGiven="hostkeyalgorithms" in self._settings.values,
            pubkeyAcceptedAlgorithms=self._algorithms(
                "pubkeyacceptedalgorithms", _DEFAULT_USER_KEYS, frozenset(HOST_KEY_ALGORITHMS)
            ),
            caSignatureAlgorithms=self._algorithms(
                "casignaturealgorithms",
                DEFAULT_SIGNATURE_ALGORITHMS,
                frozenset(DEFAULT_SIGNATURE_ALGORITHMS),
            ),
            requiredRSASize=get("requiredrsasize", 2048),
            rekeyLimit=get("rekeylimit", (0, 0)),
            compression=get("compression", False),
            strictHostKeyChecking=get("stricthostkeychecking", "ask"),
            userKnownHostsFiles=self._userFiles(),
            globalKnownHostsFiles=self._globalFiles(),
            hashKnownHosts=get("hashknownhosts", False),
            hostKeyAlias=get("hostkeyalias"),
            checkHostIP=get("checkhostip", False),
            noHostAuthenticationForLocalhost=get("nohostauthenticationforlocalhost", False),
            knownHostsCommand=self._command("knownhostscommand", KNOWN_HOSTS_TOKENS),
            revokedHostKeys=self._paths(get("revokedhostkeys", ()), "revokedhostkeys"),
            updateHostKeys=get("updatehostkeys", "no"),
            fingerprintHash=get("fingerprinthash", "sha256"),
            visualHostKey=get("visualhostkey", False),
            keystrokeMilliseconds=get("obscurekeystroketiming", 20),
            identityFiles=self._identities(),
            identityFilesGiven="identityfile" in self._settings.values,
            certificateFiles=self._paths(self._settings.all("certificatefile"), "certificatefile"),
            identitiesOnly=get("identitiesonly", False),
            identityAgent=self._agent(),
            addKeysToAgent=addKeys,
            addKeysToAgentSeconds=addKeysSeconds,
            preferredAuthentications=self._methods(),
            pubkeyAuthentication=get("pubkeyauthentication", "yes"),
            passwordAuthentication=get("passwordauthentication", True),
            kbdInteractiveAuthentication=get("kbdinteractiveauthentication", True),
            kbdInteractiveDevices=_names(get("kbdinteractivedevices", "")),
            numberOfPasswordPrompts=get("numberofpasswordprompts", 3),
            batchMode=get("batchmode", False),
            requestTTY=get("requesttty", "auto"),
            sessionType=get("sessiontype", "default"),
            remoteCommand=self._remoteCommand(),
            sendEnv=self._sendEnv(),
            setEnv=self._setEnv(),
            escapeChar=None if escape == "none" else escape,
            enableEscapeCommandline=get("enableescapecommandline", False),
            stdinNull=get("stdinnull", False),
            forkAfterAuthentication=get("forkafterauthentication", False),
            permitLocalCommand=get("permitlocalcommand", False),
            localCommand=self._localCommand(),
            channelTimeouts=list(get("channeltimeout", ())),
            logLevel=get("loglevel", "INFO"),
            warnWeakCrypto=get("warnweakcrypto", False),
            localForwards=self._forwards("localforward"),
            remoteForwards=self._forwards("remoteforward"),
            dynamicForwards=self._forwards("dynamicforward"),
            permitRemoteOpen=get("permitremoteopen"),
            exitOnForwardFailure=get("exitonforwardfailure", False),
            gatewayPorts=get("gatewayports", False),
            forwardAgent=agent != "no",
            forwardAgentPath=self._forwardedAgent(agent),
            streamLocalBindMask=get("streamlocalbindmask", 0o177),
            streamLocalBindUnlink=get("streamlocalbindunlink", False),
            tokens=self._tokens,
            warnings=self._warnings,
            notes=self._notes,
            settings=self._settings,
            loadedWith=arguments,
        )

    def _fail(self, keyword: str, failure: Exception) -> BadConfig:
        return self._settings.source(keyword).error(f"{keyword}: {failure}")

    def _jumps(self) -> tuple[JumpHost, ...]:
        jumps: tuple[JumpHost, ...] = self._settings.get("proxyjump", ())
        # `Host *` with a ProxyJump is about the jump host, too.
        if jumps and jumps[-1].host in (self._settings.originalHost, self._hostName):
            raise self._settings.source("proxyjump").error(
                f"ProxyJump leads to {self._settings.originalHost} through itself; "
                f"write above it: Host {self._settings.originalHost}, and ProxyJump none"
            )
        return jumps

    def _proxyCommand(self) -> str | None:
        text = self._settings.get("proxycommand")
        if text is None or text.lower() == "none":
            return None
        try:
            return expand(text, self._proxyTokens())
        except BadToken as failure:
            raise self._fail("proxycommand", failure) from None

    def _proxyArguments(self) -> list[str]:
        text = self._settings.get("proxycommand")
        try:
            return splitCommand(
                text, self._proxyTokens(), self._machine.environment, self._machine.home
            )
        except (NeedsShell, BadToken) as failure:
            raise self._fail("proxycommand", failure) from None

    def _proxyTokens(self) -> dict[str, str]:
        return {letter: self._tokens[letter] for letter in "hnpr"}

    def _algorithms(
        self, keyword: str, default: Sequence[bytes], known: frozenset[bytes]
    ) -> list[bytes]:
        wanted = self._settings.get(keyword)
        if wanted is None:
            return list(default)
        found, missing = preferred(wanted, default, known)
        source = self._settings.source(keyword)
        if not found:
            names = ",".join(name.decode("ascii") for name in sorted(known))
            raise source.error(f"{keyword} {wanted}: nothing of it is in Limpet, which has {names}")
        for name in missing:
            self._notes.append(f"{source}: {keyword}: {name} is not in Limpet and is left out")
        return found

    def _expanded(self, path: str, keyword: str) -> str:
        try:
            expanded = expandAll(path, self._tokens, self._machine.environment)
        except BadToken as failure:
            raise self._fail(keyword, failure) from None
        if not expanded.startswith("~"):
            return expanded
        return self._machine.atHome(expanded, self._settings.source(keyword))

    def _command(self, keyword: str, tokens: str) -> str | None:
        """A command as it was written, once it is clear that it can be run without a shell."""
        text: str | None = self._settings.get(keyword)
        if text is None or text.lower() == "none":
            return None
        known = self._tokens | dict.fromkeys(tokens, "NONE")
        try:
            splitCommand(text, known, self._machine.environment, self._machine.home)
        except (NeedsShell, BadToken) as failure:
            raise self._fail(keyword, failure) from None
        return text

    def _controlPath(self) -> str | None:
        path: str | None = self._settings.get("controlpath")
        return None if path in (None, "none") else self._expanded(path, "controlpath")

    def _localCommand(self) -> str | None:
        if not self._settings.get("permitlocalcommand", False):
            return None
        return self._command("localcommand", LOCAL_COMMAND_TOKENS)

    def _versionAddendum(self) -> str | None:
        text: str | None = self._settings.get("versionaddendum")
        if text is None or text.lower() == "none":
            return None
        addendum = self._expanded(text, "versionaddendum")
        if not (addendum.isascii() and addendum.isprintable() and len(addendum) <= MAX_ADDENDUM):
            problem = f"at most {MAX_ADDENDUM} printable characters of ASCII may stand there"
            raise self._fail("versionaddendum", ValueError(problem))
        return addendum

    def _paths(self, paths: Iterable[str], keyword: str) -> list[str]:
        return [self._expanded(path, keyword) for path in paths if path != "none"]

    def _userFiles(self) -> list[str]:
        files = self._settings.get("userknownhostsfile")
        if files is not None:
            return self._paths(files, "userknownhostsfile")
        directory = os.path.join(self._machine.home, ".ssh")
        return [os.path.join(directory, name) for name in ("known_hosts", "known_hosts2")]

    def _globalFiles(self) -> list[str]:
        usual = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
        files = self._settings.get("globalknownhostsfile", usual)
        return [expandHome(path, self._machine.home) for path in files if path != "none"]

    def _identities(self) -> list[str]:
        given = self._settings.all("identityfile")
        if not given:
            directory = os.path.join(self._machine.home, ".ssh")
            return [os.path.join(directory, name) for name in _DEFAULT_IDENTITIES]
        return self._paths(given, "identityfile")

    def _agent(self) -> str | None:
        path = self._settings.get("identityagent", "SSH_AUTH_SOCK")
        if path == "none":
            return None
        if path == "SSH_AUTH_SOCK":
            return self._machine.environment.get("SSH_AUTH_SOCK") or None
        if path.startswith("$") and not path.startswith("${"):
            return self._machine.environment.get(path[1:]) or None
        return self._expanded(path, "identityagent")

    def _forwardedAgent(self, agent: str) -> str | None:
        if agent in ("yes", "no"):
            return None
        if agent.startswith("$") and not agent.startswith("${"):
            return self._machine.environment.get(agent[1:]) or None
        return self._expanded(agent, "forwardagent")

    def _methods(self) -> list[str]:
        text = self._settings.get("preferredauthentications")
        return list(_DEFAULT_METHODS) if text is None else _names(text)

    def _remoteCommand(self) -> str | None:
        text = self._settings.get("remotecommand")
        if text is None or text == "none":
            return None
        try:
            return expand(text, self._tokens)
        except BadToken as failure:
            raise self._fail("remotecommand", failure) from None

    def _sendEnv(self) -> list[str]:
        found: list[str] = []
        for names in self._settings.all("sendenv"):
            for name in names:
                if name.startswith("-"):
                    pattern = os.fsencode(name[1:])
                    found = [old for old in found if not matchPattern(pattern, os.fsencode(old))]
                elif name not in found:
                    found.append(name)
        return found

    def _setEnv(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for assignment in self._settings.get("setenv", ()):
            name, _, value = assignment.partition("=")
            try:
                value = expandAll(value, self._tokens, self._machine.environment)
            except BadToken as failure:
                raise self._fail("setenv", failure) from None
            found.setdefault(name, value)
        return found

    def _forwards(self, keyword: str) -> list[ForwardSpec]:
        if self._settings.get("clearallforwardings", False):
            return []
        return [self._forward(spec, keyword) for spec in self._settings.all(keyword)]

    def _forward(self, spec: ForwardSpec, keyword: str) -> ForwardSpec:
        listen, target = spec.listenPath, spec.targetPath
        return replace(
            spec,
            listenPath=None if listen is None else self._expanded(listen, keyword),
            targetPath=None if target is None else self._expanded(target, keyword),
        )


def _names(text: str) -> list[str]:
    """The names of a list that commas join."""
    return [name for name in text.split(",") if name]
