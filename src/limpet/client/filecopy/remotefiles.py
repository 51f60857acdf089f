"""The files at a server, for programs: copied, listed, changed, by methods that say so.

Rule: every method returns a Deferred, which a coroutine can await. Paths are text or bytes, and
relative ones start at the user's home at the server; what comes back is text, with surrogate
escapes for bytes that are not UTF-8. What fails raises `CopyFailed` for copies, else what the
request failed with (`limpet.ssh.filetransfer.client`).

    files = await RemoteFiles.open(connection)
    await files.get("reports", "here", recursive=True, preserve=True)
"""

from __future__ import annotations

import os
import stat
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

from twisted.internet import defer
from twisted.internet.error import ConnectionClosed

from limpet._reactor import getReactor
from limpet.client.filecopy import globbing, names
from limpet.client.filecopy.channel import SUBSYSTEM, openSFTP
from limpet.client.filecopy.copying import Copier, CopyOptions, CopyResult
from limpet.client.filecopy.localtree import LocalTree
from limpet.client.filecopy.offload import Offload, toThreadsOf
from limpet.client.filecopy.problems import CopyFailed, CopyProblem, isMissing, reasonOf
from limpet.client.filecopy.pump import Pace, Pump
from limpet.client.filecopy.remotetree import RemoteSource, RemoteTree, Session
from limpet.client.filecopy.trees import Attrs, TargetPlan, Tree, isDirectory, isLink, newMode
from limpet.ssh.filetransfer.base import SFTPError
from limpet.ssh.filetransfer.client import FileTransferClient, pathBytes, pathText
from limpet.wire import sftp

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

MAX_REMOVED_DEPTH = 2048
"""How deep a tree may be that is removed: as deep as Linux's paths of 4096 bytes can be. A server
could make up a deeper one for ever."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _returnsDeferred(
    method: Callable[_P, Coroutine[Any, Any, _R]],
) -> Callable[_P, defer.Deferred[_R]]:
    """A coroutine method, as one that has begun when it returns."""

    @wraps(method)
    def begin(*arguments: _P.args, **named: _P.kwargs) -> defer.Deferred[_R]:
        return defer.Deferred.fromCoroutine(method(*arguments, **named))

    return begin


def remotePath(path: Path) -> bytes:
    """A path of the server's, as bytes."""
    whole = os.fspath(path)
    return pathBytes(whole)


class DirectoryEntry(NamedTuple):
    """A name in a directory at the server.

    Attributes:
        name: The name, as text.
        attrs: Its attributes, of a link itself.
    """

    name: str
    attrs: Attrs

    @property
    def isDirectory(self) -> bool:
        return isDirectory(self.attrs)

    @property
    def isLink(self) -> bool:
        return isLink(self.attrs)

    @property
    def size(self) -> int | None:
        size: int | None = self.attrs.get("size")
        return size


class RemoteFiles:
    """The files of a user at a server.

    Args:
        session: The SFTP session.
        offload: Where blocking calls on local files run.

    Attributes:
        session: Sizes and limits; they may be changed between copies.
        client: The protocol, for requests that are not here.
    """

    def __init__(self, session: Session, offload: Offload) -> None:
        self.session = session
        self.client = session.client
        self._offload = offload

    @classmethod
    def open(
        cls, connection: Any, reactor: Any = None, subsystem: bytes = SUBSYSTEM
    ) -> defer.Deferred[RemoteFiles]:
        """Start file transfer on a connection.

        Args:
            connection: An `SSHConnection` that is logged in.
            reactor: Its threads read and write local files; None for the program's.
            subsystem: The name of the subsystem.

        Returns:
            A Deferred of the `RemoteFiles`. It fails with `RequestRefused`.
        """

        async def begin() -> RemoteFiles:
            client = await openSFTP(connection, subsystem)
            return await cls.of(client, reactor)

        return defer.Deferred.fromCoroutine(begin())

    @classmethod
    def of(cls, client: FileTransferClient, reactor: Any = None) -> defer.Deferred[RemoteFiles]:
        """The files behind a client that is connected already."""

        async def begin() -> RemoteFiles:
            session = await Session(client).start()
            return cls(session, toThreadsOf(reactor or getReactor()))

        return defer.Deferred.fromCoroutine(begin())

    def close(self) -> None:
        """End the session."""
        if self.client.transport is not None:
            self.client.transport.loseConnection()

    def limitRate(self, clock: Any, bytesPerSecond: int | None) -> None:
        """Move at most so many bytes per second from now on; None for as many as possible."""
        self.session.pace = None if bytesPerSecond is None else Pace(clock, bytesPerSecond)

    # ── copying ───────────────────────────────────────────────────────────────────────────────

    @_returnsDeferred
    async def get(self, remote: Path, local: Path | None = None, **options: Any) -> CopyResult:
        """Copy a file or a tree from the server.

        Args:
            remote: What to copy.
            local: Where to: a directory that exists, or the name that the copy gets. None for the
                current directory.
            options: The fields of `CopyOptions`.

        Returns:
            A Deferred of the `CopyResult`. It fails with `CopyFailed`, whose `result` has what was
            copied nevertheless.
        """
        path = remotePath(remote)
        target = b"." if local is None else os.fsencode(local)
        wanted = CopyOptions(**options)
        root, name = await placed(
            self.localPlace(target, names.baseName(path), wanted), target, wanted
        )
        tree = LocalTree(root, self._offload)
        try:
            return await self.copier(RemoteTree(self.session, path), tree, wanted).copy(b"", name)
        finally:
            tree.close()

    @_returnsDeferred
    async def put(self, local: Path, remote: Path | None = None, **options: Any) -> CopyResult:
        """Copy a file or a tree to the server.

        Args:
            local: What to copy.
            remote: Where to: a directory that exists, or the name that the copy gets. None for the
                directory that the session began in.
            options: The fields of `CopyOptions`.

        Returns:
            The same as `get`.
        """
        path = os.fsencode(local)
        target = b"." if remote is None else remotePath(remote)
        wanted = CopyOptions(**options)
        name = names.baseName(os.path.abspath(path))
        root, name = await placed(self.remotePlace(target, name, wanted), target, wanted)
        source = LocalTree(path, self._offload)
        return await self.copier(source, RemoteTree(self.session, root), wanted).copy(b"", name)

    @_returnsDeferred
    async def copy(self, source: Path, target: Path, **options: Any) -> CopyResult:
        """Copy a file at the server to another place there.

        The server does it itself where it has `copy-data`; else the bytes go through here.

        Args:
            source: What to copy.
            target: A directory that exists, or the name that the copy gets.
            options: The fields of `CopyOptions`.
        """
        path = remotePath(source)
        wanted = CopyOptions(**options)
        place = remotePath(target)
        name = names.baseName(path)
        root, name = await placed(self.remotePlace(place, name, wanted), place, wanted)
        if self.client.supports(sftp.EXT_COPY_DATA) and not wanted.resume:
            tree = RemoteTree(self.session, path)
            attrs = await placed(tree.attrs(b"", True), path, wanted)
            if not isDirectory(attrs):
                try:
                    return await self._copyThere(path, RemoteTree(self.session, root), name, attrs)
                except Exception as error:  # noqa: BLE001 told with the path that it is about
                    text = f"not copied: {reasonOf(error)}"
                    raise _failed(CopyProblem(path, text, error), wanted) from None
        return await self.relay(path, self, root, name, wanted)

    async def _copyThere(
        self, path: bytes, tree: RemoteTree, name: bytes, attrs: Attrs
    ) -> CopyResult:
        """Let the server copy a file."""
        size: int = attrs.get("size", 0)
        source = await self.client.openFile(path, sftp.FXF_READ, {})
        try:
            target = await tree.create(name, TargetPlan(newMode(attrs, 0o666), size))
            try:
                await self.client.copyData(source, 0, 0, target.file, 0)
                now: int = (await target.file.getAttrs()).get("size", size)
                await target.commit(max(size, now), {}, False)
                await target.publish()
            except BaseException:
                await target.abandon(None)
                raise
        finally:
            source.close().addErrback(lambda failure: None)
        return CopyResult(files=1, bytesMoved=now)

    async def relay(
        self, path: bytes, other: RemoteFiles, root: bytes, name: bytes, options: CopyOptions
    ) -> CopyResult:
        """Copy from this server to another, or to itself, through here.

        Args:
            path: What to copy.
            other: The files of the other server.
            root: The directory there.
            name: The name there.
            options: How.
        """
        source, target = RemoteTree(self.session, path), RemoteTree(other.session, root)
        copier = Copier(
            source,
            target,
            options,
            budget=other.session.putBudget,
            pace=self.session.pace or other.session.pace,
            filesAtATime=min(self.session.filesAtATime, other.session.filesAtATime),
        )
        return await copier.copy(b"", name)

    def copier(self, source: Tree, target: Tree, options: CopyOptions) -> Copier:
        """A `Copier` with the limits of this session."""
        session = self.session
        budget = session.putBudget if isinstance(target, RemoteTree) else session.budget
        if isinstance(target, RemoteTree) and isinstance(source, LocalTree):
            source.blockSize = session.writeSize
            source.requests = session.requests
        return Copier(
            source,
            target,
            options,
            budget=budget,
            pace=session.pace,
            filesAtATime=session.filesAtATime,
        )

    async def localPlace(
        self, target: bytes, name: bytes, options: CopyOptions
    ) -> tuple[bytes, bytes]:
        """Directory and name here for a copy of something called `name`.

        The name is empty where the contents of a directory go into the target itself.

        Raises:
            NotADirectoryError: The target ends with a slash, and is no directory for a file.
        """
        if os.path.isdir(target):
            return target, name
        return _split(target, options)

    async def remotePlace(
        self, target: bytes, name: bytes, options: CopyOptions
    ) -> tuple[bytes, bytes]:
        """The same at the server."""
        try:
            attrs = await self.client.getAttrs(target or b".", True)
        except SFTPError as error:
            if not isMissing(error):
                raise
            attrs = {}
        if isDirectory(attrs):
            return target, name
        return _split(target, options)

    # ── looking ───────────────────────────────────────────────────────────────────────────────

    @_returnsDeferred
    async def listDirectory(self, path: Path = ".") -> list[DirectoryEntry]:
        """The entries of a directory, `.` and `..` aside, in the server's order."""
        found = await RemoteTree(self.session, remotePath(path)).listed(b"")
        return [DirectoryEntry(pathText(entry.name), entry.attrs) for entry in found]

    @_returnsDeferred
    async def glob(self, pattern: Path) -> list[str]:
        """The paths that match a pattern (`*`, `?`, `[…]`), sorted."""

        async def namesIn(path: bytes) -> Iterable[bytes]:
            try:
                found = await RemoteTree(self.session, path or b".").listed(b"")
            except SFTPError:
                return []  # no directory, or none that may be read
            return [names.checkName(entry.name) for entry in found]

        paths = await globbing.expand(remotePath(pattern), namesIn, self._exists)
        return [pathText(path) for path in paths]

    async def _exists(self, path: bytes) -> bool:
        try:
            await self.client.getAttrs(path, False)
        except SFTPError as error:
            if isMissing(error):
                return False
            raise
        return True

    @_returnsDeferred
    async def exists(self, path: Path) -> bool:
        """Whether there is something at `path`, a link to nothing included."""
        return await self._exists(remotePath(path))

    def stat(self, path: Path, followLinks: bool = True) -> defer.Deferred[dict[str, Any]]:
        """The attributes of `path`, as a dictionary that `ISFTPServer` describes."""
        return self.client.getAttrs(remotePath(path), followLinks)

    @_returnsDeferred
    async def isDirectory(self, path: Path) -> bool:
        """Whether `path` is a directory, or a link to one."""
        try:
            return isDirectory(await self.client.getAttrs(remotePath(path), True))
        except SFTPError as error:
            if isMissing(error):
                return False
            raise

    def realPath(self, path: Path) -> defer.Deferred[str]:
        """`path` as an absolute path, with its links followed."""
        return self.client.realPath(remotePath(path))

    def readLink(self, path: Path) -> defer.Deferred[str]:
        """What a symbolic link points to."""
        return self.client.readLink(remotePath(path))

    def statVFS(self, path: Path = ".") -> defer.Deferred[sftp.StatVfs]:
        """Sizes of the file system that `path` is on, where the server can tell them."""
        return self.client.statVFS(remotePath(path))

    # ── changing ──────────────────────────────────────────────────────────────────────────────

    def makeDirectory(self, path: Path, mode: int = 0o777) -> defer.Deferred[Any]:
        """Make a directory."""
        return self.client.makeDirectory(remotePath(path), {"permissions": mode})

    def remove(self, path: Path) -> defer.Deferred[Any]:
        """Remove a file or a link."""
        return self.client.removeFile(remotePath(path))

    def removeDirectory(self, path: Path) -> defer.Deferred[Any]:
        """Remove an empty directory."""
        return self.client.removeDirectory(remotePath(path))

    @_returnsDeferred
    async def removeTree(self, path: Path) -> None:
        """Remove a directory with everything in it; links in it are removed, not followed."""
        whole = remotePath(path)
        if not isDirectory(await self.client.getAttrs(whole, False)):
            await self.client.removeFile(whole)
            return
        tree = RemoteTree(self.session, whole)
        emptied, stack = [b""], [b""]
        while stack:
            directory = stack.pop()
            if directory.count(b"/") >= MAX_REMOVED_DEPTH:
                text = f"it is deeper than {MAX_REMOVED_DEPTH} levels"
                raise CopyProblem(tree.shown(directory), text)
            for entry in await tree.listed(directory):
                inner = names.join(directory, names.checkName(entry.name))
                if isDirectory(entry.attrs):
                    emptied.append(inner)
                    stack.append(inner)
                else:
                    await self.client.removeFile(tree.shown(inner))
        for directory in sorted(emptied, key=lambda inner: inner.count(b"/"), reverse=True):
            if directory:
                await self.client.removeDirectory(tree.shown(directory))
        await self.client.removeDirectory(whole)

    @_returnsDeferred
    async def rename(self, old: Path, new: Path) -> None:
        """Move a file; one that is at `new` is replaced, in one step where the server can."""
        source, target = remotePath(old), remotePath(new)
        if self.client.supports(sftp.EXT_POSIX_RENAME):
            await self.client.posixRename(source, target)
        else:
            await self.client.renameFile(source, target)

    def makeLink(self, path: Path, target: Path) -> defer.Deferred[Any]:
        """Make a symbolic link at `path` that points to `target`."""
        return self.client.makeLink(remotePath(path), remotePath(target))

    def changeMode(self, path: Path, mode: int) -> defer.Deferred[Any]:
        """Set the permission bits of `path`."""
        return self.client.setAttrs(remotePath(path), {"permissions": stat.S_IMODE(mode)})

    # ── whole files ───────────────────────────────────────────────────────────────────────────

    @_returnsDeferred
    async def read(self, path: Path) -> bytes:
        """The content of a file."""
        whole = remotePath(path)
        size = (await self.client.getAttrs(whole, True)).get("size")
        source = RemoteSource(await self.client.openFile(whole, sftp.FXF_READ, {}))
        gathered = _Gathering()
        try:
            await Pump(
                source,
                gathered,
                expected=size,
                block=self.session.readSize,
                requests=self.session.requests,
                budget=self.session.budget,
                pace=self.session.pace,
            ).run()
        finally:
            source.close()
        return gathered.whole()

    @_returnsDeferred
    async def write(self, path: Path, data: bytes, mode: int = 0o666) -> None:
        """Make `path` a file with this content; it has the old one until it has all of the new."""
        tree = RemoteTree(self.session, b"")
        target = await tree.create(remotePath(path), TargetPlan(mode, len(data)))
        try:
            await Pump(
                _Bytes(data),
                target,
                expected=len(data),
                block=self.session.writeSize,
                requests=self.session.requests,
                budget=self.session.putBudget,
                pace=self.session.pace,
            ).run()
            await target.commit(len(data), {}, False)
            await target.publish()
        except BaseException:
            await target.abandon(None)
            raise


def _split(target: bytes, options: CopyOptions) -> tuple[bytes, bytes]:
    """Directory and name of a target that is no directory so far."""
    if target.endswith(b"/") and not options.recursive:
        raise NotADirectoryError("there is no such directory")
    stripped = target.rstrip(b"/")
    name = names.baseName(stripped)
    return (names.parentOf(stripped), name) if name else (target, b"")


async def placed(place: Awaitable[_R], target: bytes, options: CopyOptions) -> _R:
    """The place for a copy, found out; what keeps it from being one fails the copy.

    Raises:
        CopyFailed: It cannot be looked at, or is to be a directory for a file and is not there.
    """
    try:
        found = await place
    except ConnectionClosed:
        raise
    except (SFTPError, NotImplementedError, EOFError, OSError) as error:
        raise _failed(CopyProblem(target, reasonOf(error), error), options) from None
    return found


async def expanded(files: RemoteFiles, path: bytes) -> bytes:
    """A remote path whose ~ is expanded, where the server can do that."""
    if not path.startswith(b"~"):
        return path
    head, slash, tail = path.partition(b"/")
    if files.client.supports(sftp.EXT_EXPAND_PATH):
        return pathBytes(await files.client.expandPath(head)) + slash + tail
    if head == b"~":
        return tail
    return path


def _failed(problem: CopyProblem, options: CopyOptions) -> CopyFailed:
    """A copy that failed before it began, told to who wants to know."""
    if options.problem is not None:
        options.problem(problem)
    return CopyFailed([problem], CopyResult(problems=[problem]))


class _Gathering:
    """A sink that is a `bytes` in the end."""

    def __init__(self) -> None:
        self._pieces: dict[int, Any] = {}

    def write(self, offset: int, data: Any) -> None:
        self._pieces[offset] = bytes(data)

    def whole(self) -> bytes:
        return b"".join(self._pieces[offset] for offset in sorted(self._pieces))


class _Bytes:
    """A source that is a `bytes`."""

    def __init__(self, data: bytes) -> None:
        self._view = memoryview(data)

    def read(self, offset: int, length: int) -> memoryview:
        if offset >= len(self._view):
            raise EOFError
        return self._view[offset : offset + length]
