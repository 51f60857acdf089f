"""`limpet.unix.internalsftp`: what a forced internal-sftp asks for, obeyed or no files at all."""

from __future__ import annotations

import pytest

from limpet.unix.accounts import Account
from limpet.unix.internalsftp import FileServerOptions, isInternalSftp, parseInternalSftp

USER = Account("joe", 1234, 1234, (1234, 50), "/home/joe", "/bin/sh")


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (b"internal-sftp", FileServerOptions()),
        (b"internal-sftp -R", FileServerOptions(readOnly=True)),
        (b"internal-sftp\t-eR -f AUTH -l VERBOSE", FileServerOptions(readOnly=True)),
        (b"internal-sftp -d /srv/%u", FileServerOptions(start="/srv/%u")),
        (b"internal-sftp -d/%d -u 027", FileServerOptions(start="/%d", umask=0o27)),
        (b"internal-sftp -u077", FileServerOptions(umask=0o77)),
        (
            b"internal-sftp -P remove,posix-rename",
            FileServerOptions(forbidden=frozenset({"remove", "posix-rename"})),
        ),
    ],
)
def test_what_sftp_server_takes(command: bytes, options: FileServerOptions) -> None:
    assert isInternalSftp(command)
    assert parseInternalSftp(command) == options


def test_what_is_allowed_leaves_out_what_is_denied() -> None:
    options = parseInternalSftp(b"internal-sftp -P stat -p open,close,stat")
    assert options is not None
    assert {"open", "close"}.isdisjoint(options.forbidden)
    assert {"stat", "read", "copy-data"} <= options.forbidden
    assert len(options.forbidden) == 27


@pytest.mark.parametrize(
    "options",
    [
        b"-x",
        b"-h",
        b"-Q requests",
        b"-d",
        b"-d /srv -d /tmp",
        b"-d /srv/%x",
        b"-d /srv/%",
        b"-u 8",
        b"-u 01777",
        b"-u -7",
        b"-P",
        b"-P writ",
        b"-p",
        b"-p open,",
        b"/srv",
        b"-- -R",
        b'-d "/srv"x y',
        b"-d /a\0b",
    ],
)
def test_what_cannot_be_obeyed_leaves_no_files(options: bytes) -> None:
    assert parseInternalSftp(b"internal-sftp " + options) is None


@pytest.mark.parametrize(
    "command", [b"", b"internal-sftpd", b"/bin/internal-sftp", b"'internal-sftp'"]
)
def test_another_command_is_none(command: bytes) -> None:
    assert not isInternalSftp(command)
    assert parseInternalSftp(command) is None


def test_the_worker_is_told_what_is_the_users_own() -> None:
    options = FileServerOptions(True, "/srv/%u/%%%d%h", 0o27, frozenset({"write", "open"}))
    assert options.forWorker(USER) == {
        "readOnly": "yes",
        "start": "/srv/joe/%/home/joe/home/joe",
        "umask": "27",
        "forbidden": "open,write",
    }
    assert FileServerOptions().forWorker(USER) == {}
