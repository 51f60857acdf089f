"""Whatever a client sends: one reply to each request, the same ones however the stream is cut."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport

from limpet.files.filesystem import ConfinedFiles
from limpet.files.requests import SessionOver
from limpet.ssh.filetransfer import FileTransferServer
from limpet.unix.filetransfer import SFTPServerForUnixConchUser
from limpet.wire import sftp
from limpet.wire.fields import NS, u32
from tests.sftprequests import FilesAsker, messages

PATHS = st.sampled_from(
    [b"", b".", b"..", b"/", b"a", b"a/b", b"../x", b"a\0", b"\xff", b"link", b"x" * 300, b"a/"]
)
HANDLES = st.one_of(st.binary(max_size=20), st.integers(1, 8).map(lambda n: n.to_bytes(8, "big")))
NUMBERS = st.one_of(st.integers(0, 70000), st.sampled_from([2**31, 2**32 - 1]))
LONG_NUMBERS = st.one_of(NUMBERS, st.sampled_from([2**32, 2**63 - 1, 2**63, 2**64 - 1]))
ATTRS = st.fixed_dictionaries(
    {},
    optional={
        "size": st.one_of(st.integers(0, 5000), st.sampled_from([2**63, 2**64 - 1])),
        "permissions": st.integers(0o400, 0o777).map(lambda mode: mode | 0o700),
        "ext_x": st.binary(max_size=5),
    },
)
FIELDS: dict[str, Any] = {
    sftp.STRING: st.one_of(PATHS, HANDLES),
    sftp.U32: NUMBERS,
    sftp.U64: LONG_NUMBERS,
    sftp.ATTRS: ATTRS,
}


@st.composite
def requests(draw: Any) -> bytes:
    """A request that parses, one of an extension, or noise."""
    choice = draw(st.integers(0, 9))
    if choice == 0:
        noise: bytes = draw(st.binary(max_size=60))
        return bytes([draw(st.integers(2, 255))]) + noise
    if choice <= 2:
        name = draw(st.sampled_from(sorted(sftp.EXTENDED_REQUESTS)))
        values = [draw(FIELDS[field]) for field in sftp.EXTENDED_REQUESTS[name]]
        return bytes([sftp.FXP_EXTENDED]) + sftp.packExtended(draw(NUMBERS), name, *values)
    kind = draw(st.sampled_from(sorted(sftp.REQUESTS)))
    values = [draw(FIELDS[field]) for field in sftp.REQUESTS[kind]]
    body = sftp.packRequest(kind, draw(NUMBERS), *values)
    if choice == 3:
        body = body[: draw(st.integers(0, len(body)))]
    return bytes([kind]) + body


@pytest.fixture(scope="module")
def top() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def build(top: Path) -> bytes:
    """A small tree in a directory of its own."""
    jail = Path(tempfile.mkdtemp(dir=top))
    (jail / "a").mkdir()
    (jail / "a" / "b").write_bytes(b"contents")
    (jail / "link").symlink_to("a/b")
    return os.fsencode(jail)


MANY = settings(
    max_examples=3000 if os.environ.get("LIMPET_FULL") else 60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@MANY
@given(st.lists(requests(), max_size=15))
def test_each_request_gets_one_reply(top: Path, stream: list[bytes]) -> None:
    asker = FilesAsker(ConfinedFiles(build(top)))
    handles: list[bytes] = []
    try:
        for message in stream:
            # Handles cannot be guessed: those that look like one get the rest of a real one.
            for number, handle in enumerate(handles, 1):
                message = message.replace(NS(number.to_bytes(8, "big")), NS(handle))
            try:
                replies = asker.exchange(message)
            except SessionOver:
                assert len(message) < 5
                break
            (reply,) = replies
            assert reply[1:5] == message[1:5]
            assert len(reply) <= sftp.MAX_MESSAGE_LENGTH
            if reply[0] == sftp.FXP_HANDLE:
                handles.append(reply[9:])
    finally:
        asker.requests.close()
    assert asker.bugs == []


def serve(jail: bytes, pieces: list[bytes]) -> tuple[list[bytes], bool]:
    """The replies of a `FileTransferServer`, handles without their random part, and whether it
    ended the session."""
    adapter = SFTPServerForUnixConchUser(
        None, ConfinedFiles(jail), run=lambda call, *arguments: call(*arguments)
    )
    server = FileTransferServer(avatar=adapter)
    transport: Any = StringTransport()
    server.makeConnection(transport)  # type: ignore[no-untyped-call]
    for piece in pieces:
        server.dataReceived(piece)
    replies = [
        reply[:17] if reply[0] == sftp.FXP_HANDLE else reply
        for reply in messages(transport.value())
    ]
    server.connectionLost()
    return replies, transport.disconnecting


@MANY
@given(st.lists(requests(), max_size=8), st.integers(1, 50))
def test_any_cut_of_the_stream_gets_the_same_replies(
    top: Path, stream: list[bytes], step: int
) -> None:
    # Nothing that tells of times or of the file system as a whole, which differ between two runs.
    telling = (sftp.EXT_STATVFS, sftp.EXT_FSTATVFS)
    stream = [one for one in stream if not any(name in one for name in telling)]
    stream = [one for one in stream if one[0] not in (7, 8, 12, 17)]
    data = NS(bytes([1]) + u32(3)) + b"".join(map(NS, stream))
    whole = serve(build(top), [data])
    cut = serve(build(top), [data[at : at + step] for at in range(0, len(data), step)])
    assert whole == cut
    if not whole[1]:
        assert len(whole[0]) == 1 + len(stream)
