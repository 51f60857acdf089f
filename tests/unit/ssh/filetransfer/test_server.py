"""`limpet.ssh.filetransfer.server`: an application's files behind SFTP, with results any time."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from zope.interface import implementer
from zope.interface.verify import verifyClass

from limpet.interfaces import ISFTPFile, ISFTPServer
from limpet.ssh import filetransfer
from limpet.ssh.connection import MAX_LOGGED_REFUSALS
from limpet.ssh.filetransfer import FileTransferServer, SFTPError
from limpet.ssh.filetransfer.server import MAX_OUTSTANDING, NAMES_PER_REPLY
from limpet.ssh.session import SSHSession
from limpet.wire import sftp
from limpet.wire.fields import NS, Reader, u32
from tests.sftprequests import Asker, messages, names, statusOf, textOf
from tests.unit.ssh.doubles import started


@implementer(ISFTPFile)
class FakeFile:
    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.closed = 0
        self.answer: Any = None

    def close(self) -> Any:
        self.closed += 1
        return self.result("close")

    def result(self, *call: Any) -> Any:
        self.calls.append(call)
        answer, self.answer = self.answer, None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def readChunk(self, offset: int, length: int) -> Any:
        return self.result("readChunk", offset, length)

    def writeChunk(self, offset: int, data: bytes) -> Any:
        return self.result("writeChunk", offset, data)

    def getAttrs(self) -> Any:
        return self.result("getAttrs")

    def setAttrs(self, attrs: Any) -> Any:
        return self.result("setAttrs", attrs)


class FakeListing:
    """What `openDirectory` returns: entries, and how often it was closed."""

    def __init__(self, entries: Any) -> None:
        self.entries: Iterator[Any] = iter(entries)
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        return self.entries

    def close(self) -> None:
        self.closed += 1


@implementer(ISFTPServer)
class FakeFiles:
    """An application: `answers[method]` is what each method returns, raises, or is."""

    def __init__(self) -> None:
        self.avatar = self
        self.calls: list[Any] = []
        self.answers: dict[str, Any] = {"gotVersion": {b"a@b": b"1"}}

    def result(self, name: str, *arguments: Any) -> Any:
        self.calls.append((name, *arguments))
        answer = self.answers.get(name)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def gotVersion(self, otherVersion: int, extData: Any) -> Any:
        return self.result("gotVersion", otherVersion, extData)

    def openFile(self, filename: bytes, flags: int, attrs: Any) -> Any:
        return self.result("openFile", filename, flags, attrs)

    def removeFile(self, filename: bytes) -> Any:
        return self.result("removeFile", filename)

    def renameFile(self, oldpath: bytes, newpath: bytes) -> Any:
        return self.result("renameFile", oldpath, newpath)

    def makeDirectory(self, path: bytes, attrs: Any) -> Any:
        return self.result("makeDirectory", path, attrs)

    def removeDirectory(self, path: bytes) -> Any:
        return self.result("removeDirectory", path)

    def openDirectory(self, path: bytes) -> Any:
        return self.result("openDirectory", path)

    def getAttrs(self, path: bytes, followLinks: bool) -> Any:
        return self.result("getAttrs", path, followLinks)

    def setAttrs(self, path: bytes, attrs: Any) -> Any:
        return self.result("setAttrs", path, attrs)

    def readLink(self, path: bytes) -> Any:
        return self.result("readLink", path)

    def makeLink(self, linkPath: bytes, targetPath: bytes) -> Any:
        return self.result("makeLink", linkPath, targetPath)

    def realPath(self, path: bytes) -> Any:
        return self.result("realPath", path)

    def extendedRequest(self, extendedName: bytes, extendedData: bytes) -> Any:
        return self.result("extendedRequest", extendedName, extendedData)


class Transport(StringTransport):
    """Counts who is paused."""

    held = False

    def pauseProducing(self) -> None:
        self.held = True

    def resumeProducing(self) -> None:
        self.held = False


class ServerAsker(Asker):
    """Asks a `FileTransferServer` in memory."""

    def __init__(self, hello: bool = True) -> None:
        super().__init__()
        self.files = FakeFiles()
        self.server = FileTransferServer(avatar=self.files)
        self.transport: Any = Transport()  # type: ignore[no-untyped-call]
        self.server.makeConnection(self.transport)  # type: ignore[no-untyped-call]
        if hello:
            (self.version,) = self.exchange(bytes([1]) + u32(3))

    def exchange(self, message: bytes) -> list[bytes]:
        self.server.dataReceived(NS(message))
        return self.take()

    def take(self) -> list[bytes]:
        """The replies since the last time."""
        found = messages(self.transport.value())
        self.transport.clear()
        return found

    def later(self, kind: int, *values: Any) -> None:
        """Send a request that is not answered yet."""
        self.lastId += 1
        body = sftp.packRequest(kind, self.lastId, *values)
        assert self.exchange(bytes([kind]) + body) == []

    def openFake(self) -> tuple[bytes, FakeFile]:
        self.files.answers["openFile"] = file = FakeFile()
        return self.open(b"x"), file

    def listFake(self, entries: Any) -> tuple[bytes, FakeListing]:
        self.files.answers["openDirectory"] = listing = FakeListing(entries)
        return self.openDirectory(b"x"), listing


@pytest.fixture
def asker() -> ServerAsker:
    return ServerAsker()


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    events: list[Any] = []
    observer: Any = events.append
    globalLogPublisher.addObserver(observer)
    yield events
    globalLogPublisher.removeObserver(observer)


def failures(logged: list[Any]) -> list[type[BaseException]]:
    return [event["log_failure"].type for event in logged if "log_failure" in event]


def test_the_doubles_are_what_applications_write() -> None:
    verifyClass(ISFTPServer, FakeFiles)
    verifyClass(ISFTPFile, FakeFile)


class TestNames:
    def test_the_documented_names_are_there(self) -> None:
        assert filetransfer.FX_NO_SUCH_FILE == 2
        assert filetransfer.FXF_EXCL == 0x20
        assert filetransfer.FXP_EXTENDED == 200
        assert filetransfer.FILEXFER_ATTR_OWNERGROUP == filetransfer.FILEXFER_ATTR_UIDGID == 2
        assert filetransfer.FX_FILE_ALREADY_EXISTS == 11
        assert filetransfer.FX_NOT_A_DIRECTORY == filetransfer.FX_FAILURE
        assert set(filetransfer.__all__) <= set(dir(filetransfer))

    def test_an_error_says_what_it_is(self) -> None:
        error = SFTPError(4, "broken", "en")
        assert (error.code, error.message, error.lang) == (4, "broken", "en")
        assert str(error) == "SFTPError 4: broken"
        assert str(SFTPError(4, b"br\xff")) == "SFTPError 4: br\\xff"

    def test_attributes_by_themselves(self, asker: ServerAsker) -> None:
        packed = asker.server._packAttributes({"size": 5, "ext_x": b"y"})
        assert asker.server._parseAttributes(packed + b"rest") == (
            {"size": 5, "ext_x": b"y"},
            b"rest",
        )


class TestHello:
    def test_the_application_hears_the_client_and_answers(self) -> None:
        asker = ServerAsker(hello=False)
        (reply,) = asker.exchange(bytes([1]) + sftp.packHello(6, [(b"x", b"y")]))
        assert asker.files.calls == [("gotVersion", 6, {b"x": b"y"})]
        assert reply[0] == sftp.FXP_VERSION
        assert sftp.readHello(reply[1:]) == (3, {b"a@b": b"1"})

    @pytest.mark.parametrize("answer", [{"a@b": "1"}, succeed({b"a@b": b"1"})])
    def test_text_and_deferreds_will_do(self, answer: Any) -> None:
        asker = ServerAsker(hello=False)
        asker.files.answers["gotVersion"] = answer
        (reply,) = asker.exchange(bytes([1]) + u32(3))
        assert sftp.readHello(reply[1:]) == (3, {b"a@b": b"1"})

    def test_nothing_else_happens_before_it_is_known(self) -> None:
        asker = ServerAsker(hello=False)
        asker.files.answers["gotVersion"] = later = Deferred[Any]()
        asker.files.answers["realPath"] = b"/"
        assert asker.exchange(bytes([1]) + u32(3)) == []
        body = sftp.packRequest(sftp.FXP_REALPATH, 1, b".")
        assert asker.exchange(bytes([sftp.FXP_REALPATH]) + body) == []
        assert asker.transport.held
        later.callback(None)
        assert [reply[0] for reply in asker.take()] == [sftp.FXP_VERSION, sftp.FXP_NAME]
        assert not asker.transport.held

    @pytest.mark.parametrize("answer", [RuntimeError("x"), fail(RuntimeError("x"))])
    def test_without_files_the_session_ends(self, answer: Any, logged: list[Any]) -> None:
        asker = ServerAsker(hello=False)
        asker.files.answers["gotVersion"] = answer
        assert asker.exchange(bytes([1]) + u32(3)) == []
        assert asker.transport.disconnecting
        assert failures(logged) == [RuntimeError]

    @pytest.mark.parametrize("body", [b"", u32(2), u32(0), u32(3) + b"x"])
    def test_a_version_that_is_none_ends_the_session(self, body: bytes) -> None:
        asker = ServerAsker(hello=False)
        assert asker.exchange(bytes([1]) + body) == []
        assert asker.transport.disconnecting


class TestRequests:
    @pytest.mark.parametrize(
        ("kind", "values", "call"),
        [
            (sftp.FXP_REMOVE, (b"p",), ("removeFile", b"p")),
            (sftp.FXP_RENAME, (b"p", b"q"), ("renameFile", b"p", b"q")),
            (
                sftp.FXP_MKDIR,
                (b"p", {"permissions": 1}),
                ("makeDirectory", b"p", {"permissions": 1}),
            ),
            (sftp.FXP_RMDIR, (b"p",), ("removeDirectory", b"p")),
            (sftp.FXP_SETSTAT, (b"p", {"size": 1}), ("setAttrs", b"p", {"size": 1})),
            (sftp.FXP_SYMLINK, (b"target", b"link"), ("makeLink", b"link", b"target")),
        ],
    )
    @pytest.mark.parametrize("later", [False, True])
    def test_those_that_succeed_or_not(
        self, asker: ServerAsker, kind: int, values: Any, call: Any, later: bool
    ) -> None:
        if later:
            asker.files.answers[call[0]] = succeed(None)
        assert asker.status(kind, *values) == sftp.FX_OK
        assert asker.files.calls[-1] == call
        for error, code in [
            (OSError(errno.ENOENT, "gone"), sftp.FX_NO_SUCH_FILE),
            (OSError(errno.EACCES, "no"), sftp.FX_PERMISSION_DENIED),
            (OSError(errno.EEXIST, "there"), sftp.FX_FAILURE),
            (NotImplementedError("never"), sftp.FX_OP_UNSUPPORTED),
            (SFTPError(sftp.FX_NO_CONNECTION, "lost"), sftp.FX_NO_CONNECTION),
            (SFTPError(sftp.FX_OK, "fine"), sftp.FX_OK),
            (EOFError(), sftp.FX_EOF),
        ]:
            asker.files.answers[call[0]] = fail(error) if later else error
            assert asker.status(kind, *values) == code

    @pytest.mark.parametrize("later", [False, True])
    def test_a_bug_is_logged_and_not_told(
        self, asker: ServerAsker, logged: list[Any], later: bool
    ) -> None:
        error = ValueError("secret")
        asker.files.answers["removeFile"] = fail(error) if later else error
        reply = asker.ask(sftp.FXP_REMOVE, b"p")
        assert (statusOf(reply), textOf(reply)) == (sftp.FX_FAILURE, b"remove failed")
        assert failures(logged) == [ValueError]

    def test_V7_bugs_that_a_client_can_repeat_fill_no_log(
        self, asker: ServerAsker, logged: list[Any]
    ) -> None:
        connection = started()
        asker.transport.session = SSHSession(conn=connection)
        asker.files.answers["realPath"] = ZeroDivisionError("a bug")
        for _ in range(100):
            assert asker.status(sftp.FXP_REALPATH, b".") == sftp.FX_FAILURE
        assert len(failures(logged)) == MAX_LOGGED_REFUSALS

    def test_coroutines_will_do(self, asker: ServerAsker) -> None:
        async def answer(path: bytes) -> bytes:
            return path.upper()

        asker.files.realPath = answer  # type: ignore[method-assign]
        assert asker.path(sftp.FXP_REALPATH, b"x") == b"X"

    @pytest.mark.parametrize("kind", [sftp.FXP_REALPATH, sftp.FXP_READLINK])
    @pytest.mark.parametrize("answer", [b"/\xff", "/\udcff"])
    @pytest.mark.parametrize("later", [False, True])
    def test_paths_are_text_or_bytes(
        self, asker: ServerAsker, kind: int, answer: Any, later: bool
    ) -> None:
        found = succeed(answer) if later else answer
        asker.files.answers.update(realPath=found, readLink=found)
        assert asker.path(kind, b".") == b"/\xff"

    def test_attributes(self, asker: ServerAsker) -> None:
        attrs = {"size": 3, "permissions": 0o644, "uid": 1, "gid": 2, "atime": 3, "mtime": 4}
        asker.files.answers["getAttrs"] = attrs
        assert asker.attrs(sftp.FXP_STAT, b"p") == attrs
        assert asker.attrs(sftp.FXP_LSTAT, b"p") == attrs
        assert asker.files.calls[-2:] == [("getAttrs", b"p", True), ("getAttrs", b"p", False)]

    def test_a_result_of_another_shape_is_a_bug(self, asker: ServerAsker, logged: Any) -> None:
        asker.files.answers["getAttrs"] = "what?"
        assert asker.status(sftp.FXP_STAT, b"p") == sftp.FX_FAILURE
        assert len(failures(logged)) == 1

    @pytest.mark.parametrize(
        "answer", [b"data", succeed(b"data"), None, SFTPError(0, "done"), NotImplementedError()]
    )
    def test_extensions(self, asker: ServerAsker, answer: Any) -> None:
        asker.files.answers["extendedRequest"] = answer
        kind, _, rest = asker.raw(sftp.FXP_EXTENDED, u32(1) + NS(b"x@y") + b"rest")
        assert asker.files.calls[-1] == ("extendedRequest", b"x@y", b"rest")
        if kind == sftp.FXP_EXTENDED_REPLY:
            assert rest == b"data"
        elif isinstance(answer, NotImplementedError):
            assert statusOf((kind, 0, rest)) == sftp.FX_OP_UNSUPPORTED
        else:
            assert statusOf((kind, 0, rest)) == sftp.FX_OK

    def test_who_means_links_the_drafts_way(self, asker: ServerAsker) -> None:
        class Below:
            otherVersionString = b"SSH-2.0-AsyncSSH_2.14.0"

        class Channel:
            transport = Below
            conn: Any = None

        Channel.conn = Channel
        asker.transport.session = Channel
        asker.ask(sftp.FXP_SYMLINK, b"link", b"target")
        assert asker.files.calls[-1] == ("makeLink", b"link", b"target")


class TestFiles:
    def test_reading(self, asker: ServerAsker) -> None:
        handle, file = asker.openFake()
        assert asker.files.calls[-1] == ("openFile", b"x", sftp.FXF_READ, {})
        file.answer = b"data"
        assert asker.read(handle, 5, 10) == b"data"
        file.answer = succeed(b"later")
        assert asker.read(handle, 5, 2**32 - 1) == b"later"
        assert file.calls == [("readChunk", 5, 10), ("readChunk", 5, sftp.MAX_DATA_LENGTH)]
        for end in (EOFError(), b"", None, succeed(b""), fail(EOFError())):
            file.answer = end
            assert asker.status(sftp.FXP_READ, handle, 0, 10) == sftp.FX_EOF

    def test_no_more_than_was_asked_for_is_sent(self, asker: ServerAsker) -> None:
        handle, file = asker.openFake()
        file.answer = b"0123456789"
        assert asker.read(handle, 0, 4) == b"0123"

    def test_writing_and_attributes(self, asker: ServerAsker) -> None:
        handle, file = asker.openFake()
        assert asker.status(sftp.FXP_WRITE, handle, 7, b"data") == sftp.FX_OK
        assert asker.status(sftp.FXP_FSETSTAT, handle, {"size": 1}) == sftp.FX_OK
        file.answer = {"size": 9}
        assert asker.attrs(sftp.FXP_FSTAT, handle) == {"size": 9}
        assert file.calls == [("writeChunk", 7, b"data"), ("setAttrs", {"size": 1}), ("getAttrs",)]

    @pytest.mark.parametrize("answer", [None, succeed(None)])
    def test_closing(self, asker: ServerAsker, answer: Any) -> None:
        handle, file = asker.openFake()
        assert asker.server.openFiles == {handle: file}
        file.answer = answer
        assert asker.status(sftp.FXP_CLOSE, handle) == sftp.FX_OK
        assert asker.status(sftp.FXP_CLOSE, handle) == sftp.FX_NO_SUCH_FILE
        assert (file.closed, asker.server.openFiles) == (1, {})

    def test_a_close_that_fails_is_told(self, asker: ServerAsker) -> None:
        handle, file = asker.openFake()
        file.answer = OSError(errno.ENOSPC, "full")
        assert textOf(asker.ask(sftp.FXP_CLOSE, handle)) == b"full"

    def test_what_is_under_way_is_finished_before_the_file_is_closed(
        self, asker: ServerAsker
    ) -> None:
        handle, file = asker.openFake()
        file.answer = writing = Deferred[Any]()
        asker.later(sftp.FXP_WRITE, handle, 0, b"x")
        asker.later(sftp.FXP_CLOSE, handle)
        assert file.closed == 0
        assert asker.status(sftp.FXP_READ, handle, 0, 1) == sftp.FX_NO_SUCH_FILE
        writing.callback(None)
        assert len(asker.take()) == 2
        assert file.closed == 1

    def test_handles_are_nobodys_hash(self, asker: ServerAsker) -> None:
        asker.files.answers["openFile"] = file = FakeFile()
        first, second = asker.open(b"x"), asker.open(b"x")
        assert first != second
        assert asker.status(sftp.FXP_CLOSE, first) == sftp.FX_OK
        file.answer = b"still"
        assert asker.read(second) == b"still"


def entry(number: int) -> tuple[str, str, dict[str, Any]]:
    return f"name{number}", f"-rw name{number}", {"size": number}


class TestDirectories:
    @pytest.mark.parametrize("later", [False, True])
    @pytest.mark.parametrize("count", [0, 1, NAMES_PER_REPLY, 250])
    def test_entries_now_or_later(self, asker: ServerAsker, count: int, later: bool) -> None:
        entries = [entry(number) for number in range(count)]
        asker.files.answers["openDirectory"] = listing = FakeListing(
            [succeed(one) for one in entries] if later else entries
        )
        found = asker.listing(b"x")
        assert [(one.filename, one.longname, one.attrs) for one in found] == [
            (name.encode(), long.encode(), attrs) for name, long, attrs in entries
        ]
        assert listing.closed == 1

    def test_entries_that_take_their_time(self, asker: ServerAsker) -> None:
        waiting = [Deferred[Any]() for _ in range(3)]
        handle, _ = asker.listFake([entry(0), *waiting, entry(4)])
        asker.later(sftp.FXP_READDIR, handle)
        for number, one in enumerate(waiting, 1):
            assert asker.take() == []
            one.callback(entry(number))
        (reply,) = asker.take()
        found = sftp.readNames(Reader(reply, 5))
        assert [one.attrs["size"] for one in found] == [0, 1, 2, 3, 4]

    def test_two_at_a_time_get_different_entries(self, asker: ServerAsker) -> None:
        first = Deferred[Any]()
        handle, listing = asker.listFake([first, *(entry(number) for number in range(1, 150))])
        asker.later(sftp.FXP_READDIR, handle)
        asker.later(sftp.FXP_READDIR, handle)
        asker.later(sftp.FXP_CLOSE, handle)
        assert listing.closed == 0
        first.callback(entry(0))
        replies = asker.take()
        sizes = [
            [one.attrs["size"] for one in sftp.readNames(Reader(reply, 5))]
            for reply in replies
            if reply[0] == sftp.FXP_NAME
        ]
        assert sizes == [[*range(100)], [*range(100, 150)]]
        assert listing.closed == 1

    @pytest.mark.parametrize("later", [False, True])
    def test_an_entry_that_fails_comes_after_those_before_it(
        self, asker: ServerAsker, later: bool
    ) -> None:
        def entries() -> Iterator[Any]:
            yield entry(0)
            if later:
                yield fail(OSError(errno.EIO, "broken disk"))
            raise OSError(errno.EIO, "broken disk")

        handle, _ = asker.listFake(entries())
        assert asker.ask(sftp.FXP_READDIR, handle)[0] == sftp.FXP_NAME
        assert textOf(asker.ask(sftp.FXP_READDIR, handle)) == b"broken disk"

    def test_text_of_any_name(self, asker: ServerAsker) -> None:
        asker.files.answers["openDirectory"] = [("ä\udcff", "l", None), (b"\xfe", b"l", {})]
        assert names(asker.listing(b"x")) == {"ä".encode() + b"\xff", b"\xfe"}

    def test_replies_stay_below_what_clients_take(self, asker: ServerAsker) -> None:
        handle, _ = asker.listFake((b"x" * 50000, b"y" * 50000, {}) for _ in range(10))
        kinds = []
        while sftp.FXP_STATUS not in kinds:
            body = sftp.packRequest(sftp.FXP_READDIR, 1, handle)
            (reply,) = asker.exchange(bytes([sftp.FXP_READDIR]) + body)
            assert len(reply) <= sftp.MAX_MESSAGE_LENGTH
            kinds.append(reply[0])
        assert len(kinds) == 6

    def test_a_file_is_no_directory(self, asker: ServerAsker) -> None:
        file, _ = asker.openFake()
        directory, _ = asker.listFake([])
        assert asker.status(sftp.FXP_READDIR, file) == sftp.FX_FAILURE
        assert asker.status(sftp.FXP_READ, directory, 0, 1) == sftp.FX_FAILURE
        assert asker.status(sftp.FXP_FSETSTAT, directory, {}) == sftp.FX_FAILURE

    def test_what_is_no_iterable_is_a_bug(self, asker: ServerAsker, logged: list[Any]) -> None:
        asker.files.answers["openDirectory"] = 7
        assert asker.status(sftp.FXP_OPENDIR, b"x") == sftp.FX_FAILURE
        assert failures(logged) == [TypeError]


class TestPace:
    def test_I2_no_more_requests_are_taken_than_may_be_unanswered(self, asker: ServerAsker) -> None:
        handle, file = asker.openFake()
        waiting: list[Deferred[Any]] = []

        def readChunk(offset: int, length: int) -> Deferred[Any]:
            waiting.append(Deferred())
            return waiting[-1]

        file.readChunk = readChunk  # type: ignore[method-assign]
        stream = b"".join(
            NS(bytes([5]) + sftp.packRequest(sftp.FXP_READ, number, handle, 0, 10))
            for number in range(200)
        )
        asker.server.dataReceived(stream)
        assert len(waiting) == MAX_OUTSTANDING
        assert asker.transport.held
        for number in range(200):
            waiting[number].callback(b"%d" % number)
        assert len(waiting) == 200
        assert not asker.transport.held
        assert [Reader(reply, 5).string() for reply in asker.take()] == [
            b"%d" % number for number in range(200)
        ]

    @pytest.mark.parametrize("kind", [sftp.FXP_READ, sftp.FXP_WRITE])
    def test_I2_no_more_bytes_are_under_way_than_may_be(
        self, asker: ServerAsker, kind: int
    ) -> None:
        handle, file = asker.openFake()
        waiting: list[Deferred[Any]] = []

        def chunk(offset: int, data: Any) -> Deferred[Any]:
            waiting.append(Deferred())
            return waiting[-1]

        file.readChunk = file.writeChunk = chunk  # type: ignore[method-assign,assignment]
        data: Any = 200_000 if kind == sftp.FXP_READ else bytes(200_000)
        message = NS(bytes([kind]) + sftp.packRequest(kind, 1, handle, 0, data))
        asker.server.dataReceived(message * 50)
        assert len(waiting) == 21  # the last one begins below 4 MiB
        waiting[0].callback(b"x")
        waiting[1].errback(OSError(errno.EIO, "broken"))
        assert len(waiting) == 23
        assert asker.transport.held
        for one in waiting:
            if not one.called:
                one.callback(b"x")
        # Those that were taken meanwhile, too: appending to a list that is walked is allowed.
        assert len(waiting) == 50
        assert len(asker.take()) == 50
        assert not asker.transport.held

    def test_I2_nothing_is_taken_while_replies_wait(self, asker: ServerAsker) -> None:
        asker.files.answers["realPath"] = b"/"
        body = sftp.packRequest(sftp.FXP_REALPATH, 1, b".")
        message = NS(bytes([sftp.FXP_REALPATH]) + body)
        assert asker.transport.producer is asker.server
        asker.server.pauseProducing()
        assert asker.transport.held
        asker.server.dataReceived(message * 1000)
        assert asker.take() == []
        asker.server.resumeProducing()
        assert len(asker.take()) == 1000
        assert not asker.transport.held

    def test_a_pause_within_a_reply_is_obeyed(self, asker: ServerAsker) -> None:
        asker.files.answers["realPath"] = b"/"
        message = NS(bytes([16]) + sftp.packRequest(sftp.FXP_REALPATH, 1, b"."))
        write, written = asker.transport.write, []

        def full(data: bytes) -> None:
            written.append(data)
            write(data)
            asker.server.pauseProducing()

        asker.transport.write = full
        asker.server.dataReceived(message * 3)
        for count in (1, 2, 3):
            assert len(written) == count
            asker.server.resumeProducing()
        assert len(written) == 3

    def test_a_deep_queue_needs_no_deep_stack(self, asker: ServerAsker) -> None:
        asker.files.answers["realPath"] = b"/"
        message = NS(bytes([16]) + sftp.packRequest(sftp.FXP_REALPATH, 1, b"."))
        asker.server.pauseProducing()
        asker.server.dataReceived(message * 20000)
        asker.server.resumeProducing()
        assert len(asker.take()) == 20000

    def test_many_requests_for_one_directory_need_no_deep_stack(self, asker: ServerAsker) -> None:
        first = Deferred[Any]()
        handle, _ = asker.listFake([first])
        message = NS(bytes([sftp.FXP_READDIR]) + sftp.packRequest(sftp.FXP_READDIR, 1, handle))
        asker.server.dataReceived(message * 20000)
        first.callback(entry(0))
        replies = asker.take()
        assert [reply[0] for reply in replies[:2]] == [sftp.FXP_NAME, sftp.FXP_STATUS]
        assert len(replies) == 20000


class TestEnd:
    def test_all_that_was_asked_is_answered_after_the_end_of_the_requests(
        self, asker: ServerAsker
    ) -> None:
        waiting: list[Deferred[Any]] = []

        def realPath(path: bytes) -> Deferred[Any]:
            waiting.append(Deferred())
            return waiting[-1]

        asker.files.realPath = realPath  # type: ignore[method-assign]
        message = NS(bytes([16]) + sftp.packRequest(sftp.FXP_REALPATH, 1, b"."))
        asker.server.dataReceived(message * 200)
        asker.server.readConnectionLost()
        for number in range(200):
            assert not asker.transport.disconnecting
            waiting[number].callback(b"/")
        assert len(asker.take()) == 200
        assert asker.transport.disconnecting

    def test_so_are_those_that_wait_for_replies_to_leave(self, asker: ServerAsker) -> None:
        asker.files.answers["realPath"] = b"/"
        asker.server.pauseProducing()
        asker.server.dataReceived(NS(bytes([16]) + sftp.packRequest(16, 1, b".")))
        asker.server.readConnectionLost()
        assert not asker.transport.disconnecting
        asker.server.resumeProducing()
        assert len(asker.take()) == 1
        assert asker.transport.disconnecting

    def test_with_nothing_asked_it_is_the_end(self, asker: ServerAsker) -> None:
        asker.server.readConnectionLost()
        assert asker.transport.disconnecting

    def test_what_is_open_is_closed_once(self, asker: ServerAsker) -> None:
        _, file = asker.openFake()
        _, listing = asker.listFake([])
        asker.server.connectionLost()
        asker.server.connectionLost()
        assert (file.closed, listing.closed) == (1, 1)
        assert asker.server.openFiles == asker.server.openDirs == {}

    def test_a_file_that_is_written_is_closed_when_it_is_done(self, asker: ServerAsker) -> None:
        handle, file = asker.openFake()
        file.answer = writing = Deferred[Any]()
        asker.later(sftp.FXP_WRITE, handle, 0, b"x")
        asker.server.connectionLost()
        assert file.closed == 0
        writing.callback(None)
        assert file.closed == 1
        assert asker.take() == []

    def test_one_that_is_opened_too_late_is_closed_at_once(self, asker: ServerAsker) -> None:
        asker.files.answers["openFile"] = opening = Deferred[Any]()
        asker.later(sftp.FXP_OPEN, b"x", 1, {})
        asker.server.connectionLost()
        opening.callback(file := FakeFile())
        assert file.closed == 1
        assert asker.take() == []

    def test_nothing_is_done_afterwards(self, asker: ServerAsker) -> None:
        asker.server.connectionLost()
        asker.server.dataReceived(NS(bytes([16]) + sftp.packRequest(16, 1, b".")))
        assert asker.files.calls == [("gotVersion", 3, {})]

    def test_a_close_that_fails_then_is_logged(self, asker: ServerAsker, logged: list[Any]) -> None:
        _, file = asker.openFake()
        file.answer = OSError(errno.EIO, os.strerror(errno.EIO))
        asker.server.connectionLost()
        assert failures(logged) == [OSError]


class TestAttacks:
    @pytest.mark.parametrize("length", [0, 262145, 2**32 - 1])
    def test_I1_a_length_that_is_not_allowed_ends_the_session(
        self, asker: ServerAsker, length: int
    ) -> None:
        asker.server.dataReceived(u32(length))
        assert asker.transport.disconnecting
        asker.server.dataReceived(NS(bytes([16]) + sftp.packRequest(16, 1, b".")))
        assert asker.take() == []

    def test_I1_a_second_hello_ends_the_session(self, asker: ServerAsker) -> None:
        assert asker.exchange(bytes([1]) + u32(3)) == []
        assert asker.transport.disconnecting

    def test_I1_a_message_without_an_id_ends_the_session(self, asker: ServerAsker) -> None:
        assert asker.exchange(bytes([16, 0, 0, 0])) == []
        assert asker.transport.disconnecting

    @pytest.mark.parametrize("kind", [0, 2, 21, 101, 102, 103, 104, 105, 199, 201, 255])
    def test_I1_a_message_of_another_kind_is_answered(self, asker: ServerAsker, kind: int) -> None:
        assert statusOf(asker.raw(kind, u32(9) + b"x")) == sftp.FX_OP_UNSUPPORTED

    @pytest.mark.parametrize("kind", sorted({*sftp.REQUESTS, sftp.FXP_EXTENDED}))
    @pytest.mark.parametrize("rest", [b"", b"\0\0\0", u32(2**32 - 1), u32(9) + b"short"])
    def test_I1_one_that_does_not_parse_is_answered(
        self, asker: ServerAsker, kind: int, rest: bytes
    ) -> None:
        assert statusOf(asker.raw(kind, u32(77) + rest)) == sftp.FX_BAD_MESSAGE

    def test_I3_handles_are_limited(self, asker: ServerAsker) -> None:
        asker.files.answers["openFile"] = FakeFile()
        codes = [asker.status(sftp.FXP_OPEN, b"x", 1, {}) for _ in range(300)]
        assert codes == [sftp.FX_OK] * 256 + [sftp.FX_FAILURE] * 44

    def test_I3_those_opened_meanwhile_count_too(self, asker: ServerAsker) -> None:
        asker.server.maxOutstanding = 1000
        opening: list[Deferred[Any]] = []

        def openFile(*arguments: Any) -> Deferred[Any]:
            opening.append(Deferred())
            return opening[-1]

        asker.files.openFile = openFile  # type: ignore[method-assign,assignment]
        for _ in range(300):
            asker.later(sftp.FXP_OPEN, b"x", 1, {})
        files = [FakeFile() for _ in opening]
        for one, file in zip(opening, files, strict=True):
            one.callback(file)
        replies = asker.take()
        assert sum(reply[0] == sftp.FXP_HANDLE for reply in replies) == 256
        assert sum(file.closed for file in files) == 44

    @pytest.mark.parametrize("path", [b"\0", b"a\0b", b"/etc/passwd\0.txt"])
    def test_I4_a_path_with_a_NUL_reaches_no_application(
        self, asker: ServerAsker, path: bytes
    ) -> None:
        before = list(asker.files.calls)
        requests: list[tuple[int, tuple[Any, ...]]] = [
            (sftp.FXP_OPEN, (path, 1, {})),
            *((kind, (path,)) for kind in (7, 17, 11, 13, 15, 16, 19)),
            *((kind, (path, {})) for kind in (9, 14)),
            *((kind, (path, b"x")) for kind in (18, 20)),
            *((kind, (b"x", path)) for kind in (18, 20)),
        ]
        for kind, values in requests:
            assert asker.status(kind, *values) == sftp.FX_FAILURE
        assert asker.files.calls == before
