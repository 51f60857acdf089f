"""The SFTP client protocol: what each request sends, what each reply means, how a session ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet import defer
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from zope.interface.verify import verifyObject

from limpet.core.framing import FrameReceiver
from limpet.interfaces import ISFTPFile
from limpet.ssh.filetransfer import ClientDirectory, ClientFile, FileTransferClient, SFTPError
from limpet.wire import sftp
from limpet.wire.fields import NS, Reader, u32
from tests.pair.sftpserver import MemoryServer


class Peer:
    """A client and what it writes; replies are given by hand."""

    def __init__(self, extensions: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.client = FileTransferClient({b"ext@example": b"data"})
        self.transport = StringTransport()
        self.client.makeConnection(self.transport)  # type: ignore[no-untyped-call]
        self.frames = FrameReceiver(1 << 20)
        self.hello = self.sent()[0]
        self.reply(sftp.FXP_VERSION, sftp.packHello(3, extensions))

    def sent(self) -> list[bytes]:
        """The messages written since the last call."""
        self.frames.feed(self.transport.value())
        self.transport.clear()
        found = []
        while (frame := self.frames.next()) is not None:
            found.append(frame)
        return found

    def reply(self, kind: int, body: bytes) -> None:
        self.client.dataReceived(sftp.packFrame(kind, body))

    def status(self, code: int, number: int = 0) -> None:
        self.reply(sftp.FXP_STATUS, sftp.packStatus(number, code, b"words"))


def outcome(deferred: defer.Deferred[Any]) -> Any:
    """What it fired with, or the exception that it failed with."""
    results: list[Any] = []
    deferred.addCallbacks(results.append, lambda failure: results.append(failure.value))
    assert results, "it has not fired"
    return results[0]


def test_the_session_begins_with_init_and_tells_what_the_server_can() -> None:
    told: list[Any] = []

    class Client(FileTransferClient):
        def gotServerVersion(self, serverVersion: int, extData: Any) -> None:
            told.append((serverVersion, dict(extData)))

    peer = Peer(((b"limits@openssh.com", b"1"), (b"posix-rename@openssh.com", b"9")))
    assert peer.hello == b"\x01" + u32(3) + NS(b"ext@example") + NS(b"data")
    assert peer.client.serverVersion == 3
    assert peer.client.supports(b"limits@openssh.com")
    assert not peer.client.supports(b"posix-rename@openssh.com")  # a version that we do not speak
    assert not peer.client.supports(b"other")
    client = Client()
    client.makeConnection(StringTransport())  # type: ignore[no-untyped-call]
    waiting = client.whenReady()
    client.dataReceived(sftp.packFrame(sftp.FXP_VERSION, sftp.packHello(3)))
    assert outcome(waiting) is client
    assert outcome(client.whenReady()) is client
    assert told == [(3, {})]


ATTRS = {"size": 5, "uid": 1, "gid": 2, "permissions": 0o644, "atime": 3, "mtime": 4}
REQUESTS: list[tuple[Callable[[FileTransferClient], defer.Deferred[Any]], int, bytes]] = [
    (lambda c: c.openFile(b"f", 3, ATTRS), 3, NS(b"f") + u32(3) + sftp.packAttrs(ATTRS)),
    (lambda c: c.openFile("ü\udcff", 1, {}), 3, NS(b"\xc3\xbc\xff") + u32(1) + u32(0)),
    (lambda c: ClientFile(c, b"h").close(), 4, NS(b"h")),
    (lambda c: ClientFile(c, b"h").readChunk(7, 9), 5, NS(b"h") + bytes(7) + b"\x07" + u32(9)),
    (
        lambda c: ClientFile(c, b"h").writeChunk(7, b"data"),
        6,
        NS(b"h") + bytes(7) + b"\x07" + NS(b"data"),
    ),
    (lambda c: c.getAttrs(b"p"), 7, NS(b"p")),
    (lambda c: c.getAttrs(b"p", followLinks=1), 17, NS(b"p")),
    (lambda c: ClientFile(c, b"h").getAttrs(), 8, NS(b"h")),
    (lambda c: c.setAttrs(b"p", {"permissions": 1}), 9, NS(b"p") + u32(4) + u32(1)),
    # Conch sends FSTAT here.
    (lambda c: ClientFile(c, b"h").setAttrs({"permissions": 1}), 10, NS(b"h") + u32(4) + u32(1)),
    (lambda c: c.openDirectory(b"p"), 11, NS(b"p")),
    (lambda c: ClientDirectory(c, b"h").read(), 12, NS(b"h")),
    (lambda c: ClientDirectory(c, b"h").close(), 4, NS(b"h")),
    (lambda c: c.removeFile(b"p"), 13, NS(b"p")),
    (lambda c: c.makeDirectory(b"p", {}), 14, NS(b"p") + u32(0)),
    (lambda c: c.removeDirectory(b"p"), 15, NS(b"p")),
    (lambda c: c.realPath(b"p"), 16, NS(b"p")),
    (lambda c: c.renameFile(b"p", b"q"), 18, NS(b"p") + NS(b"q")),
    (lambda c: c.readLink(b"p"), 19, NS(b"p")),
    (lambda c: c.makeLink(b"link", b"target"), 20, NS(b"target") + NS(b"link")),
    (lambda c: c.extendedRequest(b"x", b"yz"), 200, NS(b"x") + b"yz"),
    (lambda c: c.posixRename(b"p", b"q"), 200, NS(sftp.EXT_POSIX_RENAME) + NS(b"p") + NS(b"q")),
    (lambda c: c.hardLink(b"p", b"q"), 200, NS(sftp.EXT_HARDLINK) + NS(b"p") + NS(b"q")),
    (lambda c: c.statVFS(b"p"), 200, NS(sftp.EXT_STATVFS) + NS(b"p")),
    (lambda c: c.setLinkAttrs(b"p", {}), 200, NS(sftp.EXT_LSETSTAT) + NS(b"p") + u32(0)),
    (lambda c: c.getLimits(), 200, NS(sftp.EXT_LIMITS)),
    (lambda c: c.expandPath(b"~"), 200, NS(sftp.EXT_EXPAND_PATH) + NS(b"~")),
    (lambda c: ClientFile(c, b"h").sync(), 200, NS(sftp.EXT_FSYNC) + NS(b"h")),
    (
        lambda c: c.copyData(ClientFile(c, b"a"), 1, 2, ClientFile(c, b"b"), 3),
        200,
        NS(b"copy-data") + NS(b"a") + bytes(7) + b"\1" + bytes(7) + b"\2" + NS(b"b") + bytes(7)
        + b"\3",
    ),
    (
        lambda c: c.getUserNames([1], [2, 3]),
        200,
        NS(sftp.EXT_USERS_GROUPS) + NS(u32(1)) + NS(u32(2) + u32(3)),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("ask", "kind", "body"), REQUESTS, ids=range(len(REQUESTS)))
def test_requests_go_out_as_the_draft_says(
    ask: Callable[[FileTransferClient], defer.Deferred[Any]], kind: int, body: bytes
) -> None:
    peer = Peer()
    first, second = ask(peer.client), ask(peer.client)
    assert peer.sent() == [bytes([kind]) + u32(0) + body, bytes([kind]) + u32(1) + body]
    assert set(peer.client.openRequests) == {0, 1}
    peer.status(sftp.FX_PERMISSION_DENIED, 1)
    error = outcome(second)
    assert isinstance(error, SFTPError)
    assert (error.code, error.message) == (3, "words")
    peer.status(sftp.FX_OP_UNSUPPORTED)
    assert isinstance(outcome(first), NotImplementedError)
    assert peer.client.openRequests == {}


def test_the_drafts_order_of_a_symlink_where_the_server_takes_that() -> None:
    peer = Peer()
    peer.client.symlinkTargetFirst = False
    peer.client.makeLink(b"link", b"target")
    assert peer.sent() == [b"\x14" + u32(0) + NS(b"link") + NS(b"target")]


class TestReplies:
    def test_success_is_the_message_and_its_language(self) -> None:
        peer = Peer()
        removed = peer.client.removeFile(b"p")
        peer.status(sftp.FX_OK)
        assert outcome(removed) == (b"words", b"")

    def test_a_status_of_the_code_alone_is_enough(self) -> None:
        peer = Peer()
        removed = peer.client.removeFile(b"p")
        peer.reply(sftp.FXP_STATUS, u32(0) + u32(sftp.FX_FAILURE))
        assert outcome(removed).code == sftp.FX_FAILURE

    def test_the_end_of_a_file_is_eof(self) -> None:
        peer = Peer()
        read = ClientFile(peer.client, b"h").readChunk(0, 1)
        peer.status(sftp.FX_EOF)
        assert isinstance(outcome(read), EOFError)

    def test_files_provide_the_documented_interface(self) -> None:
        peer = Peer()
        opened = peer.client.openFile(b"f", 1, {})
        peer.reply(sftp.FXP_HANDLE, sftp.packData(0, b"\0\1"))
        file = outcome(opened)
        assert isinstance(file, ClientFile)
        assert verifyObject(ISFTPFile, file)
        file.readChunk(0, 5)
        assert peer.sent()[-1] == b"\5" + u32(1) + NS(b"\0\1") + bytes(8) + u32(5)
        assert file.parent is peer.client

    def test_data_in_any_pieces(self) -> None:
        peer = Peer()
        reads = [ClientFile(peer.client, b"h").readChunk(0, 5) for _ in range(2)]
        stream = b"".join(
            sftp.packFrame(sftp.FXP_DATA, sftp.packData(number, b"data%d" % number))
            for number in range(2)
        )
        for byte in stream:
            peer.client.dataReceived(bytes([byte]))
        assert [outcome(read) for read in reads] == [b"data0", b"data1"]

    def test_data_without_data_is_no_progress(self) -> None:
        peer = Peer()
        file = ClientFile(peer.client, b"h")
        reads = [file.readChunk(0, 5), file.readChunk(0, 0)]
        for number in range(2):
            peer.reply(sftp.FXP_DATA, sftp.packData(number, b""))
        assert outcome(reads[0]).code == sftp.FX_BAD_MESSAGE
        assert outcome(reads[1]) == b""
        listing = ClientDirectory(peer.client, b"h").read()
        peer.reply(sftp.FXP_NAME, sftp.packNames(2, []))
        assert outcome(listing).code == sftp.FX_BAD_MESSAGE

    def test_names_as_triples(self) -> None:
        peer = Peer()
        directory = ClientDirectory(peer.client, b"h")
        listing = directory.read()
        peer.reply(sftp.FXP_NAME, sftp.packNames(0, [(b"a", b"long", {"size": 1})]))
        assert outcome(listing) == [(b"a", b"long", {"size": 1})]

    def test_a_directory_is_an_iterator_as_it_was(self) -> None:
        peer = Peer()
        directory = ClientDirectory(peer.client, b"h")
        with pytest.deprecated_call():
            first = next(directory)
        peer.reply(sftp.FXP_NAME, sftp.packNames(0, [(b"a", b"", {}), (b"b", b"", {})]))
        assert outcome(first)[0] == b"a"
        with pytest.deprecated_call():
            assert next(directory)[0] == b"b"
            last = next(directory)
        peer.status(sftp.FX_EOF, 1)
        assert isinstance(outcome(last), EOFError)
        with pytest.deprecated_call(), pytest.raises(StopIteration):
            next(directory)

    def test_paths_come_back_as_text_that_loses_nothing(self) -> None:
        peer = Peer()
        real = peer.client.realPath(b".")
        peer.reply(sftp.FXP_NAME, sftp.packNames(0, [(b"/\xc3\xbc\xff", b"", {})]))
        assert outcome(real) == "/ü\udcff"

    def test_extensions_are_decoded(self) -> None:
        peer = Peer()
        limits = peer.client.getLimits()
        peer.reply(sftp.FXP_EXTENDED_REPLY, u32(0) + sftp.Limits(1, 2, 3, 4).encode())
        assert outcome(limits) == (1, 2, 3, 4)
        names = peer.client.getUserNames([0], [0])
        peer.reply(
            sftp.FXP_EXTENDED_REPLY, u32(1) + NS(sftp.packStrings([b"root"])) + NS(NS(b"wheel"))
        )
        assert outcome(names) == ([b"root"], [b"wheel"])
        sizes = peer.client.statVFS(b"/")
        peer.reply(sftp.FXP_EXTENDED_REPLY, u32(2) + b"short")
        assert outcome(sizes).code == sftp.FX_BAD_MESSAGE
        assert not peer.client.ended


class TestCancelling:
    def test_a_reply_that_nobody_waits_for_is_ignored(self) -> None:
        peer = Peer()
        removed = peer.client.removeFile(b"p")
        removed.cancel()
        assert isinstance(outcome(removed), defer.CancelledError)
        peer.status(sftp.FX_OK)
        assert not peer.client.ended

    def test_a_handle_that_nobody_waits_for_is_closed(self) -> None:
        peer = Peer()
        opened = peer.client.openFile(b"f", 1, {})
        opened.addErrback(lambda _: None)
        opened.cancel()
        peer.sent()
        peer.reply(sftp.FXP_HANDLE, sftp.packData(0, b"h"))
        assert peer.sent() == [b"\4" + u32(1) + NS(b"h")]


class TestTheEnd:
    def test_everything_open_fails_and_everything_later(self) -> None:
        peer = Peer()
        reads = [peer.client.getAttrs(b"p") for _ in range(3)]
        peer.client.connectionLost()
        peer.client.connectionLost()
        later = [
            peer.client.getAttrs(b"p"),
            peer.client.extendedRequest(b"x", b""),
            ClientFile(peer.client, b"h").readChunk(0, 1),
            ClientFile(peer.client, b"h").writeChunk(0, b"x"),
            peer.client.whenReady(),
        ]
        for answer in reads + later:
            assert isinstance(outcome(answer), ConnectionLost)
        assert peer.client.ended

    def test_who_waits_for_the_version_is_told(self) -> None:
        client = FileTransferClient()
        client.makeConnection(StringTransport())  # type: ignore[no-untyped-call]
        waiting = client.whenReady()
        client.connectionLost()
        assert isinstance(outcome(waiting), ConnectionLost)


def test_ids_are_used_again_only_when_they_are_free() -> None:
    peer = Peer()
    first = peer.client.getAttrs(b"p")
    peer.client.counter = 2**32 - 1
    peer.client.getAttrs(b"q")
    assert peer.client.counter == 0
    peer.client.getAttrs(b"r")
    assert [Reader(frame, 1).u32() for frame in peer.sent()] == [0, 2**32 - 1, 1]
    peer.status(sftp.FX_FAILURE, 0)
    assert outcome(first).code == sftp.FX_FAILURE


def test_the_server_in_memory_serves_the_client() -> None:
    """What the other tests stand on."""
    server = MemoryServer({"d/f": b"text", "l": "->d/f"})
    client = server.connect()
    assert server.result(client.getAttrs("l", True))["size"] == 4
    assert server.result(client.readLink("l")) == "d/f"
    assert server.failure(client.getAttrs("nothing")).args[0] == sftp.FX_NO_SUCH_FILE


def test_a_read_that_an_application_sends_by_itself() -> None:
    peer = Peer()
    answer = peer.client._sendRequest(sftp.FXP_READ, NS(b"h") + bytes(8) + u32(4))
    peer.reply(sftp.FXP_DATA, u32(0) + NS(b"data"))
    assert outcome(answer) == b"data"
    assert peer.client.openRequests == {}
