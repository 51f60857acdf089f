"""The files at a server, as one side of a copy.

Rule: nothing that the server says is taken for more than it is: sizes come from `limits` and stay
within those of the protocol, and names are checked before they reach a path.

Writing: a file gets a hidden name in its directory, and its own by posix-rename once it is
complete. Where the server cannot do that, a file that is in the way is removed first.
"""

from __future__ import annotations

import secrets
import stat
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from twisted.internet import defer
from twisted.internet.error import ConnectionClosed

from limpet.client.errors import RequestRefused, shown
from limpet.client.filecopy import names
from limpet.client.filecopy.problems import LOST, CopyProblem, isMissing, reasonOf
from limpet.client.filecopy.pump import Budget, Data, Pace
from limpet.client.filecopy.trees import (
    PERMISSION_BITS,
    Attrs,
    Entry,
    TargetPlan,
    isDirectory,
    isLink,
    isRegular,
)
from limpet.core.framing import Pieces
from limpet.ssh.filetransfer.base import SFTPError
from limpet.ssh.filetransfer.client import ClientFile, FileTransferClient, pathBytes
from limpet.wire import sftp

DEFAULT_BLOCK = 32768
"""Bytes of data that every server takes in one message (draft-ietf-secsh-filexfer-02 section 3)."""

DEFAULT_REQUESTS = 64
"""How many reads or writes of one file may be under way (OpenSSH's default)."""

BYTES_UNDER_WAY = 16 * 1024 * 1024
"""How much of all files together may be under way (ours): a gigabit for an eighth of a second."""

PUT_UNDER_WAY = 4 * 1024 * 1024
"""The same for what is sent (ours): twice the window that OpenSSH's sshd grants. A resumed copy
begins so much before the end of what is there, because a server may write out of order."""

FILES_AT_A_TIME = 16
"""How many files of a tree are copied at a time (ours). Small ones wait for answers, not bytes."""

MAX_LISTED = 1_000_000
"""Most entries of one directory that are kept in memory at a time (ours). A server that never comes
to an end is left at that; copying keeps only the directories, and none of the files."""

HANDLES_KEPT = 4
"""Handles that are left to others where the server tells how many it allows (ours)."""

_STEADY = (sftp.FX_PERMISSION_DENIED, sftp.FX_NO_SUCH_FILE)


class Session:
    """An SFTP session, and the sizes that were agreed in it.

    Args:
        client: The protocol, connected.

    Attributes:
        readSize: Bytes to ask for in one READ.
        writeSize: Bytes to send in one WRITE.
        requests: Reads or writes of one file that may be under way.
        filesAtATime: Files of a tree that are copied at a time.
        budget: What may be under way of all of them from the server.
        putBudget: The same to the server.
        pace: The rate that must not be exceeded, or None.
    """

    def __init__(self, client: FileTransferClient) -> None:
        self.client = client
        self.readSize = self.writeSize = DEFAULT_BLOCK
        self.requests = DEFAULT_REQUESTS
        self.filesAtATime = FILES_AT_A_TIME
        self.budget = Budget(BYTES_UNDER_WAY)
        self.putBudget = Budget(PUT_UNDER_WAY)
        self.pace: Pace | None = None

    async def start(self) -> Session:
        """Wait for the server, and ask for its limits where it has some to tell.

        Where that fails, or is cancelled, the session is ended.

        Raises:
            RequestRefused: What runs at the server speaks no SFTP.
        """
        try:
            await self.client.whenReady()
            if self.client.supports(sftp.EXT_LIMITS):
                with suppress(SFTPError, NotImplementedError):
                    self._apply(await self.client.getLimits())
        except BaseException as error:
            if self.client.transport is not None:
                self.client.transport.loseConnection()
            if isinstance(error, ConnectionClosed):
                text = "the server ended file transfer before it began"
                raise RequestRefused(text) from None
            if isinstance(error, SFTPError):
                text = f"{error.message}. Does a start-up file at the server print something?"
                raise RequestRefused(shown(text)) from None
            raise
        return self

    def _apply(self, limits: sftp.Limits) -> None:
        """Take what the server allows, but no more than one message of the protocol can hold."""
        most = sftp.MAX_DATA_LENGTH
        if limits.maxPacketLength:
            most = min(most, limits.maxPacketLength - 1024)
        for name, told in (
            ("readSize", limits.maxReadLength),
            ("writeSize", limits.maxWriteLength),
        ):
            if told and most > 0:
                setattr(self, name, max(1, min(told, most)))
        if limits.maxOpenHandles:
            allowed = max(1, limits.maxOpenHandles - HANDLES_KEPT)
            self.filesAtATime = min(self.filesAtATime, allowed)


class RemoteTree:
    """Files below a directory at a server.

    Args:
        session: The session.
        root: The directory's path; empty for the one that the session began in.
    """

    def __init__(self, session: Session, root: bytes) -> None:
        self.session = session
        self.root = root
        self._client = session.client

    @property
    def blockSize(self) -> int:
        return self.session.readSize

    @property
    def requests(self) -> int:
        return self.session.requests

    def shown(self, path: bytes) -> bytes:
        return names.join(self.root, path) or b"."

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    async def attrs(self, path: bytes, follow: bool) -> Attrs:
        return await self._client.getAttrs(self.shown(path), follow)

    async def entries(self, path: bytes) -> AsyncIterator[list[Entry]]:
        directory = await self._client.openDirectory(self.shown(path))
        try:
            while True:
                try:
                    found = await directory.read()
                except EOFError:
                    return
                yield [
                    Entry(name.filename, name.attrs)
                    for name in found
                    if name.filename not in (b".", b"..")
                ]
        finally:
            directory.close().addErrback(_ignore)

    async def listed(self, path: bytes) -> list[Entry]:
        """All entries of a directory.

        Raises:
            CopyProblem: There are more than `MAX_LISTED`.
        """
        found: list[Entry] = []
        async for batch in self.entries(path):
            found += batch
            if len(found) > MAX_LISTED:
                raise CopyProblem(self.shown(path), f"it has more than {MAX_LISTED} entries")
        return found

    async def open(self, path: bytes) -> RemoteSource:
        return RemoteSource(await self._client.openFile(self.shown(path), sftp.FXF_READ, {}))

    async def readLink(self, path: bytes) -> bytes:
        return pathBytes(await self._client.readLink(self.shown(path)))

    async def realPath(self, path: bytes) -> bytes:
        return pathBytes(await self._client.realPath(self.shown(path)))

    # ── writing ───────────────────────────────────────────────────────────────────────────────

    async def makeDirectory(self, path: bytes, mode: int) -> bool:
        whole = self.shown(path)
        try:
            await self._client.makeDirectory(whole, {"permissions": mode | 0o700})
            return True
        except (SFTPError, NotImplementedError) as error:
            # Servers tell in many ways that it exists.
            with suppress(SFTPError):
                if isDirectory(await self._client.getAttrs(whole, True)):
                    return False
            raise error

    async def setAttrs(self, path: bytes, attrs: Attrs) -> None:
        await self._client.setAttrs(self.shown(path), _kept(attrs))

    async def makeLink(self, path: bytes, target: bytes) -> None:
        whole = self.shown(path)
        try:
            await self._client.makeLink(whole, target)
        except SFTPError:
            if not isLink(await self._client.getAttrs(whole, False)):
                raise
            await self._client.removeFile(whole)
            await self._client.makeLink(whole, target)

    async def create(self, path: bytes, plan: TargetPlan) -> RemoteTarget:
        whole = self.shown(path)
        there = None if plan.fresh else await self._existing(whole)
        if there is not None and isLink(there):
            # What is behind the link is meant, as it is when a link is written to.
            with suppress(SFTPError):
                whole = pathBytes(await self._client.realPath(whole))
            there = await self._existing(whole)
        mode = plan.mode
        if there is not None and stat.S_ISREG(there.get("permissions", 0)):
            mode = there["permissions"] & PERMISSION_BITS
        if there is not None and isDirectory(there):
            raise CopyProblem(whole, "it is a directory")
        inPlace = not plan.atomic or (there is not None and not isRegular(there))
        attrs = {"permissions": mode | 0o600}
        flags = sftp.FXF_READ | sftp.FXF_WRITE | sftp.FXF_CREAT
        if inPlace:
            flags = sftp.FXF_WRITE | sftp.FXF_CREAT
            if not plan.resume:
                flags |= sftp.FXF_TRUNC
            elif there is not None:
                flags |= sftp.FXF_READ
            file = await self._client.openFile(whole, flags, attrs)
            size = there.get("size", 0) if plan.resume and there is not None else 0
            target = RemoteTarget(self, whole, None, file, size)
            # A device keeps its mode and times: they are not those of the data.
            target.isDevice = there is not None and not isRegular(there)
            return target
        if plan.resume:
            return await self._resumed(whole, plan, there, attrs)
        target = await self._begun(whole, attrs)
        if there is not None or mode | 0o600 != mode:
            # Set again at the end: the server applied its umask to the new file.
            target.mode = mode
        return target

    async def _begun(self, whole: bytes, attrs: dict[str, Any]) -> RemoteTarget:
        """A new file under the name of the part, so that a copy that is cut short can be resumed;
        under another one where that is taken, perhaps by somebody who is writing to it."""
        part = partOf(whole)
        flags = sftp.FXF_WRITE | sftp.FXF_CREAT | sftp.FXF_EXCL
        try:
            file = await self._client.openFile(part, flags, attrs)
            return RemoteTarget(self, whole, part, file, 0)
        except SFTPError as error:
            if error.code in _STEADY or await self._existing(part) is None:
                raise
        token = secrets.token_hex(8).encode()
        name = names.temporaryName(whole.rpartition(b"/")[2], token)
        temporary = names.join(names.parentOf(whole), name)
        file = await self._client.openFile(temporary, flags, attrs)
        return RemoteTarget(self, whole, temporary, file, 0)

    async def reader(self, file: RemoteTarget) -> RemoteSource:
        return RemoteSource(await self._client.openFile(file.place, sftp.FXF_READ, {}))

    async def _existing(self, whole: bytes) -> dict[str, Any] | None:
        try:
            return await self._client.getAttrs(whole, False)
        except SFTPError as error:
            if isMissing(error):
                return None
            raise

    async def _resumed(
        self, whole: bytes, plan: TargetPlan, there: dict[str, Any] | None, attrs: dict[str, Any]
    ) -> RemoteTarget:
        """What an earlier copy left: its part, or a file that is shorter than it should be."""
        part = partOf(whole)
        wasFinal = False
        found = await self._existing(part)
        if found is not None and not isRegular(found):
            raise CopyProblem(whole, "its part is there already, and is no file")
        if found is None and there is not None:
            size = there.get("size", 0)
            if plan.size is not None and size > plan.size:
                text = f"it has {size} bytes, more than the {plan.size} to be copied"
                raise CopyProblem(whole, f"cannot be resumed: {text}")
            await self._client.renameFile(whole, part)
            found, wasFinal = there, True
        size = 0 if found is None else found.get("size", 0)
        flags = sftp.FXF_READ | sftp.FXF_WRITE | sftp.FXF_CREAT
        if plan.size is not None and size > plan.size:
            flags, size = flags | sftp.FXF_TRUNC, 0
        file = await self._client.openFile(part, flags, attrs)
        target = RemoteTarget(self, whole, part, file, size)
        target.mode = plan.mode if there is None else there.get("permissions", 0) & PERMISSION_BITS
        target.wasFinal = wasFinal
        return target


def partOf(whole: bytes) -> bytes:
    """The path of the part of a file that is being copied to `whole`."""
    return names.join(names.parentOf(whole), names.partName(whole.rpartition(b"/")[2]))


def _ignore(failure: Any) -> None:
    """A failure that changes nothing any more."""


def _kept(attrs: Attrs) -> dict[str, Any]:
    """Those attributes that a copy keeps."""
    kept: dict[str, Any] = {}
    if attrs.get("permissions") is not None:
        kept["permissions"] = attrs["permissions"] & PERMISSION_BITS
    if attrs.get("atime") is not None and attrs.get("mtime") is not None:
        kept["atime"], kept["mtime"] = int(attrs["atime"]), int(attrs["mtime"])
    return kept


class RemoteSource:
    """A file at a server that is open for reading."""

    def __init__(self, file: ClientFile) -> None:
        self.file = file

    async def size(self) -> int | None:
        size: int | None = (await self.file.getAttrs()).get("size")
        return size

    def read(self, offset: int, length: int) -> defer.Deferred[Any]:
        return self.file.readPieces(offset, length)

    def close(self) -> None:
        self.file.close().addErrback(_ignore)


class RemoteTarget:
    """A file at a server that is being written.

    Args:
        tree: Where it is.
        whole: The path that it will have.
        temporary: The path that it has until then; None where it is written in place.
        file: The file.
        startsAt: How many bytes of it are there.

    Attributes:
        mode: Permission bits to set at the end, or None.
        isDevice: Whether it is none that is replaced: its attributes stay as they are.
        wasFinal: Whether the part is the file itself, which was there under its final name.
    """

    uncertain = PUT_UNDER_WAY
    serial = False

    def __init__(
        self,
        tree: RemoteTree,
        whole: bytes,
        temporary: bytes | None,
        file: ClientFile,
        startsAt: int,
    ) -> None:
        self._tree, self._whole, self._temporary, self.file = tree, whole, temporary, file
        self._client = tree.session.client
        self._block = tree.session.writeSize
        self.startsAt = startsAt
        self.mode: int | None = None
        self.isDevice = False
        self.wasFinal = False
        self._closed = False

    @property
    def place(self) -> bytes:
        """The path that it has now."""
        return self._whole if self._temporary is None else self._temporary

    def read(self, offset: int, length: int) -> defer.Deferred[Any]:
        return self.file.readChunk(offset, length)

    def write(self, offset: int, data: Data) -> defer.Deferred[Any]:
        if isinstance(data, Pieces):
            data = bytes(data)
        if len(data) <= self._block:
            return self.file.writeChunk(offset, data)
        # The other side reads larger blocks than this one takes.
        view = memoryview(data)
        pieces = [
            self.file.writeChunk(offset + at, view[at : at + self._block])
            for at in range(0, len(data), self._block)
        ]
        return defer.gatherResults(pieces, consumeErrors=True).addErrback(_firstError)

    async def restart(self) -> None:
        if self.wasFinal and self._temporary is not None:
            # It is something else, and stays what it is until the copy is complete.
            self._closed = True
            await self.file.close()
            await self._client.renameFile(self._temporary, self._whole)
            self.wasFinal = False
            flags = sftp.FXF_READ | sftp.FXF_WRITE | sftp.FXF_CREAT | sftp.FXF_EXCL
            self.file = await self._client.openFile(self._temporary, flags, {"permissions": 0o600})
            self._closed = False
        else:
            await self.file.setAttrs({"size": 0})
        self.startsAt = 0

    async def commit(self, size: int, attrs: Attrs, sync: bool) -> None:
        kept = _kept(attrs)
        if self.mode is not None:
            kept.setdefault("permissions", self.mode)
        if self._temporary is None and self.startsAt > size:
            kept["size"] = size
        waits: list[defer.Deferred[Any]] = []
        if kept and not self.isDevice:
            waits.append(self.file.setAttrs(kept))
        if sync and self._client.supports(sftp.EXT_FSYNC):
            waits.append(self.file.sync())
        waits.append(self.file.getAttrs().addErrback(self._noAttrs))
        results = await defer.gatherResults(waits, consumeErrors=True).addErrback(_firstError)
        told = results[-1]
        if isRegular(told) and told.get("size", size) != size:
            text = f"the server has {told['size']} bytes of it after {size} were written"
            raise CopyProblem(self._whole, text)

    def _noAttrs(self, failure: Any) -> dict[str, Any]:
        """Servers that cannot tell of an open file: its writes were acknowledged nevertheless."""
        failure.trap(SFTPError, NotImplementedError)
        return {}

    async def publish(self) -> None:
        self._closed = True
        await self.file.close()
        if self._temporary is not None:
            await self._rename(self._temporary, self._whole)

    async def _rename(self, temporary: bytes, whole: bytes) -> None:
        client = self._client
        if client.supports(sftp.EXT_POSIX_RENAME):
            try:
                await client.posixRename(temporary, whole)
                return
            except NotImplementedError:
                pass
        try:
            await client.renameFile(temporary, whole)
        except SFTPError as error:
            if error.code in _STEADY:
                raise
            # Version 3 does not replace a file: it has to go first.
            if await self._tree._existing(whole) is None:
                raise
            await client.removeFile(whole)
            await client.renameFile(temporary, whole)

    async def abandon(self, solidUntil: int | None) -> bool:
        keep = self._temporary is not None and bool(solidUntil or self.wasFinal)
        try:
            if not self._closed:
                self._closed = True
                with suppress(SFTPError, NotImplementedError):
                    await self.file.close()
            if self._temporary is not None and not keep:
                await self._client.removeFile(self._temporary)
            elif self._temporary is not None and self._temporary != partOf(self._whole):
                await self._rename(self._temporary, partOf(self._whole))
        except (SFTPError, NotImplementedError, *LOST):
            # Where the connection is gone, what was written is there all the same.
            return keep and self._temporary == partOf(self._whole)
        return keep


def _firstError(failure: Any) -> Any:
    """What was behind a `FirstError`."""
    failure.trap(defer.FirstError)
    return failure.value.subFailure


__all__ = ["RemoteSource", "RemoteTarget", "RemoteTree", "Session", "reasonOf"]
