"""`limpet cp`: copy files between machines, as scp does, over SFTP.

Rule: what of several sources can be copied is copied; the exit status is 1 where something was not,
and each such file is told in a line. No shell at the other side sees a path.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NoReturn

from limpet.client.errors import ClientError, shown
from limpet.client.filecopy import (
    CopyFailed,
    CopyOptions,
    CopyResult,
    RemoteFiles,
    globbing,
    names,
)
from limpet.client.filecopy.copying import Copier
from limpet.client.filecopy.localtree import LocalTree
from limpet.client.filecopy.offload import toThreadsOf
from limpet.client.filecopy.problems import CopyProblem, reasonOf
from limpet.client.filecopy.remotefiles import expanded, placed
from limpet.scripts.transferoptions import CP_USAGE, Place, Transfer, parseCp
from limpet.scripts.transfers import FAILED, Transfers, runTransfers
from limpet.ssh.filetransfer.base import SFTPError
from limpet.ssh.filetransfer.client import pathBytes

COPY_FAILURES = (OSError, EOFError, NotImplementedError, ClientError, SFTPError)


def run(arguments: Sequence[str]) -> NoReturn:
    """Copy, and end the process with its exit status."""
    runTransfers("cp", parseCp, CP_USAGE, arguments, lambda transfers: Copying(transfers).run())


class Copying:
    """The copies of one call.

    Args:
        transfers: The run that they belong to.
    """

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers
        self._transfer: Transfer = transfers.transfer
        self._sources, self._target = self._transfer.places[:-1], self._transfer.places[-1]
        self._open: dict[tuple[str | None, str | None, int | None], RemoteFiles] = {}
        self._failed = False

    def run(self) -> int:
        """Copy everything; returns the exit status."""
        self._transfers.begin()
        target = self._filesAt(self._target)
        try:
            self._transfers.thread.call(self._checkTarget, target)
        except CopyProblem as error:
            self._tell(error)
            return FAILED
        for source in self._sources:
            try:
                self._transfers.thread.call(self._copy, source, self._filesAt(source), target)
            except CopyFailed as error:
                self._failed = True
                if error.problems[-1].fatal:
                    break
            except COPY_FAILURES as error:
                self._tell(CopyProblem(source.path, reasonOf(error), error))
        self._transfers.end()
        return FAILED if self._failed else 0

    def _filesAt(self, place: Place) -> RemoteFiles | None:
        """The files at a place, connected once for each host; None for this machine."""
        if place.host is None:
            return None
        key = (place.host, place.user, place.port)
        if key not in self._open:
            self._open[key] = self._transfers.open(place)
        return self._open[key]

    def _tell(self, problem: CopyProblem) -> None:
        self._failed = True
        self._transfers.tell(str(problem))

    def _options(self) -> CopyOptions:
        given = {"keepPart": True, **self._transfer.copying}
        return CopyOptions(
            recursive=self._transfer.recursive,
            progress=self._transfers.meter,
            problem=self._tell,
            **given,
        )

    async def _checkTarget(self, files: RemoteFiles | None) -> None:
        """Several sources need a directory to go to."""
        if len(self._sources) == 1:
            return
        path = self._target.path
        if files is None:
            isDirectory = os.path.isdir(path or b".")
        else:
            isDirectory = await files.isDirectory(await expanded(files, path))
        if not isDirectory:
            text = "it has to be a directory that exists, as there are several sources"
            raise CopyProblem(path, text)

    async def _copy(
        self, source: Place, files: RemoteFiles | None, target: RemoteFiles | None
    ) -> None:
        """Copy one source, which may be a pattern where it is remote."""
        if files is None:
            await self._copyOne(source.path, None, target)
            return
        path = await expanded(files, source.path)
        found = [path]
        if globbing.hasWildcard(path):
            found = [pathBytes(name) for name in await files.glob(path)] or [path]
            if len(found) > 1:
                await self._checkSeveral(target, len(found))
        problems: list[CopyProblem] = []
        for each in found:
            try:
                await self._copyOne(each, files, target)
            except CopyFailed as error:
                problems += error.problems
                if problems[-1].fatal:
                    break
        if problems:
            raise CopyFailed(problems)

    async def _checkSeveral(self, target: RemoteFiles | None, count: int) -> None:
        path = self._target.path or b"."
        isDirectory = os.path.isdir(path) if target is None else await target.isDirectory(path)
        if not isDirectory:
            problem = CopyProblem(path, f"{count} files match, so it has to be a directory")
            self._tell(problem)
            raise CopyFailed([problem])

    async def _copyOne(
        self, path: bytes, files: RemoteFiles | None, target: RemoteFiles | None
    ) -> None:
        try:
            self._tellSkipped(await self._copyBetween(path, files, target))
        except CopyFailed as failed:
            self._tellSkipped(failed.result)
            raise

    async def _copyBetween(
        self, path: bytes, files: RemoteFiles | None, target: RemoteFiles | None
    ) -> CopyResult | None:
        options = self._options()
        given = {name: getattr(options, name) for name in options.__dataclass_fields__}
        place = self._target.path or b"."
        if target is not None:
            place = await expanded(target, self._target.path) or b"."
        if files is None and target is not None:
            return await target.put(path, place, **given)
        if files is not None and target is None:
            return await files.get(path, place, **given)
        if files is not None and target is not None:
            if files is target and not options.recursive:
                await files.copy(path, place, **given)
                return None
            name = names.baseName(path)
            root, name = await placed(target.remotePlace(place, name, options), place, options)
            return await files.relay(path, target, root, name, options)
        return await self._copyHere(path, place, options)

    def _tellSkipped(self, result: CopyResult | None) -> None:
        """Tell of devices and pipes in a tree; links that were not wanted are no failure."""
        for path in () if result is None else result.skipped:
            if self._transfer.copying.get("links") == "skip":
                self._transfers.tell(f"{shown(path)}: skipped, it is no ordinary file")
            else:
                self._tell(CopyProblem(path, "it is neither a file nor a directory"))

    async def _copyHere(self, path: bytes, place: bytes, options: CopyOptions) -> CopyResult:
        """From this machine to itself."""
        offload = toThreadsOf(self._transfers.thread.reactor)
        if os.path.isdir(place):
            root, name = place, names.baseName(os.path.abspath(path))
        else:
            root, name = os.path.split(place)
        if os.path.realpath(path) == os.path.realpath(names.join(root, name)):
            raise CopyProblem(path, f"it is the same file as {shown(place)}")
        tree = LocalTree(root, offload)
        try:
            return await Copier(LocalTree(path, offload), tree, options).copy(b"", name)
        finally:
            tree.close()
