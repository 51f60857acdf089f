"""An SFTP server in memory, joined to a client: small, obedient, and told when to misbehave.

    server = MemoryServer({"a": b"text", "d/": None, "l": "->a"})
    files = server.files()
    assert server.result(files.get("a", target))

Nothing happens by itself: `run` carries requests and replies to and fro until neither side has more
to say, `result` does so and returns what a Deferred fired with.
"""

from __future__ import annotations

import stat
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet import defer
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from limpet.client.filecopy import RemoteFiles
from limpet.client.filecopy.offload import atOnce
from limpet.client.filecopy.remotetree import Session
from limpet.core.framing import FrameReceiver
from limpet.ssh.filetransfer.base import SFTPError
from limpet.ssh.filetransfer.client import FileTransferClient, pathBytes
from limpet.wire import sftp
from limpet.wire.fields import NS, Reader, u32

ALL_EXTENSIONS = (
    sftp.EXT_POSIX_RENAME,
    sftp.EXT_STATVFS,
    sftp.EXT_HARDLINK,
    sftp.EXT_FSYNC,
    sftp.EXT_LSETSTAT,
    sftp.EXT_LIMITS,
    sftp.EXT_EXPAND_PATH,
    sftp.EXT_COPY_DATA,
    sftp.EXT_USERS_GROUPS,
)

MISSING = SFTPError(sftp.FX_NO_SUCH_FILE, "No such file")
FAILURE = SFTPError(sftp.FX_FAILURE, "Failure")
DENIED = SFTPError(sftp.FX_PERMISSION_DENIED, "Permission denied")
UNSUPPORTED = SFTPError(sftp.FX_OP_UNSUPPORTED, "Operation unsupported")
END = SFTPError(sftp.FX_EOF, "End of file")


class Cut(Exception):
    """Raised by a hook: the connection is cut, and this request was not served."""


class Node:
    """A file, a directory or a link."""

    def __init__(self, mode: int, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.attrs: dict[str, Any] = {
            "uid": 1000,
            "gid": 1000,
            "permissions": mode,
            "atime": 1_000_000_000,
            "mtime": 1_000_000_000,
        }

    @property
    def isDirectory(self) -> bool:
        return stat.S_ISDIR(self.attrs["permissions"])

    @property
    def isLink(self) -> bool:
        return stat.S_ISLNK(self.attrs["permissions"])

    def all(self) -> dict[str, Any]:
        return {"size": len(self.data), **self.attrs}

    def change(self, attrs: Mapping[str, Any]) -> None:
        attrs = dict(attrs)
        size = attrs.pop("size", None)
        if size is not None:
            del self.data[size:]
            self.data += bytes(size - len(self.data))
        if "permissions" in attrs:
            kind = stat.S_IFMT(self.attrs["permissions"])
            attrs["permissions"] = kind | stat.S_IMODE(attrs["permissions"])
        self.attrs.update(attrs)


class MemoryServer:
    """The server, and the transport of the client that asks it.

    Args:
        tree: Paths to contents: bytes for a file, None for a directory, text after "->" for a link.
        extensions: What it announces.
        limits: What it says of its limits.
        mostRead: The most that one READ is answered with.

    Attributes:
        nodes: What there is, by absolute path.
        hook: Called with each request before it is served, (kind, fields); it may raise
            `SFTPError` or `Cut`, or return bytes: a body that is sent instead of the reply.
        asked: The kinds of all requests, in order.
        openHandles: How many handles are open.
    """

    home = b"/home/u"

    def __init__(
        self,
        tree: Mapping[str, Any] | None = None,
        extensions: tuple[bytes, ...] = ALL_EXTENSIONS,
        limits: sftp.Limits | None = None,
        mostRead: int = 1 << 20,
    ) -> None:
        self.nodes: dict[bytes, Node] = {}
        for path in (b"/", b"/home", self.home):
            self.nodes[path] = Node(stat.S_IFDIR | 0o755)
        for name, content in (tree or {}).items():
            self.add(name, content)
        self.extensions = extensions
        self.limits = limits or sftp.Limits(256 * 1024, 4096, 4096, 0)
        self.mostRead = mostRead
        self.hook: Callable[[int, list[Any]], bytes | None] | None = None
        self.asked: list[int] = []
        self.handles: dict[bytes, Any] = {}
        self.count = 0
        self.client = FileTransferClient()
        self.toClient: deque[bytes] = deque()
        self.isCut = False
        self.disconnecting = False
        self._frames = FrameReceiver(sftp.MAX_MESSAGE_LENGTH)

    def add(self, name: str | bytes, content: Any) -> None:
        """Put something in the tree; the directories above it are made."""
        path = self.path(pathBytes(name))
        above = path.rpartition(b"/")[0]
        if above and above not in self.nodes:
            self.add(above, None)
        if content is None:
            self.nodes[path] = Node(stat.S_IFDIR | 0o755)
        elif isinstance(content, str):
            self.nodes[path] = Node(stat.S_IFLNK | 0o777, content.removeprefix("->").encode())
        else:
            self.nodes[path] = Node(stat.S_IFREG | 0o644, content)

    def content(self, name: str | bytes) -> bytes:
        """What is in a file."""
        return bytes(self.nodes[self.path(pathBytes(name))].data)

    def names(self, directory: str = "") -> set[str]:
        """The names in a directory."""
        above = self.path(directory.encode()).rstrip(b"/") + b"/"
        return {
            path[len(above) :].decode("utf-8", "surrogateescape")
            for path in self.nodes
            if path.startswith(above) and b"/" not in path[len(above) :] and path != above
        }

    # ── being joined to a client ──────────────────────────────────────────────────────────────

    def files(self) -> RemoteFiles:
        """The server's files, through a session that has begun."""
        self.connect()
        session = self.result(defer.Deferred.fromCoroutine(Session(self.client).start()))
        return RemoteFiles(session, atOnce)

    def connect(self) -> FileTransferClient:
        if not self.client.connected:
            self.client.makeConnection(self)  # type: ignore[no-untyped-call]
            self.run()
        return self.client

    def write(self, data: bytes) -> None:
        """The client sends something."""
        self._frames.feed(data)

    def loseConnection(self) -> None:
        self.disconnecting = True

    def cut(self) -> None:
        """The connection is gone, and what was under way with it."""
        if not self.isCut:
            self.isCut = True
            self.toClient.clear()
            self.client.connectionLost(Failure(ConnectionLost()))

    def run(self, steps: int = 1_000_000) -> None:
        """Carry messages until there are none, or so many were carried."""
        for _ in range(steps):
            if self.isCut:
                return
            if self.toClient:
                self.client.dataReceived(self.toClient.popleft())
                continue
            frame = self._frames.next()
            if frame is None:
                return
            self.serve(frame)
        raise AssertionError(f"more than {steps} messages")

    def result(self, deferred: defer.Deferred[Any]) -> Any:
        """What the Deferred fires with, raised if that is a failure."""
        results: list[Any] = []
        deferred.addBoth(results.append)
        self.run()
        assert results, "nothing came of it"
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def failure(self, deferred: defer.Deferred[Any]) -> Exception:
        """The exception that the Deferred fails with."""
        try:
            result = self.result(deferred)
        except Exception as error:  # noqa: BLE001 it is what was asked for
            return error
        raise AssertionError(f"it gave {result!r}")

    # ── serving ───────────────────────────────────────────────────────────────────────────────

    def send(self, kind: int, body: bytes) -> None:
        self.toClient.append(sftp.packFrame(kind, body))

    def serve(self, frame: bytes) -> None:
        kind, reader = frame[0], Reader(frame, 1)
        if kind == sftp.FXP_INIT:
            pairs = [(name, sftp.EXTENSION_VERSIONS[name]) for name in self.extensions]
            self.send(sftp.FXP_VERSION, sftp.packHello(3, pairs))
            return
        self.asked.append(kind)
        number = reader.u32()
        try:
            if kind == sftp.FXP_EXTENDED:
                name = reader.string()
                if name not in self.extensions:
                    raise UNSUPPORTED
                fields = [name, *sftp.readFields(sftp.EXTENDED_REQUESTS[name], reader)]
            else:
                fields = sftp.readFields(sftp.REQUESTS[kind], reader)
            if self.hook is not None:
                body = self.hook(kind, fields)
                if body is not None:
                    self.toClient.append(body.replace(b"\xff\xff\xff\xff", u32(number), 1))
                    return
            method = getattr(self, f"serve{sftp.MESSAGE_NAMES[kind]}")
            method(number, *fields)
        except SFTPError as error:
            self.send(sftp.FXP_STATUS, sftp.packStatus(number, error.code, error.message.encode()))
        except Cut:
            self.cut()

    def path(self, path: bytes) -> bytes:
        """An absolute path without `.` and `..`; links are left as they are."""
        parts: list[bytes] = []
        for part in (path if path.startswith(b"/") else self.home + b"/" + path).split(b"/"):
            if part == b"..":
                parts = parts[:-1]
            elif part not in (b"", b"."):
                parts.append(part)
        return b"/" + b"/".join(parts)

    def real(self, path: bytes, followLast: bool = True) -> bytes:
        """The same with links followed."""
        done = b""
        parts = [part for part in self.path(path).split(b"/") if part]
        for index, part in enumerate(parts):
            done = done + b"/" + part
            for _ in range(8):
                node = self.nodes.get(done)
                if node is None or not node.isLink or (index == len(parts) - 1 and not followLast):
                    break
                target = bytes(node.data)
                done = self.path(
                    target if target[:1] == b"/" else done.rpartition(b"/")[0] + b"/" + target
                )
        return done or b"/"

    def node(self, path: bytes, followLast: bool = True) -> Node:
        found = self.nodes.get(self.real(path, followLast))
        if found is None:
            raise MISSING
        return found

    def ok(self, number: int) -> None:
        self.send(sftp.FXP_STATUS, sftp.packStatus(number, sftp.FX_OK))

    def newHandle(self, number: int, item: Any) -> None:
        self.count += 1
        handle = b"handle%d" % self.count
        self.handles[handle] = item
        self.send(sftp.FXP_HANDLE, sftp.packData(number, handle))

    @property
    def openHandles(self) -> int:
        return len(self.handles)

    def handle(self, handle: bytes) -> Any:
        if handle not in self.handles:
            raise FAILURE
        return self.handles[handle]

    def serveOPEN(self, number: int, path: bytes, flags: int, attrs: dict[str, Any]) -> None:
        real = self.real(path)
        node = self.nodes.get(real)
        if node is not None and node.isDirectory:
            raise FAILURE
        if node is None:
            if not flags & sftp.FXF_CREAT or real.rpartition(b"/")[0] not in {b"", *self.nodes}:
                raise MISSING
            node = self.nodes[real] = Node(stat.S_IFREG | 0o644)
            node.change({"permissions": attrs.get("permissions", 0o666) & ~0o022})
        elif flags & sftp.FXF_EXCL:
            raise FAILURE
        if flags & sftp.FXF_TRUNC:
            node.change({"size": 0})
        self.newHandle(number, node)

    def serveCLOSE(self, number: int, handle: bytes) -> None:
        self.handle(handle)
        del self.handles[handle]
        self.ok(number)

    def serveREAD(self, number: int, handle: bytes, offset: int, length: int) -> None:
        data = self.handle(handle).data[offset : offset + min(length, self.mostRead)]
        if not data:
            raise END
        self.send(sftp.FXP_DATA, sftp.packData(number, bytes(data)))

    def serveWRITE(self, number: int, handle: bytes, offset: int, data: bytes) -> None:
        file = self.handle(handle).data
        if len(file) < offset:
            file += bytes(offset - len(file))
        file[offset : offset + len(data)] = data
        self.ok(number)

    def serveSTAT(self, number: int, path: bytes) -> None:
        self.send(sftp.FXP_ATTRS, u32(number) + sftp.packAttrs(self.node(path).all()))

    def serveLSTAT(self, number: int, path: bytes) -> None:
        self.send(sftp.FXP_ATTRS, u32(number) + sftp.packAttrs(self.node(path, False).all()))

    def serveFSTAT(self, number: int, handle: bytes) -> None:
        self.send(sftp.FXP_ATTRS, u32(number) + sftp.packAttrs(self.handle(handle).all()))

    def serveSETSTAT(self, number: int, path: bytes, attrs: dict[str, Any]) -> None:
        self.node(path).change(attrs)
        self.ok(number)

    def serveFSETSTAT(self, number: int, handle: bytes, attrs: dict[str, Any]) -> None:
        self.handle(handle).change(attrs)
        self.ok(number)

    def serveOPENDIR(self, number: int, path: bytes) -> None:
        if not self.node(path).isDirectory:
            raise FAILURE
        above = self.real(path).rstrip(b"/") + b"/"
        listed = [sftp.Name(b".", b".", {}), sftp.Name(b"..", b"..", {})]
        for name in self.names(above.decode("utf-8", "surrogateescape")):
            raw = pathBytes(name)
            listed.append(sftp.Name(raw, b"long " + raw, self.nodes[above + raw].all()))
        self.newHandle(number, listed)

    def serveREADDIR(self, number: int, handle: bytes) -> None:
        listed = self.handle(handle)
        if not listed:
            raise END
        self.handles[handle] = listed[7:]
        self.send(sftp.FXP_NAME, sftp.packNames(number, listed[:7]))

    def serveREMOVE(self, number: int, path: bytes) -> None:
        if self.node(path, False).isDirectory:
            raise FAILURE
        del self.nodes[self.real(path, False)]
        self.ok(number)

    def serveMKDIR(self, number: int, path: bytes, attrs: dict[str, Any]) -> None:
        if self.real(path) in self.nodes:
            raise FAILURE
        self.node(self.path(path).rpartition(b"/")[0] or b"/")
        self.nodes[self.real(path)] = Node(stat.S_IFDIR | (attrs.get("permissions", 0o777) & 0o755))
        self.ok(number)

    def serveRMDIR(self, number: int, path: bytes) -> None:
        real = self.real(path, False)
        if self.names(real.decode("utf-8", "surrogateescape")) or not self.node(path).isDirectory:
            raise FAILURE
        del self.nodes[real]
        self.ok(number)

    def serveREALPATH(self, number: int, path: bytes) -> None:
        self.oneName(number, self.real(path))

    def oneName(self, number: int, name: bytes) -> None:
        self.send(sftp.FXP_NAME, sftp.packNames(number, [(name, name, {})]))

    def serveREADLINK(self, number: int, path: bytes) -> None:
        node = self.node(path, False)
        if not node.isLink:
            raise FAILURE
        self.oneName(number, bytes(node.data))

    def serveSYMLINK(self, number: int, target: bytes, link: bytes) -> None:
        if self.real(link, False) in self.nodes:
            raise FAILURE
        self.nodes[self.real(link, False)] = Node(stat.S_IFLNK | 0o777, target)
        self.ok(number)

    def serveRENAME(self, number: int, old: bytes, new: bytes) -> None:
        self.node(old, False)
        if self.real(new, False) in self.nodes:
            raise FAILURE
        self._move(old, new)
        self.ok(number)

    def _move(self, old: bytes, new: bytes) -> None:
        source, target = self.real(old, False), self.real(new, False)
        if target.rpartition(b"/")[0] not in {b"", *self.nodes}:
            raise MISSING
        for path in [path for path in self.nodes if (path + b"/").startswith(source + b"/")]:
            self.nodes[target + path[len(source) :]] = self.nodes.pop(path)

    def serveEXTENDED(self, number: int, name: bytes, *fields: Any) -> None:
        if name == sftp.EXT_LIMITS:
            self.send(sftp.FXP_EXTENDED_REPLY, u32(number) + self.limits.encode())
        elif name == sftp.EXT_POSIX_RENAME:
            self.node(fields[0], False)
            self._move(*fields)
            self.ok(number)
        elif name == sftp.EXT_HARDLINK:
            self.nodes[self.real(fields[1], False)] = self.node(fields[0])
            self.ok(number)
        elif name == sftp.EXT_FSYNC:
            self.handle(fields[0])
            self.ok(number)
        elif name == sftp.EXT_LSETSTAT:
            self.node(fields[0], False).change(fields[1])
            self.ok(number)
        elif name == sftp.EXT_EXPAND_PATH:
            rest = fields[0][1:].lstrip(b"/") if fields[0].startswith(b"~") else fields[0]
            self.oneName(number, self.real(rest))
        elif name == sftp.EXT_STATVFS:
            sizes = sftp.StatVfs(4096, 4096, 1000, 250, 200, 500, 100, 100, 7, 0, 255)
            self.send(sftp.FXP_EXTENDED_REPLY, u32(number) + sizes.encode())
        elif name == sftp.EXT_USERS_GROUPS:
            users = NS(sftp.packStrings([b"u%d" % uid for uid in sftp.readIds(fields[0])]))
            groups = NS(sftp.packStrings([b"g%d" % gid for gid in sftp.readIds(fields[1])]))
            self.send(sftp.FXP_EXTENDED_REPLY, u32(number) + users + groups)
        elif name == sftp.EXT_COPY_DATA:
            source, offset, length, target, at = fields
            data = self.handle(source).data[offset:]
            data = data[:length] if length else data
            file = self.handle(target).data
            file[at : at + len(data)] = data
            self.ok(number)
        else:
            raise UNSUPPORTED
