"""The client for programs on plain asyncio: `limpet.connect` and what it gives, as coroutines.

    async with limpet.aio.connect("deploy@web1") as client:
        result = await client.run("uname -a")

Rule: one core, two faces. The sockets are on the running loop, by Twisted's own reactor for
asyncio, which is made for that loop alone: no reactor is installed for the process, no thread is
started, and names are looked up by the loop. Names are asyncio's, because its users expect them;
errors, arguments and results are those of `limpet.client.clients`.

A cancelled coroutine ends what it had begun: the connection, the command.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping
from typing import IO, Any, TypeVar
from weakref import ReferenceType, WeakKeyDictionary

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHostnameResolver
from zope.interface import implementer

from limpet.client import clients, forwards
from limpet.client.errors import (
    AuthenticationFailed,
    ClientError,
    CommandFailed,
    CommandTimedOut,
    ConnectFailed,
    ConnectionEnded,
    HandshakeFailed,
    HostKeyRefused,
    RequestRefused,
)
from limpet.client.filecopy import CopyResult, DirectoryEntry, RemoteFiles
from limpet.client.filecopy.remotefiles import Path
from limpet.client.processes import DISCARD, STDOUT, RemoteProcess, Result
from limpet.client.programs import Ending, Terminal
from limpet.ssh.keys import Key

__all__ = [
    "DISCARD",
    "STDOUT",
    "AuthenticationFailed",
    "Client",
    "ClientError",
    "CommandFailed",
    "CommandTimedOut",
    "ConnectFailed",
    "ConnectionEnded",
    "Ending",
    "Files",
    "Forward",
    "HandshakeFailed",
    "HostKeyRefused",
    "Key",
    "Process",
    "RequestRefused",
    "Result",
    "Terminal",
    "connect",
    "reactor_for",
]

_Value = TypeVar("_Value")

# A reactor is kept by the connections on it, and goes with the last one.
_reactors: WeakKeyDictionary[asyncio.AbstractEventLoop, ReferenceType[Any]] = WeakKeyDictionary()


# ── The loop and its reactor ──────────────────────────────────────────────────────────────────


@implementer(IHostnameResolver)
class _LoopResolver:
    """Looks names up by the loop's own `getaddrinfo`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        """Look a name up; `resolutionReceiver` is told the addresses."""
        wanted = (IPv4Address, IPv6Address) if addressTypes is None else tuple(addressTypes)
        task = self._loop.create_task(self._look(resolutionReceiver, hostName, portNumber, wanted))
        # The loop itself keeps no strong reference to its tasks.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return resolutionReceiver

    async def _look(self, receiver: Any, name: str, port: int, wanted: tuple[type, ...]) -> None:
        receiver.resolutionBegan(None)
        kinds = {socket.AF_INET: IPv4Address, socket.AF_INET6: IPv6Address}
        try:
            found = await self._loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []
        for family, _, _, _, where in found:
            kind = kinds.get(socket.AddressFamily(family))
            if kind is not None and kind in wanted:
                receiver.addressResolved(kind("TCP", *where))
        receiver.resolutionComplete()


class _LoopReactor(AsyncioSelectorReactor):
    """A reactor on a loop that somebody else runs.

    It needs no pipe to wake itself up, which nobody would close: the loop has its own.
    """

    def installWaker(self) -> None:
        """See above."""


def reactor_for(loop: asyncio.AbstractEventLoop) -> Any:
    """The reactor on a loop: the process's, where that runs on it, else one of the loop's own."""
    installed = sys.modules.get("twisted.internet.reactor")
    if getattr(installed, "_asyncioEventloop", None) is loop:
        return installed
    known = _reactors.get(loop)
    reactor = None if known is None else known()
    if reactor is None:
        reactor = _LoopReactor(loop)
        reactor.installNameResolver(_LoopResolver(loop))
        _reactors[loop] = ReferenceType(reactor)
    return reactor


def _future(deferred: Deferred[_Value]) -> asyncio.Future[_Value]:
    """What a Deferred comes to, as a future of the running loop; to cancel it cancels that."""
    return deferred.asFuture(asyncio.get_running_loop())


# ── Connecting ────────────────────────────────────────────────────────────────────────────────


class _Connecting:
    """What `connect` returns: to be awaited, or entered by `async with`."""

    def __init__(self, start: Callable[[], Coroutine[Any, Any, Client]]) -> None:
        self._start = start
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        return self._start().__await__()

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
            options, config_files, only, ui.

    Raises:
        ClientError: As `limpet.connect`; when it is awaited.
        TypeError: There is no such argument.
    """
    given = {_CAMEL.get(name, name): value for name, value in arguments.items()}
    answer = given.get("answer")
    if answer is not None:
        given["answer"] = lambda *asked: _maybe_coroutine(answer(*asked))

    async def start() -> Client:
        reactor = reactor_for(asyncio.get_running_loop())
        return Client(await _future(clients.connect(destination, reactor=reactor, **given)))

    return _Connecting(start)


_CAMEL = {"host_keys": "hostKeys", "config_files": "configFiles"}


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
        return await _future(
            self.twisted.run(
                command,
                input=input,
                env=env,
                terminal=terminal,
                check=check,
                timeoutSeconds=timeout,
                forwardAgent=forward_agent,
            )
        )

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
        return Process(await _future(starting))

    async def subsystem(self, name: str | bytes) -> Process:
        """Start a subsystem, to be written to and read from."""
        return Process(await _future(self.twisted.subsystem(name)))

    async def files(self) -> Files:
        """The files at the server, over SFTP; as `limpet.client.filecopy.RemoteFiles`."""
        return Files(await _future(self.twisted.files()))

    async def forward_local(self, spec: str) -> Forward:
        """Listen here, and have the server connect: "8080:db.internal:5432" (`ssh -L`)."""
        return Forward(await _future(self.twisted.forwardLocal(spec)))

    async def forward_remote(self, spec: str) -> Forward:
        """Have the server listen, and connect from here: "8080:localhost:80" (`ssh -R`)."""
        return Forward(await _future(self.twisted.forwardRemote(spec)))

    async def forward_socks(self, spec: str) -> Forward:
        """Listen here for SOCKS, and have the server connect wherever it asks: "1080"."""
        return Forward(await _future(self.twisted.forwardSocks(spec)))

    async def close(self) -> None:
        """Close the connection, and wait until it is closed."""
        await _future(self.twisted.close())

    async def wait_closed(self) -> ClientError | None:
        """Wait until the connection is over: why it ended, None where this end closed it."""
        return await _future(self.twisted.closed)

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
        return await _future(self.twisted.get(remote, local, **_camel(options)))

    async def put(self, local: Path, remote: Path | None = None, **options: Any) -> CopyResult:
        """Copy a file or a tree to the server."""
        return await _future(self.twisted.put(local, remote, **_camel(options)))

    async def copy(self, source: Path, target: Path, **options: Any) -> CopyResult:
        """Copy a file at the server to another place there."""
        return await _future(self.twisted.copy(source, target, **_camel(options)))

    async def read(self, path: Path) -> bytes:
        """The content of a file."""
        return await _future(self.twisted.read(path))

    async def write(self, path: Path, data: bytes) -> None:
        """Make `path` a file with this content, whole or not at all."""
        await _future(self.twisted.write(path, data))

    async def list_directory(self, path: Path = ".") -> list[DirectoryEntry]:
        """The entries of a directory."""
        return await _future(self.twisted.listDirectory(path))

    async def glob(self, pattern: Path) -> list[str]:
        """The paths that match a pattern, sorted."""
        return await _future(self.twisted.glob(pattern))

    async def exists(self, path: Path) -> bool:
        """Whether there is something at `path`."""
        return await _future(self.twisted.exists(path))

    async def is_directory(self, path: Path) -> bool:
        """Whether `path` is a directory, or a link to one."""
        return await _future(self.twisted.isDirectory(path))

    async def stat(self, path: Path, follow_links: bool = True) -> dict[str, Any]:
        """The attributes of `path`."""
        return await _future(self.twisted.stat(path, follow_links))

    async def real_path(self, path: Path) -> str:
        """`path` as an absolute path, with its links followed."""
        return await _future(self.twisted.realPath(path))

    async def read_link(self, path: Path) -> str:
        """What a symbolic link points to."""
        return await _future(self.twisted.readLink(path))

    async def make_directory(self, path: Path, mode: int = 0o777) -> None:
        """Make a directory."""
        await _future(self.twisted.makeDirectory(path, mode))

    async def make_link(self, path: Path, target: Path) -> None:
        """Make a symbolic link at `path` that points to `target`."""
        await _future(self.twisted.makeLink(path, target))

    async def remove(self, path: Path) -> None:
        """Remove a file or a link."""
        await _future(self.twisted.remove(path))

    async def remove_directory(self, path: Path) -> None:
        """Remove an empty directory."""
        await _future(self.twisted.removeDirectory(path))

    async def remove_tree(self, path: Path) -> None:
        """Remove a directory with everything in it."""
        await _future(self.twisted.removeTree(path))

    async def rename(self, old: Path, new: Path) -> None:
        """Move a file; one that is at `new` is replaced."""
        await _future(self.twisted.rename(old, new))

    async def change_mode(self, path: Path, mode: int) -> None:
        """Set the permission bits of `path`."""
        await _future(self.twisted.changeMode(path, mode))

    def close(self) -> None:
        """End the session; the connection goes on."""
        self.twisted.close()


def _camel(options: dict[str, Any]) -> dict[str, Any]:
    """Options under the names that `CopyOptions` has for them."""
    return {("keepPart" if name == "keep_part" else name): options[name] for name in options}


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
        await _future(self.twisted.close())

    async def __aenter__(self) -> Forward:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()


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
        await _future(self.twisted.drained())

    def write_eof(self) -> None:
        """Its standard input is at its end, behind all that was written."""
        self.twisted.writeEOF()

    async def read(self, most: int = -1) -> bytes:
        """At least one byte of its standard output, `most` at most; none at the end."""
        return await _future(self.twisted.read(most))

    async def read_error(self, most: int = -1) -> bytes:
        """As `read`, of its standard error."""
        return await _future(self.twisted.readError(most))

    async def read_all(self) -> bytes:
        """All that it still writes to standard output."""
        chunks = []
        while chunk := await self.read():
            chunks.append(chunk)
        return b"".join(chunks)

    async def read_until(self, mark: bytes) -> bytes:
        """Standard output up to and with the first `mark`, or up to its end."""
        return await _future(Deferred.fromCoroutine(self.twisted.readUntil(mark)))

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
        return await _future(self.twisted.wait())

    def close(self) -> None:
        """Close its channel: the server hangs up on it."""
        self.twisted.close()
