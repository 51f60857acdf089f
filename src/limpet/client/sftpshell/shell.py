"""What `limpet sftp` does with a line: the commands of OpenSSH's sftp, by its letters.

Rule: a command is a coroutine that returns when it is done and raises `CommandError` with words for
the person. Here is no terminal: what is printed goes to `out`, what is asked of the person nowhere.
"""

from __future__ import annotations

import glob
import os
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionClosed

from limpet.client.errors import ClientError, shown
from limpet.client.filecopy import CopyFailed, RemoteFiles, globbing, names
from limpet.client.filecopy.problems import CopyProblem, reasonOf
from limpet.client.filecopy.remotetree import MAX_LISTED
from limpet.client.filecopy.trees import isDirectory
from limpet.client.sftpshell import lines
from limpet.client.sftpshell.words import Unfinished, Word, split
from limpet.ssh.filetransfer.base import SFTPError
from limpet.ssh.filetransfer.client import pathBytes
from limpet.wire import sftp

DEFAULT_WIDTH = 80

FAILURES = (SFTPError, OSError, EOFError, NotImplementedError, ClientError)
"""What a command may fail with, beside `CommandError`."""


class CommandError(ClientError):
    """A command did not work; the text says why.

    Attributes:
        wasTold: Whether `Shell.told` has been called with these very words already.
    """

    def __init__(self, text: str, wasTold: bool = False) -> None:
        super().__init__(text)
        self.wasTold = wasTold


class LeaveShell(Exception):
    """The person wants to leave."""


@dataclass(frozen=True)
class Command:
    """A command of the shell.

    Attributes:
        name: Its name.
        flags: The letters that it takes.
        least: How many arguments it needs.
        most: How many it takes; -1 for any number.
        usage: Its arguments, for help.
        help: What it does.
        completes: Whether each argument is a "remote" or "local" path, or "" for neither.
    """

    name: str
    flags: str
    least: int
    most: int
    usage: str
    help: str
    completes: tuple[str, ...] = ()


COMMANDS: Mapping[str, Command] = {
    command.name: command
    for command in (
        Command("bye", "", 0, 0, "", "Leave"),
        Command("cd", "", 0, 1, "[path]", "Change the remote directory", ("remote",)),
        Command("chgrp", "h", 2, -1, "[-h] grp path…", "Change the group", ("", "remote")),
        Command("chmod", "h", 2, -1, "[-h] mode path…", "Change permissions", ("", "remote")),
        Command("chown", "h", 2, -1, "[-h] own path…", "Change the owner", ("", "remote")),
        Command("copy", "", 2, 2, "old new", "Copy a remote file there", ("remote", "remote")),
        Command("df", "hi", 0, 1, "[-hi] [path]", "Show the space of a file system", ("remote",)),
        Command("exit", "", 0, 0, "", "Leave"),
        Command(
            "get", "afpPrRV", 1, 2, "[-afpRV] remote [local]", "Fetch files", ("remote", "local")
        ),
        Command("help", "", 0, 1, "[command]", "Show this"),
        Command("lcd", "", 0, 1, "[path]", "Change the local directory", ("local",)),
        Command("lls", "*", 0, -1, "[ls-options [path]]", "List local files", ("local",)),
        Command("lmkdir", "", 1, 1, "path", "Make a local directory", ("local",)),
        Command("ln", "s", 2, 2, "[-s] old new", "Make a remote link", ("remote", "remote")),
        Command("lpwd", "", 0, 0, "", "Show the local directory"),
        Command("ls", "1afhlnrSt", 0, 1, "[-1afhlnrSt] [path]", "List remote files", ("remote",)),
        Command("lumask", "", 1, 1, "umask", "Set the local umask"),
        Command("mkdir", "p", 1, 1, "[-p] path", "Make a remote directory", ("remote",)),
        Command("progress", "", 0, 0, "", "Show progress, or no more"),
        Command(
            "put", "afpPrRV", 1, 2, "[-afpRV] local [remote]", "Send files", ("local", "remote")
        ),
        Command("pwd", "", 0, 0, "", "Show the remote directory"),
        Command("quit", "", 0, 0, "", "Leave"),
        Command(
            "reget", "fpPrRV", 1, 2, "[-fpRV] remote [local]", "Resume get", ("remote", "local")
        ),
        Command("rename", "", 2, 2, "old new", "Rename a remote file", ("remote", "remote")),
        Command(
            "reput", "fpPrRV", 1, 2, "[-fpRV] local [remote]", "Resume put", ("local", "remote")
        ),
        Command("rm", "rR", 1, -1, "[-r] path…", "Remove remote files", ("remote",)),
        Command("rmdir", "", 1, -1, "path…", "Remove remote directories", ("remote",)),
        Command("symlink", "", 2, 2, "old new", "The same as ln -s", ("remote", "remote")),
        Command("version", "", 0, 0, "", "Show the version of SFTP"),
    )
}

ALIASES: Mapping[str, str] = {
    "?": "help",
    "chdir": "cd",
    "cp": "copy",
    "dir": "ls",
    "lchdir": "lcd",
    "mget": "get",
    "mput": "put",
    "mv": "rename",
}


class Shell:
    """A session of `limpet sftp`.

    Args:
        files: The files at the server.
        out: Takes text to print.
        home: The remote directory that the session began in.

    Attributes:
        directory: The remote directory, absolute.
        options: Fields of `CopyOptions` that hold for every copy.
        recursive: Whether every copy is recursive (-r).
        width: Columns of the terminal.
        showsProgress: Whether progress is shown.
        verbose: Whether each copy is announced.
        progress: What `CopyOptions.progress` is called with while it is shown.
        told: Called with what went wrong with one file, while others go on.
    """

    def __init__(self, files: RemoteFiles, out: Callable[[str], object], home: bytes) -> None:
        self.files = files
        self.client = files.client
        self.out = out
        self.home = self.directory = home
        self.options: dict[str, Any] = {}
        self.recursive = False
        self.width = DEFAULT_WIDTH
        self.showsProgress = False
        self.verbose = False
        self.progress: Callable[[Any], object] | None = None
        self.told: Callable[[str], object] | None = None

    @classmethod
    async def start(cls, files: RemoteFiles, out: Callable[[str], object]) -> Shell:
        """Find out where the session began."""
        return cls(files, out, pathBytes(await files.realPath(".")))

    # ── a line ────────────────────────────────────────────────────────────────────────────────

    async def run(self, line: str | bytes) -> None:
        """Do what a line says.

        Raises:
            CommandError: It did not work out.
            LeaveShell: It says to leave.
        """
        text = line if isinstance(line, bytes) else pathBytes(line)
        text = text.strip()
        if text.startswith(b"!"):
            self._escape(text[1:].strip())
            return
        try:
            words = split(text)
        except Unfinished as error:
            raise CommandError(str(error)) from None
        if not words:
            return
        typed = words[0].literal.decode("utf-8", "replace").lower()
        name = ALIASES.get(typed, typed)
        command = COMMANDS.get(name)
        if command is None:
            raise CommandError(f"there is no command '{shown(typed)}'; help lists them")
        flags, arguments = self._arguments(command, words[1:])
        method: Callable[[str, list[Word]], Awaitable[None]] = getattr(self, "do" + name.title())
        try:
            await method(flags, arguments)
        except CommandError:
            raise
        except CopyFailed as error:
            raise self._copyError(error) from None
        except (ConnectionClosed, CancelledError):
            raise
        except FAILURES as error:
            raise CommandError(f"{name}: {reasonOf(error)}") from None

    def _copyError(self, failed: CopyFailed) -> CommandError:
        count = len(failed.problems)
        if self.told is not None and count > 1:
            return CommandError(f"{count} files were not copied, or not as asked")
        return CommandError(str(failed.problems[0]), wasTold=self.told is not None)

    def _arguments(self, command: Command, words: Sequence[Word]) -> tuple[str, list[Word]]:
        flags = ""
        rest = list(words)
        while rest and rest[0].pattern.startswith(b"-") and rest[0].pattern != b"-":
            word = rest.pop(0)
            if word.pattern == b"--":
                break
            letters = word.literal.decode("utf-8", "replace")[1:]
            for letter in letters:
                if letter not in command.flags and command.flags != "*":
                    raise CommandError(f"{command.name}: there is no -{letter}; {_usage(command)}")
            flags += letters
        if len(rest) < command.least or (command.most >= 0 and len(rest) > command.most):
            raise CommandError(_usage(command))
        return flags, rest

    def _escape(self, command: bytes) -> None:
        shell = os.environ.get("SHELL") or "/bin/sh"
        arguments = [shell, "-c", os.fsdecode(command)] if command else [shell]
        status = subprocess.run(arguments, check=False).returncode
        if status:
            raise CommandError(f"the local command ended with status {status}")

    # ── remote paths ──────────────────────────────────────────────────────────────────────────

    async def path(self, word: Word) -> bytes:
        """The path that a word names, wildcards taken literally."""
        return await self._absolute(word.literal)

    async def _absolute(self, path: bytes) -> bytes:
        if path.startswith(b"~") and self.client.supports(sftp.EXT_EXPAND_PATH):
            return pathBytes(await self.client.expandPath(path))
        return path if path.startswith(b"/") else names.join(self.directory, path)

    async def expand(self, word: Word) -> list[bytes]:
        """The remote paths that a word stands for, at least one.

        Raises:
            CommandError: Nothing matches its wildcards.
        """
        if not globbing.hasWildcard(word.pattern):
            return [await self.path(word)]
        pattern = word.pattern
        if not pattern.startswith((b"/", b"~")):
            pattern = names.join(globbing.quoted(self.directory), pattern)
        elif pattern.startswith(b"~"):
            head, slash, tail = pattern.partition(b"/")
            pattern = globbing.quoted(await self._absolute(globbing.unquoted(head))) + slash + tail
        found = await self.files.glob(pattern)
        if not found:
            raise CommandError(f"nothing matches {shown(word.pattern)}")
        return [pathBytes(path) for path in found]

    def shownPath(self, path: bytes) -> str:
        """A remote path as the person would write it: relative where it is below here."""
        below = names.join(self.directory, b"")
        below = below if below.endswith(b"/") else below + b"/"
        return shown(path[len(below) :] if path.startswith(below) and path != below else path)

    # ── leaving, help ─────────────────────────────────────────────────────────────────────────

    async def doBye(self, flags: str, arguments: list[Word]) -> None:
        raise LeaveShell

    doExit = doQuit = doBye

    async def doHelp(self, flags: str, arguments: list[Word]) -> None:
        wanted = None
        if arguments:
            typed = arguments[0].literal.decode("utf-8", "replace").lower()
            wanted = COMMANDS.get(ALIASES.get(typed, typed))
            if wanted is None:
                raise CommandError(f"there is no command '{shown(typed)}'")
        shownCommands = [wanted] if wanted else list(COMMANDS.values())
        for command in shownCommands:
            self.out(f"{command.name + ' ' + command.usage:<34} {command.help}\n")
        if wanted is None:
            self.out(f"{'!command':<34} Run a local command; ! alone for a shell\n")
            self.out("-a resumes, -f flushes to disk, -p keeps modes and times, -R copies\n")
            self.out("directories, -V reads back and compares. Also: ")
            self.out(", ".join(f"{alias} for {name}" for alias, name in ALIASES.items()) + "\n")

    async def doVersion(self, flags: str, arguments: list[Word]) -> None:
        self.out(f"SFTP version {self.client.serverVersion}\n")

    async def doProgress(self, flags: str, arguments: list[Word]) -> None:
        self.showsProgress = not self.showsProgress
        self.out(f"Progress is {'shown' if self.showsProgress else 'not shown'}\n")

    # ── directories ───────────────────────────────────────────────────────────────────────────

    async def doPwd(self, flags: str, arguments: list[Word]) -> None:
        self.out(f"Remote working directory: {shown(self.directory)}\n")

    async def doLpwd(self, flags: str, arguments: list[Word]) -> None:
        self.out(f"Local working directory: {shown(os.getcwdb())}\n")

    async def doCd(self, flags: str, arguments: list[Word]) -> None:
        path = self.home
        if arguments:
            found = await self.expand(arguments[0])
            if len(found) > 1:
                raise CommandError(f"cd: {len(found)} paths match")
            path = found[0]
        await self.changeDirectory(path)

    async def changeDirectory(self, path: bytes) -> None:
        """Make `path` the remote directory."""
        real = pathBytes(await self._told(self.client.realPath(path), path))
        attrs = await self._told(self.client.getAttrs(real, True), path)
        if "permissions" in attrs and not isDirectory(attrs):
            raise CommandError(f"cd: {shown(path)} is no directory")
        self.directory = real

    async def doLcd(self, flags: str, arguments: list[Word]) -> None:
        path = os.path.expanduser(arguments[0].literal if arguments else b"~")
        try:
            os.chdir(path)
        except OSError as error:
            raise CommandError(f"lcd: {shown(path)}: {reasonOf(error)}") from None

    async def doMkdir(self, flags: str, arguments: list[Word]) -> None:
        path = await self.path(arguments[0])
        if "p" in flags:
            await self._makeParents(path)
        else:
            request = self.client.makeDirectory(path, {"permissions": 0o777})
            await self._told(request, path, self._whyNotMade)

    async def _makeParents(self, path: bytes) -> None:
        missing: list[bytes] = []
        while path.strip(b"/") and not await self.files.isDirectory(path):
            missing.append(path)
            path = names.parentOf(path)
        for directory in reversed(missing):
            attrs = {"permissions": 0o777}
            await self._told(self.client.makeDirectory(directory, attrs), directory)

    async def doLmkdir(self, flags: str, arguments: list[Word]) -> None:
        path = arguments[0].literal
        try:
            os.mkdir(path)
        except OSError as error:
            raise CommandError(f"lmkdir: {shown(path)}: {reasonOf(error)}") from None

    async def doLumask(self, flags: str, arguments: list[Word]) -> None:
        umask = _octal(arguments[0], "lumask")
        os.umask(umask)
        self.out(f"Local umask: {umask:03o}\n")

    async def doLls(self, flags: str, arguments: list[Word]) -> None:
        command = ["ls", *([f"-{flags}"] if flags else [])]
        for word in arguments:
            found = _localMatches(word)
            command += [os.fsdecode(path if path[:1] != b"-" else b"./" + path) for path in found]
        done = subprocess.run(command, check=False, capture_output=True)
        self.out(os.fsdecode(done.stdout))
        if done.returncode:
            raise CommandError(f"lls: {shown(done.stderr.strip())}")

    async def doRmdir(self, flags: str, arguments: list[Word]) -> None:
        for word in arguments:
            for path in await self.expand(word):
                request = self.client.removeDirectory(path)
                await self._told(request, path, self._whyNotRemoved)

    # ── files ─────────────────────────────────────────────────────────────────────────────────

    async def _told(
        self,
        request: Awaitable[Any],
        path: bytes,
        why: Callable[[bytes], Awaitable[str]] | None = None,
    ) -> Any:
        """The result of a request; its failure names the path.

        Where all that the server says is that it failed, `why` finds out what may be the reason.
        """
        try:
            return await request
        except (ConnectionClosed, CancelledError):
            raise
        except FAILURES as error:
            reason = ""
            if why is not None and getattr(error, "code", None) == sftp.FX_FAILURE:
                with suppress(*FAILURES):
                    reason = await why(path)
            raise CommandError(f"{shown(path)}: {reason or reasonOf(error)}") from None

    async def _whyNotMade(self, path: bytes) -> str:
        return "it is there already" if await self.files.exists(path) else ""

    async def _whyNotRemoved(self, path: bytes) -> str:
        return "it is not empty" if await self.files.listDirectory(path) else ""

    async def doRm(self, flags: str, arguments: list[Word]) -> None:
        for word in arguments:
            for path in await self.expand(word):
                if self.verbose:
                    self.out(f"Removing {shown(path)}\n")
                if flags:
                    await self._told(self.files.removeTree(path), path)
                else:
                    await self._told(self.client.removeFile(path), path)

    async def doRename(self, flags: str, arguments: list[Word]) -> None:
        old, new = [await self.path(word) for word in arguments]
        await self._told(self.files.rename(old, new), old)

    async def doLn(self, flags: str, arguments: list[Word]) -> None:
        if flags:
            await self.doSymlink("", arguments)
            return
        old, new = [await self.path(word) for word in arguments]
        self._needs(sftp.EXT_HARDLINK, "ln")
        await self._told(self.client.hardLink(old, new), new)

    async def doSymlink(self, flags: str, arguments: list[Word]) -> None:
        target, link = arguments[0].literal, await self.path(arguments[1])
        await self._told(self.client.makeLink(link, target), link)

    async def doCopy(self, flags: str, arguments: list[Word]) -> None:
        target = await self.path(arguments[1])
        for path in await self.expand(arguments[0]):
            await self.files.copy(path, target, **self._copyOptions(""))

    def _needs(self, extension: bytes, what: str) -> None:
        if not self.client.supports(extension):
            raise CommandError(f"{what}: the server does not support {extension.decode()}")

    # ── attributes ────────────────────────────────────────────────────────────────────────────

    async def doChmod(self, flags: str, arguments: list[Word]) -> None:
        mode = _octal(arguments[0], "chmod")
        await self._change("chmod", flags, arguments[1:], lambda attrs: {"permissions": mode})

    async def doChown(self, flags: str, arguments: list[Word]) -> None:
        owner = _number(arguments[0], "chown")
        await self._change(
            "chown", flags, arguments[1:], lambda attrs: {"uid": owner, "gid": attrs["gid"]}
        )

    async def doChgrp(self, flags: str, arguments: list[Word]) -> None:
        group = _number(arguments[0], "chgrp")
        await self._change(
            "chgrp", flags, arguments[1:], lambda attrs: {"uid": attrs["uid"], "gid": group}
        )

    async def _change(
        self,
        name: str,
        flags: str,
        arguments: Sequence[Word],
        make: Callable[[dict[str, Any]], dict[str, int]],
    ) -> None:
        follow = "h" not in flags
        if not follow:
            self._needs(sftp.EXT_LSETSTAT, f"{name} -h")
        for word in arguments:
            for path in await self.expand(word):
                attrs = await self._told(self.client.getAttrs(path, follow), path)
                try:
                    changed = make(attrs)
                except KeyError:
                    text = f"{name}: the server does not tell the owner of {shown(path)}"
                    raise CommandError(text) from None
                set_ = self.client.setAttrs if follow else self.client.setLinkAttrs
                await self._told(set_(path, changed), path)

    async def doDf(self, flags: str, arguments: list[Word]) -> None:
        self._needs(sftp.EXT_STATVFS, "df")
        path = await self.path(arguments[0]) if arguments else self.directory
        sizes = await self._told(self.client.statVFS(path), path)
        for line in lines.usage(sizes, human="h" in flags, inodes="i" in flags):
            self.out(line + "\n")

    # ── listing ───────────────────────────────────────────────────────────────────────────────

    async def doLs(self, flags: str, arguments: list[Word]) -> None:
        paths = await self.expand(arguments[0]) if arguments else [self.directory]
        single: list[tuple[bytes, Mapping[str, Any], bytes]] = []
        directories: list[bytes] = []
        for path in paths:
            attrs = await self._told(self.client.getAttrs(path, True), path)
            if isDirectory(attrs):
                directories.append(path)
            else:
                name = pathBytes(self.shownPath(path)) if arguments else path
                single.append((name, attrs, b""))
        await self._print(flags, single)
        for path in directories:
            if len(paths) > 1:
                self.out(f"\n{self.shownPath(path)}:\n")
            found = []
            directory = await self._told(self.client.openDirectory(path), path)
            try:
                while True:
                    for entry in await directory.read():
                        if "a" in flags or not entry.filename.startswith(b"."):
                            found.append((entry.filename, entry.attrs, entry.longname))
                    if len(found) > MAX_LISTED:
                        raise CommandError(f"{shown(path)} has more than {MAX_LISTED} entries")
            except EOFError:
                pass
            finally:
                directory.close().addErrback(lambda failure: None)
            await self._print(flags, found)

    async def _print(self, flags: str, found: list[tuple[bytes, Mapping[str, Any], bytes]]) -> None:
        if "f" not in flags:
            found.sort(key=lambda item: item[0])
            if "S" in flags:
                found.sort(key=lambda item: item[1].get("size", 0), reverse=True)
            elif "t" in flags:
                found.sort(key=lambda item: item[1].get("mtime", 0), reverse=True)
            if "r" in flags:
                found.reverse()
        if "l" in flags or "n" in flags:
            owners, groups = await self._owners(flags, found)
            now = time.time()
            for name, attrs, longName in found:
                owner, group = _ownersOf(longName)
                owner = owners.get(attrs.get("uid", -1)) or owner or str(attrs.get("uid", "?"))
                group = groups.get(attrs.get("gid", -1)) or group or str(attrs.get("gid", "?"))
                if "n" in flags:
                    owner, group = str(attrs.get("uid", "?")), str(attrs.get("gid", "?"))
                line = lines.longLine(name, attrs, owner, group, human="h" in flags, now=now)
                self.out(line + "\n")
            return
        shownNames = [shown(name) for name, _, _ in found]
        for line in shownNames if "1" in flags else lines.columns(shownNames, self.width):
            self.out(line + "\n")

    async def _owners(
        self, flags: str, found: Sequence[tuple[bytes, Mapping[str, Any], bytes]]
    ) -> tuple[dict[int, str], dict[int, str]]:
        """Names of users and groups, where the server tells them."""
        uids = sorted({attrs["uid"] for _, attrs, _ in found if "uid" in attrs})
        gids = sorted({attrs["gid"] for _, attrs, _ in found if "gid" in attrs})
        if "n" in flags or not uids or not self.client.supports(sftp.EXT_USERS_GROUPS):
            return {}, {}
        with suppress(SFTPError, NotImplementedError):
            users, groups = await self.client.getUserNames(uids, gids)
            return (
                dict(zip(uids, map(shown, users), strict=False)),
                dict(zip(gids, map(shown, groups), strict=False)),
            )
        return {}, {}

    # ── copying ───────────────────────────────────────────────────────────────────────────────

    def _copyOptions(self, flags: str) -> dict[str, Any]:
        options = dict(self.options)
        options["recursive"] = self.recursive or bool(set("rR") & set(flags))
        for field, letters in (("resume", "a"), ("sync", "f"), ("preserve", "pP"), ("verify", "V")):
            if set(letters) & set(flags):
                options[field] = True
        options.setdefault("links", "skip")
        options.setdefault("keepPart", True)
        if self.showsProgress and self.progress is not None:
            options["progress"] = self.progress
        tell = self.told
        if tell is not None:
            options["problem"] = lambda problem: tell(str(problem))
        return options

    async def doGet(self, flags: str, arguments: list[Word]) -> None:
        local = os.path.expanduser(arguments[1].literal) if len(arguments) > 1 else None
        found = await self.expand(arguments[0])
        if len(found) > 1 and local is not None and not os.path.isdir(local):
            raise CommandError(
                f"{len(found)} files match, so {shown(local)} has to be a directory that exists"
            )
        await self._each(found, local, flags, self.files.get, "Fetching")

    async def doReget(self, flags: str, arguments: list[Word]) -> None:
        await self.doGet(flags + "a", arguments)

    async def doPut(self, flags: str, arguments: list[Word]) -> None:
        remote = await self.path(arguments[1]) if len(arguments) > 1 else None
        found = _localMatches(arguments[0])
        if not found:
            raise CommandError(f"nothing matches {shown(arguments[0].pattern)}")
        if len(found) > 1 and remote is not None and not await self.files.isDirectory(remote):
            raise CommandError(
                f"{len(found)} files match, so {shown(remote)} has to be a directory that exists"
            )
        target = self.directory if remote is None else remote
        await self._each(found, target, flags, self.files.put, "Sending")

    async def doReput(self, flags: str, arguments: list[Word]) -> None:
        await self.doPut(flags + "a", arguments)

    async def _each(
        self,
        sources: Sequence[bytes],
        target: bytes | None,
        flags: str,
        copy: Callable[..., Awaitable[Any]],
        word: str,
    ) -> None:
        """Copy each of several sources; those that work out are copied whatever others do."""
        problems: list[CopyProblem] = []
        for source in sources:
            if self.verbose:
                self.out(f"{word} {shown(source)}\n")
            try:
                result = await copy(source, target, **self._copyOptions(flags))
                for skipped in result.skipped:
                    self.out(f"{shown(skipped)}: skipped, it is no ordinary file\n")
            except CopyFailed as error:
                problems += error.problems
                if error.problems[-1].fatal:
                    break
        if problems:
            raise CopyFailed(problems)


def _usage(command: Command) -> str:
    return f"usage: {command.name} {command.usage}".rstrip()


def _octal(word: Word, name: str) -> int:
    text = word.literal
    if not 0 < len(text) <= 5 or text.strip(b"01234567"):
        raise CommandError(f"{name}: '{shown(text)}' is no octal number such as 644")
    number = int(text, 8)
    if number > 0o7777:
        raise CommandError(f"{name}: '{shown(text)}' is more than 7777")
    return number


def _number(word: Word, name: str) -> int:
    text = word.literal
    if not 0 < len(text) <= 10 or text.strip(b"0123456789") or int(text) >= 2**32:
        raise CommandError(f"{name}: '{shown(text)}' is no number of a user or group")
    return int(text)


def _localMatches(word: Word) -> list[bytes]:
    """The local paths that a word stands for."""
    pattern = word.pattern
    if not globbing.hasWildcard(pattern):
        return [os.path.expanduser(word.literal)]
    # The glob module knows no backslashes; a set of one does the same.
    escaped = bytearray()
    at = 0
    while at < len(pattern):
        if pattern[at : at + 1] == b"\\" and at + 1 < len(pattern):
            at += 1
            escaped += glob.escape(pattern[at : at + 1])
        else:
            escaped += pattern[at : at + 1]
        at += 1
    return sorted(glob.glob(os.path.expanduser(bytes(escaped))))


def _ownersOf(longName: bytes) -> tuple[str, str]:
    """The owner's and the group's name in a line in the style of `ls -l`, if it is one."""
    fields = longName.split(None, 4)
    if len(fields) == 5 and len(fields[0]) >= 10:
        return shown(fields[2]), shown(fields[3])
    return "", ""


__all__ = ["ALIASES", "COMMANDS", "Command", "CommandError", "LeaveShell", "Shell"]
