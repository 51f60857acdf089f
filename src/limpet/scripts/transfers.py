"""What `limpet sftp` and `limpet cp` share: connections, and the way to end.

Rule: what a person is asked or told while connecting goes to the terminal and standard error, as in
`limpet ssh`; errors are one line each, and 255 stands for a connection that did not come about.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from limpet.client.askpass import askpassOf
from limpet.client.config import ClientConfig, loadClientConfig
from limpet.client.connecting import ClientConnection, connect
from limpet.client.errors import ClientError, shown
from limpet.client.filecopy import RemoteFiles, openSFTP
from limpet.client.filecopy.pipes import spawnSFTP
from limpet.client.filecopy.problems import LOST, reasonOf
from limpet.client.filecopy.shared import SharedSFTP
from limpet.client.names import systemLookUp
from limpet.client.sharing import Master, SharingFailed
from limpet.client.terminal import TerminalInterface
from limpet.scripts.messages import Loudness, Messages, startLogging
from limpet.scripts.reactors import commandReactor
from limpet.scripts.reactorthread import ReactorThread
from limpet.scripts.standard import leave
from limpet.scripts.transferoptions import Place, Transfer, Usage
from limpet.ssh.filetransfer.base import SFTPError

NO_CONNECTION = 255
FAILED = 1
INTERRUPTED = 130
GOODBYE_SECONDS = 2.0


class Stopped(KeyboardInterrupt):
    """A signal asks the command to end; what is under way is tidied up as after Ctrl-C."""


class Transfers:
    """One run of a command that transfers files.

    Args:
        transfer: What was asked for.

    Attributes:
        messages: Where errors are told.
        thread: The reactor's.
        meter: Shows progress, a `Meter`; None where nobody wants to see it.
    """

    def __init__(self, transfer: Transfer) -> None:
        self.transfer = transfer
        self.messages = Messages()
        self.thread = ReactorThread(commandReactor())
        self.meter: Any = None
        if sys.stdout.isatty() and not transfer.quiet and transfer.batch is None:
            # Loaded only where it is seen: it takes a tenth of a second.
            from limpet.scripts.progressbar import terminalMeter

            self.meter = terminalMeter()
        self._connections: list[ClientConnection] = []
        self._shared: list[SharedSFTP] = []
        self._ui: TerminalInterface | None = None

    def start(self) -> None:
        """Start the reactor, and let signals end what is under way."""
        startLogging(self.messages)
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _stop)
        self.thread.start()

    def open(self, place: Place) -> RemoteFiles:
        """Connect to a place, and start file transfer there.

        Raises:
            ClientError: It did not come about.
        """
        if self.transfer.command is not None:
            try:
                words = shlex.split(self.transfer.command)
            except ValueError as failure:
                raise ClientError(f"-D {shown(self.transfer.command)!r}: {failure}") from None
            return self.thread.call(self._openCommand, words)
        config = self._configure(place)
        shared = self._share(config)
        if shared is not None:
            return self.thread.call(self._openShared, shared)
        return self.thread.call(self._open, config)

    def _share(self, config: ClientConfig) -> SharedSFTP | None:
        """A session of the master that the configuration names, if there is one."""
        path = config.controlPath
        if path is None:
            return None
        variables = [f"{name}={value}" for name, value in config.environment(os.environ).items()]
        try:
            master = Master.at(path, config.connectTimeout)
            if master is None:
                self.messages.say(f"no master at {path}", Loudness.DEBUG1)
                return None
            subsystem = os.fsencode(self.transfer.subsystem)
            shared = SharedSFTP(master, subsystem, map(os.fsencode, variables))
        except SharingFailed as failure:
            self.messages.say(f"{failure}; connecting without it")
            return None
        self.messages.say(f"using the connection of the master at {path}", Loudness.DEBUG1)
        self._shared.append(shared)
        return shared

    async def _openShared(self, shared: SharedSFTP) -> RemoteFiles:
        client = shared.connect(self.thread.reactor, self._serverSays)
        return self._prepared(await RemoteFiles.of(client, self.thread.reactor))

    def _configure(self, place: Place) -> ClientConfig:
        name = self.transfer.configFile
        files = None if name is None else () if name == "none" else (Path(name),)
        config = loadClientConfig(
            place.host or "",
            overrides=self.transfer.overrides(place),
            files=files,
            command=self.transfer.subsystem,
            lookUp=systemLookUp,
        )
        quiet = self.transfer.quiet
        self.messages.loudness = Loudness.ERROR if quiet else Loudness[config.logLevel]
        for text in config.warnings:
            self.messages.say(text)
        for text in config.notes:
            self.messages.say(text, Loudness.VERBOSE)
        self.messages.sayHow(config)
        return config

    async def _open(self, config: ClientConfig) -> RemoteFiles:
        ui = self._ui = TerminalInterface(
            self.thread.reactor,
            self.messages.say,
            mayAsk=not config.batchMode,
            askpass=askpassOf(os.environ),
            follow=self.messages.follow,
        )
        try:
            connection = await connect(self.thread.reactor, config, ui)
        finally:
            # The process may end before the connection has: a question that is still open would
            # leave the terminal as it is while a secret is typed.
            ui.abandon()
        self._connections.append(connection)
        subsystem = self.transfer.subsystem.encode("utf-8", "surrogateescape")
        client = await openSFTP(connection.connection, subsystem, self._serverSays)
        return self._prepared(await RemoteFiles.of(client, self.thread.reactor))

    async def _openCommand(self, command: list[str]) -> RemoteFiles:
        try:
            client = spawnSFTP(self.thread.reactor, command, self._serverSays)
        except (OSError, IndexError) as failure:
            why = failure.strerror if isinstance(failure, OSError) else "it names no program"
            raise ClientError(f"cannot start {shown(' '.join(command))!r} (-D): {why}") from None
        return self._prepared(await RemoteFiles.of(client, self.thread.reactor))

    def _prepared(self, files: RemoteFiles) -> RemoteFiles:
        """Apply -B, -R and -l."""
        session, transfer = files.session, self.transfer
        if transfer.requests is not None:
            session.requests = transfer.requests
        if transfer.buffer is not None:
            session.readSize = min(session.readSize, transfer.buffer)
            session.writeSize = min(session.writeSize, transfer.buffer)
        if transfer.rate is not None:
            files.limitRate(self.thread.reactor, transfer.rate)
        return files

    def _serverSays(self, data: bytes) -> None:
        self.messages.say(data.decode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """End the connections; waits for a goodbye, but not for long."""

        async def close() -> None:
            for connection in self._connections:
                closed = connection.close().addTimeout(GOODBYE_SECONDS, self.thread.reactor)
                await closed.addErrback(lambda failure: None)

        self.thread.call(close)
        for shared in self._shared:
            shared.close()

    def tell(self, text: str) -> None:
        """Tell what went wrong, not into a progress bar."""
        self.hide()
        self.messages.say(text, Loudness.ERROR)

    def hide(self) -> None:
        """Take the progress bars away; they come back by themselves."""
        if self.meter is not None:
            self.meter.hide()

    def begin(self) -> None:
        """A copy begins."""
        if self.meter is not None:
            self.meter.begin()

    def end(self) -> None:
        """It is over."""
        if self.meter is not None:
            self.meter.end()


def runTransfers(
    command: str,
    parse: Callable[[Sequence[str]], Transfer],
    usage: str,
    arguments: Sequence[str],
    work: Callable[[Transfers], int],
) -> NoReturn:
    """Do what the arguments ask for, and end the process with its exit status.

    Args:
        command: Its name.
        parse: Reads the arguments; raises `Usage`.
        usage: What is shown of them.
        arguments: The arguments.
        work: Does it; returns the exit status.
    """
    try:
        transfer = parse(arguments)
    except Usage as mistake:
        Messages().sayUsage(str(mistake), command, usage)
        leave(FAILED)
    if transfer.help:
        sys.stdout.write(usage)
        leave(0)
    transfers = Transfers(transfer)
    try:
        transfers.start()
        status = work(transfers)
        transfers.close()
    except KeyboardInterrupt:
        transfers.end()
        status = INTERRUPTED
    except ClientError as error:
        transfers.tell(str(error))
        status = NO_CONNECTION
    except (*LOST, SFTPError) as error:
        transfers.tell(reasonOf(error))
        status = NO_CONNECTION
    leave(status)


def _stop(number: int, frame: Any) -> None:
    raise Stopped


__all__ = ["FAILED", "Stopped", "Transfers", "runTransfers"]
