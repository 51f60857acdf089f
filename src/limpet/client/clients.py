"""The client in three lines, for programs: connect, run, and what it did.

    client = await limpet.connect("deploy@web1")
    result = await client.run("uname -a")
    print(result.stdout, result.exitStatus)

Rule: everything here is a Deferred, so it can be awaited, chained and cancelled; output is bytes; a
failure is a `limpet.client.errors.ClientError` whose text a person can act on. The configuration is
the user's own (`~/.ssh/config`, known_hosts, keys, agent), and what the caller says goes before it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

from twisted.internet import defer
from twisted.python.failure import Failure

from limpet._reactor import getReactor
from limpet.client import connecting
from limpet.client.authenticating import Credentials
from limpet.client.config import (
    ClientConfig,
    ConfigError,
    ForwardSpec,
    LookUpName,
    WouldWait,
    loadClientConfig,
    parseDestination,
    parseForward,
    quoted,
)
from limpet.client.connecting import ClientConnection
from limpet.client.errors import ClientError, CommandTimedOut, RequestRefused
from limpet.client.filecopy import RemoteFiles
from limpet.client.forwards import Forward, Forwards
from limpet.client.hostpolicy import (
    DocumentedKnownHosts,
    HostKeyPolicy,
    JudgedHostKeys,
    KnownHostsPolicy,
    PinnedHostKeys,
)
from limpet.client.names import aside, systemLookUp
from limpet.client.processes import RemoteProcess, Result
from limpet.client.programs import EXEC, SHELL, SUBSYSTEM, Program, Terminal
from limpet.client.streams import StreamReceiver
from limpet.core.sshconfig import BadPlace
from limpet.ssh.keys import BadKeyError, Certificate, EncryptedKeyError, Key

Text = str | bytes
KeySource = Key | str | Path
HostKeys = HostKeyPolicy | str | Path | Sequence[Key | str] | Callable[[str, int, Key], Any] | None


def connect(
    destination: str,
    *,
    user: str | None = None,
    port: int | None = None,
    password: Text | None = None,
    keys: Iterable[KeySource] = (),
    passphrase: Text | None = None,
    certificates: Iterable[Certificate | str | Path] = (),
    answer: Callable[[bytes, bytes, list[tuple[bytes, bool]]], Any] | None = None,
    hostKeys: HostKeys = None,
    options: Mapping[str, object] | None = None,
    configFiles: Sequence[str | Path] | None = None,
    only: bool = False,
    through: Client | None = None,
    ui: Any = None,
    reactor: Any = None,
) -> defer.Deferred[Client]:
    """Connect to a host and log in.

    Args:
        destination: "host", "user@host" or "ssh://user@host:port"; a `Host` of the user's
            configuration is one, too.
        user: The name to log in under, in place of the configuration's.
        port: The port, likewise.
        password: A password, for the server's methods password and keyboard-interactive.
        keys: Private keys to offer, or paths of their files, before those of the configuration.
        passphrase: What the files in `keys` are encrypted with.
        certificates: Certificates for any of the keys, or paths of their files.
        answer: Answers what the server asks by keyboard-interactive: called with a title, a text
            and a list of (prompt, echo); gives a list of bytes, or a Deferred of one.
        hostKeys: Who vouches for the host: None for the user's known_hosts; the path of another
            such file; a list of keys, or of fingerprints "SHA256:…"; a function of name, port and
            `Key` that says True; a `KnownHostsFile`.
        options: More of ssh_config(5), such as {"ConnectTimeout": 10, "ProxyJump": "bastion"};
            before anything that files say.
        configFiles: The files to read; None for the user's and the system's, () for none.
        only: Whether keys, agent and passwords are only those given here.
        through: A client to whose host to connect first, in place of a ProxyJump or a
            ProxyCommand. It stays its owner's, and goes on when this connection ends.
        ui: Whom to ask, an `IUserInterface`; None for nobody, so that a host that is not known is
            refused and no passphrase asked for.
        reactor: The reactor; None for Twisted's own.

    Returns:
        A Deferred of the `Client`. It fails with a `ClientError`: `ConnectFailed`,
        `HandshakeFailed`, `HostKeyRefused`, `AuthenticationFailed`, `ConfigError`. It may be
        cancelled.
    """
    try:
        load = partial(_configFor, destination, user, port, hostKeys, options, configFiles)
        config = _unlessItWaits(load)
        credentials = Credentials(
            keys=[_keyFrom(key, passphrase) for key in keys],
            certificates=[_certificateFrom(certificate) for certificate in certificates],
            password=None if password is None else _bytes(password),
            answer=answer,
            only=only,
        )
        running = getReactor() if reactor is None else reactor
        policy = _policyFor(hostKeys, running)
    except ClientError:
        return defer.fail()

    def connectAs(found: ClientConfig) -> defer.Deferred[connecting.ClientConnection]:
        return connecting.connect(
            running,
            found,
            ui,
            credentials=credentials,
            hostKeys=policy,
            through=None if through is None else through.connection,
        )

    if config is not None:
        return connectAs(config).addCallback(Client)
    # Once more, now with commands and the resolver, where waiting for them does no harm.
    loading = aside(running, load, systemLookUp)
    return loading.addCallback(connectAs).addCallback(Client)


def _unlessItWaits(load: Callable[..., ClientConfig]) -> ClientConfig | None:
    """A configuration; None where a command or the resolver has to be waited for."""
    try:
        config = load(mayWait=False)
    except WouldWait:
        return None
    return None if config.wantsLookUps else config


def _configFor(
    destination: str,
    user: str | None,
    port: int | None,
    hostKeys: HostKeys,
    options: Mapping[str, object] | None,
    configFiles: Sequence[str | Path] | None,
    lookUp: LookUpName | None = None,
    mayWait: bool = True,
) -> ClientConfig:
    try:
        place = parseDestination(destination)
    except BadPlace as failure:
        raise ConfigError(f"{destination!r} is no destination: {failure}") from None
    overrides: list[tuple[str, str]] = []
    if (user := user if user is not None else place.user) is not None:
        overrides.append(("User", quoted(user)))
    if (port := port if port is not None else place.port) is not None:
        overrides.append(("Port", str(port)))
    if isinstance(hostKeys, str | Path):
        overrides.append(("UserKnownHostsFile", quoted(os.fspath(hostKeys))))
    for name, value in (options or {}).items():
        if isinstance(value, bool):
            value = "yes" if value else "no"
        overrides.append((name, str(value)))
    files = None if configFiles is None else [Path(name) for name in configFiles]
    return loadClientConfig(
        place.host, overrides=overrides, files=files, lookUp=lookUp, mayWait=mayWait
    )


def _policyFor(hostKeys: Any, reactor: Any) -> HostKeyPolicy:
    if hostKeys is None or isinstance(hostKeys, str | Path):
        return KnownHostsPolicy(reactor)
    if isinstance(hostKeys, list | tuple | set | frozenset):
        return PinnedHostKeys(hostKeys)
    if callable(getattr(hostKeys, "verifyHostKey", None)):
        return DocumentedKnownHosts(hostKeys)
    if all(callable(getattr(hostKeys, name, None)) for name in ("verify", "algorithms")):
        policy: HostKeyPolicy = hostKeys
        return policy
    if callable(hostKeys):
        return JudgedHostKeys(hostKeys)
    raise TypeError(f"{hostKeys!r} says nothing about host keys")


def _keyFrom(source: KeySource, passphrase: Text | None) -> Key:
    if isinstance(source, Key):
        return source
    path = Path(source).expanduser()
    try:
        return Key.fromFile(path, passphrase=passphrase)
    except EncryptedKeyError:
        raise ClientError(f"the key {path} is encrypted; give its passphrase") from None
    except OSError as failure:
        raise ClientError(f"the key {path} cannot be read: {failure.strerror}") from None
    except BadKeyError as failure:
        raise ClientError(f"the key {path} cannot be used: {failure}") from None


def _certificateFrom(source: Certificate | str | Path) -> Certificate:
    if isinstance(source, Certificate):
        return source
    path = Path(source).expanduser()
    try:
        return Certificate.fromString(path.read_bytes())
    except OSError as failure:
        raise ClientError(f"the certificate {path} cannot be read: {failure.strerror}") from None
    except BadKeyError as failure:
        raise ClientError(f"the certificate {path} cannot be used: {failure}") from None


def _bytes(text: Text) -> bytes:
    return text.encode("utf-8") if isinstance(text, str) else text


def _commandLine(command: Text) -> bytes:
    if not isinstance(command, str | bytes):
        raise TypeError(
            f"a command is a line, str or bytes, and not {type(command).__name__}: the shell over "
            "there takes it apart; shlex.join makes a line of words"
        )
    return _bytes(command)


class Client:
    """A connection that is logged in, for running things on it.

    It is an asynchronous context manager, which closes it at the end.

    Attributes:
        connection: The `ClientConnection` below.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self._reactor = connection.reactor
        self._forwards: Forwards | None = None

    @property
    def config(self) -> ClientConfig:
        """What the connection was made from."""
        return self.connection.config

    @property
    def closed(self) -> defer.Deferred[ClientError | None]:
        """A new Deferred that fires when the connection is over; see `ClientConnection.closed`."""
        return self.connection.closed

    # ── programs ──────────────────────────────────────────────────────────────────────────────

    def run(
        self,
        command: Text,
        *,
        input: bytes | IO[bytes] = b"",
        env: Mapping[str, str] | None = None,
        terminal: Terminal | None = None,
        check: bool = False,
        timeoutSeconds: float | None = None,
        forwardAgent: bool | None = None,
    ) -> defer.Deferred[Result]:
        """Run a command to its end.

        Args:
            command: The command line; the user's shell over there takes it apart.
            input: What it reads from its standard input: bytes, or a file, which is sent as fast
                as the command takes it, and must not be closed before. A pipe, a socket or a
                terminal is read when it has something; any other file in the reactor's own thread,
                so that it should not have to be waited for. One that cannot be read fails the
                command.
            env: Variables to set; servers take few of them (AcceptEnv).
            terminal: A terminal to run it in; None for pipes. In a terminal its errors are among
                its output.
            check: Whether a command that does not end with status 0 is an error.
            timeoutSeconds: When to give it up, and close its channel.
            forwardAgent: Whether the command may use the agent here, as docs/agent.md says; None
                for what the configuration says (ForwardAgent).

        Returns:
            A Deferred of the `Result`. It fails with `RequestRefused`, `ConnectionEnded`,
            `CommandFailed` (where `check` is true) or `CommandTimedOut`. Cancelling it closes the
            command's channel.
        """
        try:
            lends = self._lendsAgent(forwardAgent)
        except RequestRefused:
            return defer.fail()
        if isinstance(input, bytearray | memoryview):
            input = bytes(input)
        if not isinstance(input, bytes) and not hasattr(input, "read"):
            raise TypeError(
                f"the input is bytes or an open file, and not {type(input).__name__}; a text has "
                "to be encoded"
            )
        program = Program(EXEC, _commandLine(command), _environment(env), terminal, lends)
        process = self._open(program, None, input)
        process.collect()
        # Its failure is that of `wait` as well.
        process.started.addErrback(lambda ignored: None)
        done: defer.Deferred[Any] = process.wait()
        timer = None
        timedOut = False

        def giveUp() -> None:
            nonlocal timedOut
            timedOut = True
            process.abort()
            # The server may take its time to close the channel, or not even have opened it.
            done.cancel()

        if timeoutSeconds is not None:
            clock = self.connection.transport.clock
            if clock is not None:
                timer = clock.callLater(timeoutSeconds, giveUp)

        def ended(outcome: Any) -> Any:
            if timer is not None and timer.active():
                timer.cancel()
            result = process.result()
            if timedOut:
                raise CommandTimedOut(f"{program} took longer than {timeoutSeconds:g} s", result)
            if isinstance(outcome, Failure):
                if outcome.check(defer.CancelledError):
                    process.abort()
                elif isinstance(outcome.value, ClientError):
                    outcome.value.result = result
                return outcome
            return result.check() if check else result

        return done.addBoth(ended)

    def start(
        self,
        command: Text | None = None,
        *,
        env: Mapping[str, str] | None = None,
        terminal: Terminal | None = None,
        stderr: str | None = None,
        forwardAgent: bool | None = None,
    ) -> defer.Deferred[RemoteProcess]:
        """Start a command, or a shell, and talk to it while it runs.

        Args:
            command: The command line; None for the user's shell.
            env: Variables to set.
            terminal: A terminal to run it in; None for pipes.
            stderr: Where its errors go: None for an output of their own,
                `limpet.client.processes.STDOUT` or `DISCARD`.
            forwardAgent: As for `run`.

        Returns:
            A Deferred of the `RemoteProcess`; it fails with `RequestRefused` or `ConnectionEnded`.
        """
        kind, line = (SHELL, b"") if command is None else (EXEC, _commandLine(command))
        try:
            lends = self._lendsAgent(forwardAgent)
        except RequestRefused:
            return defer.fail()
        return self._open(Program(kind, line, _environment(env), terminal, lends), stderr).started

    def subsystem(self, name: Text, protocol: Any = None) -> defer.Deferred[Any]:
        """Start a subsystem.

        Args:
            name: Its name, "sftp".
            protocol: A `Protocol` to connect to it; its transport is the channel. None for a
                `RemoteProcess` in its place.

        Returns:
            A Deferred of the protocol or the process; it fails with `RequestRefused` or
            `ConnectionEnded`.
        """
        program = Program(SUBSYSTEM, _bytes(name))
        if protocol is None:
            return self._open(program, None).started
        receiver = StreamReceiver(program, protocol)
        self.connection.connection.openChannel(receiver.channel)
        return receiver.connected

    def _lendsAgent(self, wanted: bool | None) -> bool:
        """Lend the server the agent, if that is wanted.

        Raises:
            RequestRefused: It is asked for here, and cannot be; see `ClientConnection.lendAgent`.
        """
        if not (self.config.forwardAgent if wanted is None else wanted):
            return False
        try:
            self.connection.lendAgent()
        except RequestRefused:
            if wanted:
                raise
            # A configuration asks for it wherever there is an agent, as ssh has it.
            return False
        return True

    def _open(
        self, program: Program, stderr: str | None, input: bytes | IO[bytes] | None = None
    ) -> RemoteProcess:
        process = RemoteProcess(program, lambda: self.connection.closed, stderr, input)
        self.connection.connection.openChannel(process.channel)
        return process

    # ── files and forwardings ─────────────────────────────────────────────────────────────────

    def files(self) -> defer.Deferred[RemoteFiles]:
        """The files at the other end, by SFTP.

        Returns:
            A Deferred of a `limpet.client.filecopy.RemoteFiles`; fails with `RequestRefused`.
        """
        return RemoteFiles.open(self.connection.connection, self._reactor)

    def forwardLocal(self, spec: str) -> defer.Deferred[Forward]:
        """Listen here, and have the server connect (`ssh -L`).

        Args:
            spec: "8080:db.internal:5432", "127.0.0.1:8080:…", or with paths of Unix sockets. Port 0
                lets the system choose one.

        Returns:
            A Deferred of the `limpet.client.forwards.Forward`, which knows its `port` and can be
            closed; it fails with a `ClientError`.
        """
        return self._forwarded(self._forwardings().local, spec, isDynamic=False)

    def forwardRemote(self, spec: str) -> defer.Deferred[Forward]:
        """Have the server listen, and connect from here: "8080:localhost:80" (`ssh -R`)."""
        return self._forwarded(self._forwardings().remote, spec, isDynamic=False)

    def forwardSocks(self, spec: str) -> defer.Deferred[Forward]:
        """Listen here for SOCKS, and have the server connect wherever it asks: "1080"."""
        return self._forwarded(self._forwardings().dynamic, spec, isDynamic=True)

    def _forwardings(self) -> Forwards:
        if self._forwards is None:
            self._forwards = Forwards(self._reactor, self.connection.connection)
        return self._forwards

    def _forwarded(
        self,
        begin: Callable[[ForwardSpec], defer.Deferred[Forward]],
        spec: str,
        *,
        isDynamic: bool,
    ) -> defer.Deferred[Forward]:
        try:
            # As of a remote one, whose port may be 0: here the system can choose, too.
            parsed = parseForward(spec, dynamic=isDynamic, remote=True)
        except BadPlace as failure:
            return defer.fail(ConfigError(str(failure)))
        if parsed.isDynamic is not isDynamic:
            return defer.fail(ConfigError(f"{spec!r} does not say what to connect to"))
        return begin(parsed)

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def close(self) -> defer.Deferred[ClientError | None]:
        """Close the connection behind what was written, and all that runs on it.

        Returns:
            A Deferred that fires when it is closed.
        """
        return self.connection.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()


def _environment(variables: Mapping[str, str] | None) -> dict[bytes, bytes]:
    return {os.fsencode(name): os.fsencode(value) for name, value in (variables or {}).items()}


__all__ = ["Client", "connect"]
