"""The process that serves one SFTP session: becomes the user, then answers on its standard output.

Rule: everything is imported before anything is given up, and nothing afterwards; who it is is
checked before the first byte is read. It gets the same two pipes as any program of a session, so
that the server beside it only passes bytes on.

    python -I -S -c START SRC [key=value …]
"""

from __future__ import annotations

import atexit  # noqa: F401 weakref.finalize imports it when it is first used, which is in the jail
import errno
import os
import resource
import stat
import struct
import sys
from collections import deque

from limpet.files.beneath import MAX_LINKS, O_PATH
from limpet.files.filesystem import ConfinedFiles, Files
from limpet.files.requests import FileRequests, SessionOver
from limpet.wire.sftp import MAX_MESSAGE_LENGTH

START = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from limpet.files.worker import main; sys.exit(main(sys.argv[2:]))"
)
"""What the interpreter runs; it gets the directory in which the package `limpet` stands."""

INPUT_SIZE = 2 * MAX_MESSAGE_LENGTH + 8
"""The input's buffer, in bytes: a whole message and most of the next (ours)."""

_LENGTH = struct.Struct(">L")

STATUS_USAGE = 2
STATUS_IDENTITY = 126
STATUS_PROTOCOL = 1


class WrongIdentity(Exception):
    """The process is not who it has to be; the text says in what."""


def main(arguments: list[str]) -> int:
    """Serve one session; returns the exit status."""
    options = dict(argument.partition("=")[::2] for argument in arguments)
    try:
        files = prepare(options)
    except (OSError, WrongIdentity, ValueError, KeyError) as error:
        complain(f"cannot start: {error}")
        return STATUS_IDENTITY
    requests = FileRequests(
        files,
        writeOutput,
        readOnly=options.get("readOnly") == "yes",
        linkFirst=options.get("linkFirst") == "yes",
        forbidden=frozenset(filter(None, options.get("forbidden", "").split(","))),
        report=lambda error: complain(f"failed: {type(error).__name__}: {error}"),
    )
    try:
        serve(requests, INPUT)
    except SessionOver as over:
        requests.flush()
        complain(f"the client broke the protocol: {over}")
        return STATUS_PROTOCOL
    except BrokenPipeError:
        return 0
    finally:
        requests.close()
    return 0


INPUT, OUTPUT = 0, 1


def prepare(options: dict[str, str]) -> Files:
    """Become the user, and go where the files are.

    Args:
        options: "uid", "gid" and "groups" (numbers, separated by commas) of whom to become, none
            to stay; "home"; "start" to begin elsewhere; "root" to be confined there; "umask".

    Raises:
        OSError, WrongIdentity: One of it did not work; nothing may be served then.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if "umask" in options:
        os.umask(int(options["umask"], 8))
    root = os.fsencode(options.get("root", ""))
    isJailed = bool(root) and os.geteuid() == 0
    if isJailed:
        enterJail(root)
    if "uid" in options:
        groups = [int(group) for group in options["groups"].split(",") if group]
        become(int(options["uid"]), int(options["gid"]), groups)
    if isJailed:
        # What would be imported or looked up from here on would come out of the jail.
        sys.path.clear()
        sys.meta_path.clear()
        return JailedFiles(b"/")
    if root:
        return ConfinedFiles(root)
    return ownFiles(os.fsencode(options.get("home", "/")), os.fsencode(options.get("start", "")))


def enterJail(directory: bytes) -> None:
    """Make `directory` the top of the file system, for good. Root does this.

    A link on the way there is followed if it is root's: one that a user has put into a directory of
    theirs would lead root to where that user may not go.

    Raises:
        OSError, WrongIdentity: It is not a directory, or a link to it is not root's.
    """
    flags = O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    here = os.open(b"/", flags)
    pending = deque(directory.split(b"/"))
    links = 0
    while pending:
        name = pending.popleft() or b"."
        found = os.open(name, flags, dir_fd=here)
        details = os.fstat(found)
        if stat.S_ISLNK(details.st_mode):
            if details.st_uid != 0:
                raise WrongIdentity(f"on the way to {directory!r}, {name!r} is a link of a user's")
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = os.readlink(b"", dir_fd=found)
            os.close(found)
            pending.extendleft(reversed(target.split(b"/")))
            if not target.startswith(b"/"):
                continue
            found = os.open(b"/", flags)
        os.close(here)
        here = found
    os.fchdir(here)
    os.close(here)
    os.chroot(b".")


class JailedFiles(Files):
    """All files of a process that has gone into a directory by chroot."""

    modeBits = ConfinedFiles.modeBits

    def __init__(self, start: bytes) -> None:
        super().__init__(start, mayLookUp=False)


def ownFiles(home: bytes, start: bytes = b"") -> Files:
    """The user's files, from `start`; from the home, or from the top where there is none."""
    for place in filter(None, (os.path.join(home, start) if start else b"", home)):
        try:
            os.chdir(place)
            return Files(place, home=home)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EACCES, errno.ENOTDIR):
                raise
    os.chdir("/")
    return Files(b"/")


def become(uid: int, gid: int, groups: list[int]) -> None:
    """Take on an identity for good.

    Raises:
        WrongIdentity: It was not taken on completely, or could be given up again.
    """
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3:
        raise WrongIdentity(f"not user {uid} and group {gid}")
    if set(os.getgroups()) | {gid} != set(groups) | {gid}:
        raise WrongIdentity(f"not the groups of user {uid}")
    if uid:
        try:
            os.setresuid(0, 0, 0)
        except PermissionError:
            return
        raise WrongIdentity("root could be had again")


def serve(requests: FileRequests, fd: int) -> None:
    """Answer what comes in on `fd` until its end.

    Raises:
        SessionOver: The client broke the protocol.
        BrokenPipeError: Nobody reads the replies.
    """
    buffer = bytearray(INPUT_SIZE)
    view = memoryview(buffer)
    start = end = 0
    while True:
        count = os.readv(fd, [view[end:]])
        if not count:
            return
        end += count
        while end - start >= 4:
            length = _LENGTH.unpack_from(buffer, start)[0]
            if not 0 < length <= MAX_MESSAGE_LENGTH:
                raise SessionOver(f"a message of {length} bytes")
            stop = start + 4 + length
            if stop > end:
                break
            requests.received(view[start + 4 : stop])
            start = stop
        requests.flush()
        if start == end:
            start = end = 0
        elif start:
            # The rest of a message at most: fewer bytes than were just taken out, or nearly so.
            rest = end - start
            view[:rest] = view[start:end].tobytes()
            start, end = 0, rest


def writeOutput(data: memoryview) -> None:
    """Write all of `data`, however long the other side takes."""
    while data:
        data = data[os.write(OUTPUT, data) :]


def complain(text: str) -> None:
    """Say one line to whoever runs the server."""
    line = ascii(text)[1:-1].encode("ascii")[:500]
    try:
        os.write(2, b"limpet sftp [%d]: %s\n" % (os.getpid(), line))
    except OSError:
        return
