"""The client for programs on plain asyncio: `limpet.connect` and what it gives, as coroutines.

Rule: one core, two faces. What Twisted's face gives as Deferreds are coroutines here; names are
asyncio's, because its users expect them, those of arguments and of what results have included;
errors are those of `limpet.client.errors`. A cancelled coroutine ends what it had begun: the
connection, the command.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass
from typing import IO, Any, NamedTuple, TypeVar

from twisted.internet.defer import Deferred

from limpet.aio.loops import reactor_for
from limpet.client import clients, filecopy, forwards, processes, programs
from limpet.client.errors import (
    ClientError,
    CommandFailed,
)
from limpet.client.filecopy import CopyProblem, RemoteFiles, trees
from limpet.client.filecopy.remotefiles import Path
from limpet.client.processes import RemoteProcess, describeEnding
from limpet.client.programs import Terminal
from limpet.wire.sftp import StatVfs

_Value = TypeVar("_Value")


async def _come(
    deferred: Deferred[_Value], undo: Callable[[_Value], object] | None = None
) -> _Value:
    """What a Deferred comes to, on the running loop; to cancel it cancels that.

    What an error holds of a result has the names of this module, as every other result.

    Args:
        deferred: The Deferred.
        undo: Gets a result that nobody else gets: one that comes as the task is cancelled.
    """
    arrived: list[_Value] = []
    isGivenUp = False

    def note(result: _Value) -> _Value:
        if isGivenUp and undo is not None:
            undo(result)
        else:
            arrived.append(result)
        return result

    if undo is not None:
        deferred.addCallback(note)
    try:
        return await deferred.asFuture(asyncio.get_running_loop())
    except asyncio.CancelledError:
        if undo is not None:
            isGivenUp = True
            for result in arrived:
                undo(result)
        raise
    except ClientError as error:
        if isinstance(error.result, processes.Result):
            error.result = Result.of(error.result)
        elif isinstance(error.result, filecopy.CopyResult):
            error.result = CopyResult.of(error.result)
        raise


# ── What comes of it ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Result:
    """What a command did.

    Attributes:
        command: The command.
        stdout: What it wrote to standard output.
        stderr: What it wrote to standard error.
        exit_status: Its exit status; None where a signal ended it, or the server does not say.
        exit_signal: The signal that ended it, "TERM"; None where none did.
    """

    command: str
    stdout: bytes
    stderr: bytes
    exit_status: int | None
    exit_signal: str | None = None

    @classmethod
    def of(cls, result: processes.Result) -> Result:
        """The same, with the names of this module."""
        return cls(
            result.command, result.stdout, result.stderr, result.exitStatus, result.exitSignal
        )

    @property
    def succeeded(self) -> bool:
        """Whether it ended with status 0."""
        return self.exit_status == 0

    def check(self) -> Result:
        """This result; CommandFailed where the command did not succeed."""
        if self.succeeded:
            return self
        raise CommandFailed(
            describeEnding(self.command, self.exit_status, self.exit_signal, self.stderr), self
        )


@dataclass(frozen=True)
class Ending:
    """How a program ended.

    Attributes:
        exit_status: Its exit status; None where the server said none.
        exit_signal: The signal that ended it, "TERM"; None where none did.
        core_dumped: Whether it left a core file.
        message: What the server said about it.
        lost: Whether the connection was gone before the server said anything.
        closed: Whether this end closed the channel first.
    """

    exit_status: int | None = None
    exit_signal: str | None = None
    core_dumped: bool = False
    message: str = ""
    lost: bool = False
    closed: bool = False

    @classmethod
    def of(cls, ending: programs.Ending) -> Ending:
        """The same, with the names of this module."""
        return cls(
            exit_status=ending.exitStatus,
            exit_signal=ending.exitSignal,
            core_dumped=ending.coreDumped,
            message=ending.message,
            lost=ending.lost,
            closed=ending.closed,
        )


@dataclass(frozen=True)
class CopyResult:
    """What was copied.

    Attributes:
        files: How many files, those included that were there already.
        directories: How many directories.
        links: How many symbolic links were made.
        bytes_moved: How many bytes.
        skipped: Paths of what is neither file nor directory, and of links that were not wanted.
        problems: What went wrong.
    """

    files: int
    directories: int
    links: int
    bytes_moved: int
    skipped: list[bytes]
    problems: list[CopyProblem]

    @classmethod
    def of(cls, result: filecopy.CopyResult) -> CopyResult:
        """The same, with the names of this module."""
        return cls(
            files=result.files,
            directories=result.directories,
            links=result.links,
            bytes_moved=result.bytesMoved,
            skipped=result.skipped,
            problems=result.problems,
        )


class DirectoryEntry(NamedTuple):
    """A name in a directory at the server.

    Attributes:
        name: The name, as text.
        attrs: Its attributes, of a link itself.
    """

    name: str
    attrs: Mapping[str, Any]

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return trees.isDirectory(self.attrs)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return trees.isLink(self.attrs)

    @property
    def size(self) -> int | None:
        """Its size in bytes; None where the server does not say."""
        return self.attrs.get("size")


# ── Connecting ────────────────────────────────────────────────────────────────────────────────


class _Connecting(Coroutine[Any, Any, "Client"]):
    """What `connect` returns: a coroutine, which may be entered by `async with` as well."""

    def __init__(self, start: Callable[[], Coroutine[Any, Any, Client]]) -> None:
        self._start = start
        self._begun: Coroutine[Any, Any, Client] | None = None
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        return self._start().__await__()

    def send(self, value: Any) -> Any:
        """What a task does with a coroutine, as with `asyncio.run(connect(…))`."""
        if self._begun is None:
            self._begun = self._start()
        return self._begun.send(value)

    def throw(self, *exception: Any) -> Any:
        """The same, where the task is cancelled."""
        if self._begun is None:
            self._begun = self._start()
        return self._begun.throw(*exception)

    def close(self) -> None:
        """The same, where the task never ran."""
        if self._begun is not None:
            self._begun.close()

    async def __aenter__(self) -> Client:
        self._client = await self._start()
        return self._client

    async def __aexit__(self, *exception: object) -> None:
        if self._client is not None:
            await self._client.close()


def connect(destination: str, **arguments: Any) -> _Connecting:
    """Connect to a host and log in: `client = await connect(…)`, or `async with connect(…) as …`.

    Args:
        destination: "host", "user@host" or "ssh://user@host:port".
        arguments: Those of `limpet.connect` but the reactor, in snake_case: user, port, password,
            keys, passphrase, certificates, answer (which may be a coroutine function), host_keys,
            options, config_files, only, through (a `Client` of this loop), ui.

    Raises:
        ClientError: As `limpet.connect`; when it is awaited.
        TypeError: There is no such argument.
    """
    given = _camel(arguments)
    for name, camel in zip(arguments, given, strict=True):
        if camel not in _ARGUMENTS:
            known = ", ".join(sorted(_ARGUMENTS.values()))
            raise TypeError(f"connect() has no argument {name}; there are {known}")
    through = given.get("through")
    if through is not None:
        given["through"] = through.twisted
    answer = given.get("answer")
    if answer is not None:
        given["answer"] = lambda *asked: _maybe_coroutine(answer(*asked))

    async def start() -> Client:
        reactor = reactor_for(asyncio.get_running_loop())
        connecting = clients.connect(destination, reactor=reactor, **given)
        return Client(await _come(connecting, lambda client: client.close()))

    return _Connecting(start)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


_ARGUMENTS = {
    name: _snake(name)
    for name in inspect.signature(clients.connect).parameters
    if name not in ("destination", "reactor")
}
"""What `limpet.connect` takes, and what it is called here."""


def _camel(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by the names that Twisted's face has for them: hostKeys for host_keys.

    Raises:
        TypeError: One is written that way already.
    """
    named = {}
    for name, value in arguments.items():
        if name != name.lower():
            raise TypeError(f"there is no argument {name}: names are in snake_case here")
        first, *others = name.split("_")
        named[first + "".join(word.capitalize() for word in others)] = value
    return named


def _maybe_coroutine(value: Any) -> Any:
    if asyncio.iscoroutine(value):
        return Deferred.fromFuture(asyncio.ensure_future(value))
    return value


class Client:
    """A connection that is logged in; made by `connect`.

    Attributes:
        twisted: The same, with Deferreds: a `limpet.client.clients.Client`.
    """

    def __init__(self, client: clients.Client) -> None:
        self.twisted = client

    async def run(
        self,
        command: str | bytes,
        *,
        input: bytes | IO[bytes] = b"",
        env: Mapping[str, str] | None = None,
        terminal: Terminal | None = None,
        check: bool = False,
        timeout: float | None = None,
        forward_agent: bool | None = None,
    ) -> Result:
        """Run a command to its end; as `limpet.client.clients.Client.run`."""
        running = self.twisted.run(
            command,
            input=input,
            env=env,
            terminal=terminal,
            check=check,
            timeoutSeconds=timeout,
            forwardAgent=forward_agent,
        )
        return Result.of(await _come(running))

    async def start(
        self,
        command: str | bytes | None = None,
        *,
        env: Mapping[str, str] | None = None,
        terminal: Terminal | None = None,
        stderr: str | None = None,
        forward_agent: bool | None = None,
    ) -> Process:
        """Start a command, or a shell where there is none; as `limpet.client.clients.Client`'s."""
        starting = self.twisted.start(
            command, env=env, terminal=terminal, stderr=stderr, forwardAgent=forward_agent
        )
        return Process(await _come(starting, lambda process: process.abort()))

    async def subsystem(self, name: str | bytes) -> Process:
        """Start a subsystem, to be written to and read from."""
        starting = self.twisted.subsystem(name)
        return Process(await _come(starting, lambda process: process.abort()))

    async def files(self) -> Files:
        """The files at the server, over SFTP; as `limpet.client.filecopy.RemoteFiles`."""
        return Files(await _come(self.twisted.files(), lambda files: files.close()))

    async def forward_local(self, spec: str) -> Forward:
        """Listen here, and have the server connect: "8080:db.internal:5432" (`ssh -L`)."""
        return await _forward(self.twisted.forwardLocal(spec))

    async def forward_remote(self, spec: str) -> Forward:
        """Have the server listen, and connect from here: "8080:localhost:80" (`ssh -R`)."""
        return await _forward(self.twisted.forwardRemote(spec))

    async def forward_socks(self, spec: str) -> Forward:
        """Listen here for SOCKS, and have the server connect wherever it asks: "1080"."""
        return await _forward(self.twisted.forwardSocks(spec))

    async def close(self) -> None:
        """Close the connection, and wait until it is closed."""
        await _come(self.twisted.close())

    async def wait_closed(self) -> ClientError | None:
        """Wait until the connection is over: why it ended, None where this end closed it."""
        return await _come(self.twisted.closed)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()


class Files:
    """The files of a user at a server; made by `Client.files`.

    Paths are text or bytes, and relative ones start at the user's home. Options are the fields of
    `limpet.client.filecopy.CopyOptions`, in snake_case. What fails raises as `twisted` does.

    Attributes:
        twisted: The same, with Deferreds: a `limpet.client.filecopy.RemoteFiles`.
    """

    def __init__(self, files: RemoteFiles) -> None:
        self.twisted = files

    async def get(self, remote: Path, local: Path | None = None, **options: Any) -> CopyResult:
        """Copy a file or a tree from the server, into a directory or to a new name."""
        return CopyResult.of(await _come(self.twisted.get(remote, local, **_camel(options))))

    async def put(self, local: Path, remote: Path | None = None, **options: Any) -> CopyResult:
        """Copy a file or a tree to the server."""
        return CopyResult.of(await _come(self.twisted.put(local, remote, **_camel(options))))

    async def copy(self, source: Path, target: Path, **options: Any) -> CopyResult:
        """Copy a file at the server to another place there."""
        return CopyResult.of(await _come(self.twisted.copy(source, target, **_camel(options))))

    async def read(self, path: Path) -> bytes:
        """The content of a file."""
        return await _come(self.twisted.read(path))

    async def write(self, path: Path, data: bytes) -> None:
        """Make `path` a file with this content, whole or not at all."""
        await _come(self.twisted.write(path, data))

    async def list_directory(self, path: Path = ".") -> list[DirectoryEntry]:
        """The entries of a directory."""
        entries = await _come(self.twisted.listDirectory(path))
        return [DirectoryEntry(entry.name, entry.attrs) for entry in entries]

    async def glob(self, pattern: Path) -> list[str]:
        """The paths that match a pattern, sorted."""
        return await _come(self.twisted.glob(pattern))

    async def exists(self, path: Path) -> bool:
        """Whether there is something at `path`."""
        return await _come(self.twisted.exists(path))

    async def is_directory(self, path: Path) -> bool:
        """Whether `path` is a directory, or a link to one."""
        return await _come(self.twisted.isDirectory(path))

    async def stat(self, path: Path, follow_links: bool = True) -> dict[str, Any]:
        """The attributes of `path`."""
        return await _come(self.twisted.stat(path, follow_links))

    async def stat_vfs(self, path: Path = ".") -> StatVfs:
        """Sizes of the file system that `path` is on, where the server can tell them."""
        return await _come(self.twisted.statVFS(path))

    async def real_path(self, path: Path) -> str:
        """`path` as an absolute path, with its links followed."""
        return await _come(self.twisted.realPath(path))

    async def read_link(self, path: Path) -> str:
        """What a symbolic link points to."""
        return await _come(self.twisted.readLink(path))

    async def make_directory(self, path: Path, mode: int = 0o777) -> None:
        """Make a directory."""
        await _come(self.twisted.makeDirectory(path, mode))

    async def make_link(self, path: Path, target: Path) -> None:
        """Make a symbolic link at `path` that points to `target`."""
        await _come(self.twisted.makeLink(path, target))

    async def remove(self, path: Path) -> None:
        """Remove a file or a link."""
        await _come(self.twisted.remove(path))

    async def remove_directory(self, path: Path) -> None:
        """Remove an empty directory."""
        await _come(self.twisted.removeDirectory(path))

    async def remove_tree(self, path: Path) -> None:
        """Remove a directory with everything in it."""
        await _come(self.twisted.removeTree(path))

    async def rename(self, old: Path, new: Path) -> None:
        """Move a file; one that is at `new` is replaced."""
        await _come(self.twisted.rename(old, new))

    async def change_mode(self, path: Path, mode: int) -> None:
        """Set the permission bits of `path`."""
        await _come(self.twisted.changeMode(path, mode))

    def limit_rate(self, bytes_per_second: int | None) -> None:
        """Move at most so many bytes per second from now on; None for as many as possible."""
        self.twisted.limitRate(reactor_for(asyncio.get_running_loop()), bytes_per_second)

    def close(self) -> None:
        """End the session; the connection goes on."""
        self.twisted.close()

    async def __aenter__(self) -> Files:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.close()


class Forward:
    """A forwarding that is under way; it ends with its connection.

    Attributes:
        port: The port that is listened on, here or at the server; 0 for a Unix socket.
        twisted: The same, with Deferreds: a `limpet.client.forwards.Forward`.
    """

    def __init__(self, forward: forwards.Forward) -> None:
        self.port = forward.port
        self.twisted = forward

    async def close(self) -> None:
        """Listen no more; connections that there are go on."""
        await _come(self.twisted.close())

    async def __aenter__(self) -> Forward:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()


async def _forward(starting: Deferred[forwards.Forward]) -> Forward:
    return Forward(await _come(starting, lambda forward: forward.close()))


class Process:
    """A program that runs far away; made by `Client.start`.

    Attributes:
        twisted: The same, with Deferreds: a `limpet.client.processes.RemoteProcess`.
    """

    def __init__(self, process: RemoteProcess) -> None:
        self.twisted = process

    def write(self, data: bytes) -> None:
        """Send `data` to its standard input; `drain` now and then where there is much of it."""
        self.twisted.write(data)

    async def drain(self) -> None:
        """Wait until nothing of what was written waits in memory any more."""
        await _come(self.twisted.drained())

    def write_eof(self) -> None:
        """Its standard input is at its end, behind all that was written."""
        self.twisted.writeEOF()

    async def read(self, most: int = -1) -> bytes:
        """At least one byte of its standard output, `most` at most; none at the end."""
        return await _come(self.twisted.read(most), self.twisted.unread)

    async def read_error(self, most: int = -1) -> bytes:
        """As `read`, of its standard error."""
        return await _come(self.twisted.readError(most), self.twisted.unreadError)

    async def read_all(self) -> bytes:
        """All that it still writes to standard output."""
        reading = Deferred.fromCoroutine(self.twisted.readAll())
        return await _come(reading, self.twisted.unread)

    async def read_until(self, mark: bytes) -> bytes:
        """Standard output up to and with the first `mark`, or up to its end."""
        reading = Deferred.fromCoroutine(self.twisted.readUntil(mark))
        return await _come(reading, self.twisted.unread)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while line := await self.read_until(b"\n"):
            yield line

    def signal(self, name: str) -> None:
        """Send it a signal, "TERM"; servers need not pass it on."""
        self.twisted.signal(name)

    def resize(self, rows: int, columns: int) -> None:
        """Its terminal has another size."""
        self.twisted.resize(rows, columns)

    async def wait(self) -> Ending:
        """Wait until it has ended: how. Read its output before, or it may wait for that."""
        return Ending.of(await _come(self.twisted.wait()))

    def close(self) -> None:
        """Close its channel: the server hangs up on it."""
        self.twisted.close()
