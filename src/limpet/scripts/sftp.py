"""`limpet sftp`: copy files interactively, or as a batch file says.

Rule: a batch stops at the first command that fails, with status 1, unless a "-" stands before it;
at a terminal a failure is told and the next line is read. Ctrl-C ends the command, not the shell.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NoReturn

from twisted.internet import defer
from twisted.internet.error import ConnectionClosed

from limpet.client.errors import shown
from limpet.client.filecopy import RemoteFiles
from limpet.client.filecopy.remotefiles import expanded
from limpet.client.sftpshell import CommandError, LeaveShell, Shell
from limpet.client.sftpshell.completion import completions, localNames
from limpet.client.sftpshell.words import quoted, splitOpen
from limpet.descriptors import STDIN
from limpet.scripts.transferoptions import SFTP_USAGE, parseSFTP
from limpet.scripts.transfers import FAILED, Stopped, Transfers, runTransfers
from limpet.ssh.filetransfer.base import SFTPError
from limpet.ssh.filetransfer.client import pathBytes

PROMPT = "sftp> "

MAX_HISTORY = 1000
"""Lines that are kept for the next time (ours)."""

COMPLETION_SECONDS = 5.0
"""How long a remote directory may take to be listed for a completion (ours); a person who types on
has it given up after a second."""

CACHED_SECONDS = 3.0
"""How long such a list is good for (ours)."""


def run(arguments: Sequence[str]) -> NoReturn:
    """Do what the arguments ask for, and end the process with its exit status."""
    runTransfers("sftp", parseSFTP, SFTP_USAGE, arguments, talk)


def talk(transfers: Transfers) -> int:
    """Connect, and do what is typed or what the batch says; returns the exit status."""
    transfer = transfers.transfer
    if transfer.batch is not None:
        # Nobody sits there to be asked.
        transfer.assigned.setdefault("BatchMode", "yes")
    try:
        batch = openBatch(transfer.batch)
    except OSError as error:
        transfers.tell(f"{transfer.batch}: {error.strerror}")
        return FAILED
    files = transfers.open(transfer.places[0])
    return Talk(transfers, files, batch).run()


def openBatch(name: str | None) -> IO[bytes] | None:
    """The batch file; "-" is standard input."""
    if name is None:
        return None
    return sys.stdin.buffer if name == "-" else open(name, "rb")


class Talk:
    """One session: lines from somewhere, and what comes of them.

    Args:
        transfers: The run that it belongs to.
        files: The files at the server.
        batch: The lines of a batch, or None.
    """

    def __init__(self, transfers: Transfers, files: RemoteFiles, batch: IO[bytes] | None) -> None:
        self._transfers, self._files, self._batch = transfers, files, batch
        self._transfer = transfers.transfer
        self._thread = transfers.thread
        self._isInteractive = batch is None and sys.stdin.isatty()
        self._listed: dict[bytes, tuple[float, list[tuple[bytes, bool]]]] = {}
        self._shell = self._thread.call(Shell.start, files, self._print)
        self._prepare()

    def _prepare(self) -> None:
        shell, transfer, transfers = self._shell, self._transfer, self._transfers
        shell.options = dict(transfer.copying)
        shell.recursive = transfer.recursive
        shell.told = transfers.tell
        shell.verbose = not transfer.quiet and self._batch is None
        shell.progress = self._transfers.meter
        shell.showsProgress = self._transfers.meter is not None
        with suppress(OSError):
            shell.width = os.get_terminal_size(1).columns

    def _print(self, text: str) -> None:
        self._transfers.hide()
        printed(text)

    def run(self) -> int:
        """Talk until the end; returns the exit status."""
        place = self._transfer.places[0]
        if place.path and not self._goTo(place.path):
            return self._do(b"get " + self._getArguments(place.path)) or 0
        if self._isInteractive:
            return self._interactive()
        if self._batch is not None:
            return self._runBatch(self._batch)
        return self._runLines(sys.stdin.buffer)

    def _goTo(self, path: bytes) -> bool:
        """Change to the directory that the destination names; False where it is a file."""

        async def go() -> bool:
            whole = await self._shell._absolute(await expanded(self._files, path))
            if not path.endswith(b"/") and not await self._files.isDirectory(whole):
                return False
            await self._shell.changeDirectory(whole)
            return True

        try:
            return self._thread.call(go)
        except SFTPError as error:
            raise CommandError(f"{shown(path)}: {error.message}") from None

    def _getArguments(self, path: bytes) -> bytes:
        # Wildcards in the destination are meant.
        words = [path if b" " not in path else quoted(path)]
        if self._transfer.localPath is not None:
            words.append(quoted(pathBytes(self._transfer.localPath)))
        return b" ".join(words)

    # ── lines ─────────────────────────────────────────────────────────────────────────────────

    def _do(self, line: bytes) -> int | None:
        """Do what a line says; the status to leave with, if it is to leave or has failed."""
        self._transfers.begin()
        try:
            if line.lstrip().startswith(b"!"):
                # A local command has the terminal, so it runs in the main thread.
                self._shell._escape(line.lstrip()[1:].strip())
            else:
                self._thread.call(self._shell.run, line)
        except LeaveShell:
            raise
        except CommandError as error:
            self._transfers.end()
            if not error.wasTold:
                self._transfers.tell(str(error))
            return FAILED
        finally:
            self._transfers.end()
        return None

    def _runBatch(self, batch: Iterable[bytes]) -> int:
        for raw in batch:
            line = raw.strip()
            mayFail = isSilent = False
            while line[:1] in (b"-", b"@"):
                mayFail |= line[:1] == b"-"
                isSilent |= line[:1] == b"@"
                line = line[1:].lstrip()
            if not line or line.startswith(b"#"):
                continue
            if not isSilent and not self._transfer.quiet:
                printed(f"{PROMPT}{shown(line)}\n")
            try:
                status = self._do(line)
            except LeaveShell:
                return 0
            if status is not None and not mayFail:
                return status
        return 0

    def _runLines(self, lines: Iterable[bytes]) -> int:
        """Lines from a pipe: a failure is told, and the next line is read."""
        for line in lines:
            try:
                self._do(line)
            except LeaveShell:
                break
        return 0

    # ── a person ──────────────────────────────────────────────────────────────────────────────

    def _interactive(self) -> int:
        history = History()
        self._setUpCompletion()
        if not self._transfer.quiet:
            host = self._transfer.places[0].host
            printed(f"Connected to {shown(host) if host else 'a local server'}. help lists the ")
            printed("commands.\n")
        try:
            for line in self._typed():
                with suppress(OSError):
                    self._shell.width = os.get_terminal_size(1).columns
                try:
                    self._do(line)
                except Stopped:
                    raise
                except KeyboardInterrupt:
                    printed("\nInterrupted\n")
                    if self._files.client.ended:
                        raise ConnectionClosed from None
        except LeaveShell:
            pass
        finally:
            history.save()
        return 0

    def _typed(self) -> Iterator[bytes]:
        while True:
            try:
                yield pathBytes(input(PROMPT))
            except EOFError:
                printed("\n")
                return
            except Stopped:
                raise
            except KeyboardInterrupt:
                printed("\n")

    def _setUpCompletion(self) -> None:
        import readline

        matches: list[str] = []

        def complete(text: str, state: int) -> str | None:
            if state == 0:
                line = pathBytes(text)
                found = completions(line, self._remoteNames, localNames)
                words = splitOpen(line)
                inWord = bool(words) and not line[-1:].isspace()
                start = words[-1].start if inWord else len(line)
                head = line[:start]
                matches[:] = [os.fsdecode(head + each) for each in found]
            return matches[state] if state < len(matches) else None

        def display(substitution: str, found: Sequence[str], longest: int) -> None:
            from limpet.client.sftpshell.lines import columns

            ends = []
            for each in found:
                words = splitOpen(pathBytes(each))
                literal = words[-1].literal if words else b""
                slash = b"/" if literal.endswith(b"/") else b""
                ends.append(shown(literal.rstrip(b"/").rpartition(b"/")[2] + slash))
            printed("\n" + "\n".join(columns(ends, self._shell.width)) + "\n")
            printed(PROMPT + readline.get_line_buffer())

        readline.set_completer_delims("")
        readline.set_completer(complete)
        readline.set_completion_display_matches_hook(display)
        isLibedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if isLibedit else "tab: complete")

    def _remoteNames(self, directory: bytes) -> list[tuple[bytes, bool]]:
        """The entries of a remote directory, listed lately; none of one that cannot be listed."""
        now = time.monotonic()
        key = self._shell.directory + b"\0" + directory
        when, known = self._listed.get(key, (0.0, []))
        if now - when < CACHED_SECONDS and when:
            return known
        found: list[tuple[bytes, bool]] = []

        async def look() -> None:
            path = await self._shell._absolute(directory)
            for entry in await self._files.listDirectory(path):
                isDirectory = entry.isDirectory
                if entry.isLink:
                    isDirectory = await self._files.isDirectory(path + b"/" + pathBytes(entry.name))
                found.append((pathBytes(entry.name), isDirectory))

        async def lookForAWhile() -> None:
            looking = defer.Deferred.fromCoroutine(look())
            await looking.addTimeout(COMPLETION_SECONDS, self._thread.reactor)

        # A directory that cannot be listed has no names to offer, whatever the reason; nor has one
        # that the person does not wait for, who types on.
        with suppress(Exception):
            self._thread.call(lookForAWhile, keyboard=STDIN)
            self._listed = {key: (now, found)}
        return found


class History:
    """The lines that were typed before, kept in a file of the user's own."""

    def __init__(self) -> None:
        import readline

        self._readline: Any = readline
        state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        self._path = Path(state) / "limpet" / "sftp_history"
        readline.clear_history()
        with suppress(OSError):
            readline.read_history_file(self._path)

    def save(self) -> None:
        """Keep the lines; where that is not possible, nothing is lost but comfort."""
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._readline.set_history_length(MAX_HISTORY)
            self._path.touch(mode=0o600)
            self._readline.write_history_file(self._path)


def printed(text: str) -> None:
    """Print, with what is not encodable escaped."""
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()
