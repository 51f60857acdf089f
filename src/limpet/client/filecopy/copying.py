"""Copying a file or a tree from one side to another, whichever sides these are.

Rule: a file gets its name when it is complete, and never before; what keeps one file of a tree from
being copied does not keep the others. What was not copied, or not as asked, is in the result.

    copy ──► a file ──► open, create ──► Pump ──► commit (size, mode, times) ──► verify ──► publish
      └────► a directory ──► its files, several at a time ──► its directories ──► modes and times
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from twisted.internet import defer

from limpet.client.filecopy import names
from limpet.client.filecopy.localtree import LOCAL_BLOCK
from limpet.client.filecopy.pool import Pool
from limpet.client.filecopy.problems import LOST, CopyFailed, CopyProblem, isMissing, reasonOf
from limpet.client.filecopy.pump import Budget, Data, Pace, Pump
from limpet.client.filecopy.remotetree import BYTES_UNDER_WAY, FILES_AT_A_TIME, MAX_LISTED
from limpet.client.filecopy.trees import (
    Attrs,
    Entry,
    SourceFile,
    TargetFile,
    TargetPlan,
    Tree,
    firing,
    hasType,
    isDirectory,
    isLink,
    isRegular,
    newMode,
)

MAX_DEPTH = 64
"""How deep a tree may be, in directories (OpenSSH's MAX_DIR_DEPTH)."""

MAX_PROBLEMS = 100_000
"""Most problems of one copy, after which it is given up (ours): a server may list names that are no
names for ever."""

COMPARED_BEFORE_RESUMING = 256 * 1024
"""How much before the place of a resumption is compared with the source, in bytes (ours)."""

NEW_FILE, NEW_DIRECTORY = 0o666, 0o777
"""Modes of copies of what tells none."""

Links = Literal["follow", "copy", "skip"]


@dataclass(frozen=True)
class Progress:
    """How far the copy of one file is.

    Attributes:
        path: The source, as bytes.
        target: Where it goes.
        done: Bytes that are there, those of an earlier copy included.
        size: Its size; None where that is not known.
        state: "begins", "goes on", "verifies", "ends" or "fails".
    """

    path: bytes
    target: bytes
    done: int
    size: int | None
    state: str


@dataclass(frozen=True)
class CopyOptions:
    """How to copy.

    Attributes:
        recursive: Copy directories too, with everything below them.
        preserve: Keep modes and times.
        resume: Go on where an earlier copy ended, after comparing what is there.
        keepPart: Keep what was copied of a file when the connection is lost or the copy cancelled,
            hidden, so that it can be resumed. `resume` keeps it whatever happens.
        verify: Read every file back and compare it with its source before it gets its name.
        atomic: Write under a hidden name until the file is complete.
        sync: Let the target's system write the file to its disk.
        links: What to do with symbolic links within a tree: "follow" them, "copy" them as links,
            or "skip" them.
        progress: Called with a `Progress`, at most once per block.
        problem: Called with each `CopyProblem` when it happens.
    """

    recursive: bool = False
    preserve: bool = False
    resume: bool = False
    keepPart: bool = False
    verify: bool = False
    atomic: bool = True
    sync: bool = False
    links: Links = "follow"
    progress: Callable[[Progress], object] | None = None
    problem: Callable[[CopyProblem], object] | None = None


@dataclass
class CopyResult:
    """What was copied.

    Attributes:
        files: How many files, those included that were there already.
        directories: How many directories.
        links: How many symbolic links were made.
        bytesMoved: How many bytes.
        skipped: Paths of what is neither file nor directory, and of links that were not wanted.
        problems: What went wrong.
    """

    files: int = 0
    directories: int = 0
    links: int = 0
    bytesMoved: int = 0
    skipped: list[bytes] = field(default_factory=list)
    problems: list[CopyProblem] = field(default_factory=list)

    def add(self, other: CopyResult) -> None:
        """Count what another copy did, too."""
        self.files += other.files
        self.directories += other.directories
        self.links += other.links
        self.bytesMoved += other.bytesMoved
        self.skipped += other.skipped
        self.problems += other.problems


class Copier:
    """Copies from one tree to another.

    Args:
        source: Where from.
        target: Where to.
        options: How.
        budget: What may be under way at a time.
        pace: The rate that must not be exceeded.
        filesAtATime: How many files of a tree are copied at a time.

    Attributes:
        result: What was copied.
    """

    def __init__(
        self,
        source: Tree,
        target: Tree,
        options: CopyOptions,
        *,
        budget: Budget | None = None,
        pace: Pace | None = None,
        filesAtATime: int = FILES_AT_A_TIME,
    ) -> None:
        self._source, self._target, self._options = source, target, options
        self._budget = budget or Budget(BYTES_UNDER_WAY)
        self._pace = pace
        self._pool = Pool(filesAtATime)
        # Directories whose modes and times are set when nothing is written to them any more.
        self._later: list[tuple[bytes, dict[str, Any]]] = []
        # The problems in the result, by their identity; it keeps them.
        self._noted: set[int] = set()
        self.result = CopyResult()

    async def copy(self, path: bytes, target: bytes) -> CopyResult:
        """Copy `path` of the source to `target` of the target.

        Raises:
            CopyFailed: Something was not copied, or not as asked.
        """
        try:
            attrs = await self._source.attrs(path, True)
            if isDirectory(attrs):
                if not self._options.recursive:
                    raise CopyProblem(
                        self._source.shown(path), "it is a directory; copy it with -r (recursive)"
                    )
                await self._copyTree(path, target, attrs)
            elif isRegular(attrs):
                await self._copyFile(path, target, attrs, fresh=False, named=True)
            else:
                raise CopyProblem(self._source.shown(path), "it is no file and no directory")
        except LOST as error:
            self._problem(path, error)
        except Exception as error:  # noqa: BLE001 all that goes wrong with one path is told of it
            self._problem(path, error)
        if self.result.problems:
            raise CopyFailed(self.result.problems, self.result)
        return self.result

    def _problem(self, path: bytes, error: BaseException) -> CopyProblem:
        """Note what went wrong with a path of the source."""
        problem = error
        if not isinstance(problem, CopyProblem):
            problem = CopyProblem(self._source.shown(path), reasonOf(error), error)
        if problem.fatal and any(known.fatal for known in self.result.problems):
            return problem  # all that was under way ends with the connection; once is enough
        if id(problem) not in self._noted:
            self._noted.add(id(problem))
            self.result.problems.append(problem)
            if self._options.problem is not None:
                self._options.problem(problem)
        return problem

    # ── trees ─────────────────────────────────────────────────────────────────────────────────

    async def _copyTree(self, path: bytes, target: bytes, attrs: Attrs) -> None:
        # Path, target, attributes, depth, and the real paths of the directories that a link led to.
        stack: list[tuple[bytes, bytes, Attrs, int, frozenset[bytes]]] = []
        stack.append((path, target, attrs, 0, frozenset()))
        try:
            while stack and self._pool.failure is None and not self._isHopeless():
                path, target, attrs, depth, above = stack.pop()
                try:
                    found = await self._copyDirectory(path, target, attrs, depth, above)
                except LOST:
                    raise
                except Exception as error:  # noqa: BLE001 the other directories go on
                    self._problem(path, error)
                    continue
                stack += reversed(found)
            if self._isHopeless():
                text = "given up, as too much in it cannot be copied"
                self.result.problems.append(CopyProblem(self._source.shown(path), text))
        except LOST:
            self._pool.cancel()
            raise
        finally:
            await self._pool.drain()
        for directory, kept in reversed(self._later):
            try:
                await self._target.setAttrs(directory, kept)
            except LOST:
                raise
            except Exception as error:  # noqa: BLE001 its files are there
                text = f"its mode or times were not set: {reasonOf(error)}"
                self._problem(directory, CopyProblem(self._target.shown(directory), text, error))

    def _isHopeless(self) -> bool:
        result = self.result
        return len(result.problems) >= MAX_PROBLEMS or len(result.skipped) >= MAX_LISTED

    async def _copyDirectory(
        self, path: bytes, target: bytes, attrs: Attrs, depth: int, above: frozenset[bytes]
    ) -> list[Any]:
        """Copy what is in a directory, and return the directories in it."""
        if depth >= MAX_DEPTH:
            raise CopyProblem(self._source.shown(path), f"it is deeper than {MAX_DEPTH} levels")
        mode = newMode(attrs, NEW_DIRECTORY)
        try:
            fresh = await self._target.makeDirectory(target, mode)
        except LOST:
            raise
        except Exception as error:  # noqa: BLE001 told with the path that it is about
            text = f"cannot make the directory: {reasonOf(error)}"
            raise CopyProblem(self._target.shown(target), text, error) from None
        self.result.directories += 1
        if self._options.preserve:
            self._later.append((target, _preserved(attrs)))
        elif fresh and mode & 0o700 != 0o700:
            self._later.append((target, {"permissions": mode}))
        found: list[Any] = []
        async for batch in self._source.entries(path):
            for entry in batch:
                if self._pool.failure is not None or self._isHopeless():
                    return []
                try:
                    names.checkName(entry.name)
                    deeper = await self._copyEntry(path, target, entry, fresh, above)
                except LOST:
                    raise
                except names.SuspiciousName as error:
                    self._problem(path, CopyProblem(self._source.shown(path), str(error), error))
                    continue
                except Exception as error:  # noqa: BLE001 the other entries go on
                    self._problem(names.join(path, entry.name), error)
                    continue
                if deeper is not None:
                    if len(found) == MAX_LISTED:
                        text = f"it has more than {MAX_LISTED} directories"
                        raise CopyProblem(self._source.shown(path), text)
                    found.append((*deeper[:3], depth + 1, deeper[3]))
        return found

    async def _copyEntry(
        self, path: bytes, target: bytes, entry: Entry, fresh: bool, above: frozenset[bytes]
    ) -> tuple[bytes, bytes, Attrs, frozenset[bytes]] | None:
        """Copy one entry of a directory; a directory is returned instead."""
        source, options = self._source, self._options
        inner, outer = names.join(path, entry.name), names.join(target, entry.name)
        attrs = entry.attrs if hasType(entry.attrs) else await source.attrs(inner, False)
        if isLink(attrs):
            if options.links == "skip":
                self.result.skipped.append(source.shown(inner))
                return None
            if options.links == "copy":
                await self._target.makeLink(outer, await source.readLink(inner))
                self.result.links += 1
                return None
            try:
                attrs = await source.attrs(inner, True)
            except Exception as error:
                if not isMissing(error):
                    raise
                raise CopyProblem(source.shown(inner), "it is a link to nothing", error) from None
            if isDirectory(attrs):
                real = await source.realPath(inner)
                here = await source.realPath(path)
                if real in above or names.join(here, b"").startswith(names.join(real, b"")):
                    raise CopyProblem(source.shown(inner), "it is a link to a directory above it")
                above |= {real}
        if isDirectory(attrs):
            return inner, outer, attrs, above
        if not isRegular(attrs):
            self.result.skipped.append(source.shown(inner))
            return None
        await self._pool.submit(lambda: self._oneOfMany(inner, outer, attrs, fresh))
        return None

    async def _oneOfMany(self, path: bytes, target: bytes, attrs: Attrs, fresh: bool) -> None:
        try:
            await self._copyFile(path, target, attrs, fresh=fresh, named=False)
        except Exception as error:  # noqa: BLE001 the other files go on
            if self._pool.failure is not None:
                return  # cancelled, because another one met the end of the connection
            problem = self._problem(path, error)
            if problem.fatal and problem.cause is not None:
                raise problem.cause from None

    # ── files ─────────────────────────────────────────────────────────────────────────────────

    async def _copyFile(
        self, path: bytes, target: bytes, attrs: Attrs, *, fresh: bool, named: bool
    ) -> None:
        options = self._options
        report = _Report(self._source.shown(path), self._target.shown(target), attrs, options)
        source = await self._source.open(path)
        try:
            plan = TargetPlan(
                mode=newMode(attrs, NEW_FILE),
                size=attrs.get("size"),
                resume=options.resume,
                atomic=options.atomic,
                fresh=fresh,
                named=named,
            )
            try:
                file = await self._target.create(target, plan)
            except LOST:
                raise
            except Exception as error:  # noqa: BLE001 told with the path that it is about
                raise self._writeProblem(target, error) from None
            await self._fill(source, file, attrs, report, path, target)
        finally:
            source.close()
        self.result.files += 1

    async def _fill(
        self,
        source: SourceFile,
        file: TargetFile,
        attrs: Attrs,
        report: _Report,
        path: bytes,
        target: bytes,
    ) -> None:
        """Write the file and give it its name; or tidy up, and raise what went wrong."""
        solid: int | None = file.startsAt if self._options.resume else 0
        sink = _NamedErrors(file)
        pump: Pump | None = None
        try:
            start = await self._startOf(source, file)
            report.begin(start)
            pump = Pump(
                source,
                sink,
                expected=attrs.get("size"),
                start=start,
                block=self._source.blockSize,
                requests=1 if file.serial else self._source.requests,
                budget=self._budget,
                moved=report.moved,
                pace=self._pace,
            )
            size = await pump.run()
            if pump.early:
                now = await source.size()
                if now != size:
                    text = f"it ended after {size} bytes, where {now} were announced"
                    raise CopyProblem(self._source.shown(path), text)
            self.result.bytesMoved += size - start
            kept = _preserved(attrs) if self._options.preserve else {}
            try:
                await file.commit(size, kept, self._options.sync)
                if self._options.verify:
                    report.verify()
                    await self._verify(source, file, size, target)
                await file.publish()
            except LOST:
                raise
            except Exception as error:  # noqa: BLE001 told with the path that it is about
                raise self._writeProblem(target, error) from None
        except Exception as error:  # noqa: BLE001 raised again, with the path that it is about
            keeps = self._options.keepPart and isinstance(error, LOST)
            if pump is not None and (keeps or self._options.resume):
                solid = pump.solidUntil
            if isinstance(error, CopyProblem) and sink.error is None:
                solid = None  # what is there is not what it should be
            isKept = await file.abandon(solid)
            report.failed()
            if isinstance(error, CopyProblem):
                problem = error
            elif sink.error is not None and not isinstance(error, LOST):
                problem = self._writeProblem(target, error)
            else:
                problem = CopyProblem(self._source.shown(path), reasonOf(error), error)
            if isKept:
                problem = CopyProblem(
                    problem.path, f"{reasonOf(problem)}; what there is was kept", problem.cause
                )
            raise problem from None
        report.end()

    def _writeProblem(self, target: bytes, error: BaseException) -> CopyProblem:
        if isinstance(error, CopyProblem):
            return error
        if isinstance(error, LOST):
            return CopyProblem(self._target.shown(target), reasonOf(error), error)
        return CopyProblem(
            self._target.shown(target), f"cannot be written: {reasonOf(error)}", error
        )

    async def _startOf(self, source: SourceFile, file: TargetFile) -> int:
        """Where to begin: behind what an earlier copy left, if that is how the source begins."""
        there = file.startsAt
        if not there or not self._options.resume:
            return 0
        start = max(0, there - file.uncertain)
        first = max(0, start - COMPARED_BEFORE_RESUMING)
        if start and await self._isSame(source, file, first, start):
            return start
        await file.restart()
        return 0

    async def _isSame(self, source: SourceFile, file: TargetFile, first: int, end: int) -> bool:
        """Whether both have the same bytes from `first` to `end`."""
        comparing = _Comparing(file)
        pump = Pump(
            _Span(source, end),
            comparing,
            expected=end,
            start=first,
            block=min(self._source.blockSize, self._target.blockSize, LOCAL_BLOCK),
            requests=self._source.requests,
            budget=self._budget,
            pace=self._pace,
        )
        try:
            return await pump.run() == end and not comparing.differs
        except EOFError:
            return False

    async def _verify(self, source: SourceFile, file: TargetFile, size: int, target: bytes) -> None:
        reader = await self._target.reader(file)
        try:
            same = not size or await self._isSame(source, reader, 0, size)
        finally:
            if reader is not file:
                reader.close()
        if not same:
            raise CopyProblem(
                self._target.shown(target), "what was written is not what was read: not kept"
            )


def _preserved(attrs: Attrs) -> dict[str, Any]:
    """Mode and times, as far as they are known."""
    return {name: attrs[name] for name in ("permissions", "atime", "mtime") if name in attrs}


class _NamedErrors:
    """A sink that remembers whether an error was its own, and not the source's."""

    def __init__(self, sink: TargetFile) -> None:
        self._sink = sink
        self.error: BaseException | None = None

    def write(self, offset: int, data: Data) -> defer.Deferred[Any] | None:
        try:
            written = self._sink.write(offset, data)
        except Exception as error:
            self.error = error
            raise
        if written is not None:
            written.addErrback(self._failed)
        return written

    def _failed(self, failure: Any) -> Any:
        self.error = failure.value
        return failure


class _Span:
    """A source up to `end`, and not further."""

    def __init__(self, source: Any, end: int) -> None:
        self._source, self._end = source, end

    def read(self, offset: int, length: int) -> Any:
        length = min(length, self._end - offset)
        if length <= 0:
            raise EOFError
        return self._source.read(offset, length)


class _Comparing:
    """A sink that compares what it gets with what is there."""

    def __init__(self, there: Any) -> None:
        self._there = there
        self.differs = False

    def write(self, offset: int, data: Data) -> defer.Deferred[Any] | None:
        return defer.Deferred.fromCoroutine(self._compare(offset, bytes(data)))

    async def _compare(self, offset: int, data: bytes) -> None:
        at = 0
        while at < len(data) and not self.differs:
            try:
                piece = await firing(self._there.read(offset + at, len(data) - at))
            except EOFError:
                self.differs = True
                return
            if bytes(piece) != data[at : at + len(piece)]:
                self.differs = True
            at += len(piece)


class _Report:
    """Tells of one file's progress, where somebody wants to know."""

    def __init__(self, path: bytes, target: bytes, attrs: Attrs, options: CopyOptions) -> None:
        self._path, self._target, self._tell = path, target, options.progress
        self._size: int | None = attrs.get("size")
        self._done = 0

    def _say(self, state: str) -> None:
        if self._tell is not None:
            if self._size is not None and self._done > self._size:
                self._size = None
            self._tell(Progress(self._path, self._target, self._done, self._size, state))

    def begin(self, done: int) -> None:
        self._done = done
        self._say("begins")

    def moved(self, done: int) -> None:
        self._done = done
        if self._tell is not None:
            self._say("goes on")

    def verify(self) -> None:
        self._say("verifies")

    def end(self) -> None:
        self._say("ends")

    def failed(self) -> None:
        self._say("fails")
