"""The socket of an agent: in a directory of its own, for one account and nobody else.

Rule: nobody but the account and root ever gets at it, not even while it is being made: the
directory is closed to others before the socket is in it, and is given to the account last. Each
connection is asked by the kernel whose it is. Cleaning up goes by the open directory, never by a
path that the account could have made lead elsewhere (attacks.md L6).

    /tmp/limpet-agent-XXXXXXXX      0700, the account's
        socket                      0600, the account's
"""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from contextlib import suppress
from typing import Any

from limpet._logger import ClassLogger
from limpet.unix.accounts import Account
from limpet.unix.ports import AdoptedUnixPort, adoptPort

SOCKET_NAME = "socket"
SOCKET_MODE = 0o600

BACKLOG = 16
"""Connections that may wait to be accepted."""

_CREDENTIALS = struct.Struct("=iII")


def peerUid(transport: Any) -> int | None:
    """The user id of the process at the other end of a Unix socket, None where it is not known."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return _peerUidOfBSD(transport)
    try:
        raw = transport.socket.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
    except OSError:
        return None
    uid: int = _CREDENTIALS.unpack(raw)[1]
    return uid


def _peerUidOfBSD(transport: Any) -> int | None:
    # struct xucred of LOCAL_PEERCRED: version, uid, …
    option = getattr(socket, "LOCAL_PEERCRED", 1)
    try:
        raw = transport.socket.getsockopt(0, option, 76)
    except OSError:
        return None
    version, uid = struct.unpack_from("=2I", raw.ljust(8, b"\xff"))
    return uid if version == 0 else None


class AgentSocket:
    """A listening socket in a directory of its own.

    Args:
        reactor: Provides IReactorFDSet.
        account: Who may connect; root may, too.
        factory: Makes the protocols.
        path: Where the socket is to be; None for a directory of its own, which is better.

    Attributes:
        path: The socket: what SSH_AUTH_SOCK is to be.

    Raises:
        OSError: It cannot be made; nothing is left behind.
    """

    _log = ClassLogger()

    def __init__(
        self, reactor: Any, account: Account, factory: Any, path: str | None = None
    ) -> None:
        self._account = account
        self._port: AdoptedUnixPort | None = None
        self._isBound = False
        self._directoryFd = -1
        # The directory that is ours to give away and to remove.
        self._directory: str | None = None
        self._name = SOCKET_NAME if path is None else os.path.basename(path)
        if path is None:
            self._directory = tempfile.mkdtemp(prefix="limpet-agent-")
            path = os.path.join(self._directory, SOCKET_NAME)
        self.path = os.path.abspath(path)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        if self._directory is not None:
            flags |= os.O_NOFOLLOW
        try:
            self._directoryFd = os.open(os.path.dirname(self.path), flags)
            self._port = self._listen(reactor, factory)
        except BaseException:
            self.close()
            raise

    def _listen(self, reactor: Any, factory: Any) -> AdoptedUnixPort:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
            made.setblocking(False)
            made.bind(self.path)
            self._isBound = True
            # Nobody can connect before it listens, whatever its mode is until then.
            os.chmod(self._name, SOCKET_MODE, dir_fd=self._directoryFd)
            account = self._account
            if os.geteuid() == 0 and account.uid != 0 and self._directory is not None:
                os.chown(
                    SOCKET_NAME,
                    account.uid,
                    account.gid,
                    dir_fd=self._directoryFd,
                    follow_symlinks=False,
                )
                os.fchown(self._directoryFd, account.uid, account.gid)
            return adoptPort(reactor, made, factory)

    def isFor(self, transport: Any) -> bool:
        """Whether an accepted connection is of the account's, or of root's."""
        uid = peerUid(transport)
        if uid is not None and uid in (self._account.uid, 0):
            return True
        self._log.warn("{path}: a connection by user {uid} refused", path=self.path, uid=uid)
        return False

    def close(self) -> None:
        """Accept no more, and remove the socket and its directory. May be called again."""
        port, self._port = self._port, None
        if port is not None:
            port.stopListening()  # type: ignore[no-untyped-call]
        if self._isBound:
            self._isBound = False
            with suppress(OSError):
                os.unlink(self._name, dir_fd=self._directoryFd)
        if self._directoryFd >= 0:
            os.close(self._directoryFd)
            self._directoryFd = -1
        directory, self._directory = self._directory, None
        if directory is not None:
            # Not a link that stands in its place: rmdir follows none. Where the account has put
            # something else in it, it stays.
            with suppress(OSError):
                os.rmdir(directory)
