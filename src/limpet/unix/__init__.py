"""Logins as users of the Unix system that the server runs on."""

from limpet.unix.accounts import Account, NotPermitted
from limpet.unix.conchfiles import (
    SFTPServerForUnixConchUser,
    UnixSFTPDirectory,
    UnixSFTPFile,
)
from limpet.unix.conchsession import SSHSessionForUnixConchUser
from limpet.unix.fileserver import FilePolicy
from limpet.unix.process import ChildProcess
from limpet.unix.realm import UnixConchUser, UnixSSHRealm
from limpet.unix.session import SessionPolicy, UnixSession

__all__ = [
    "Account",
    "ChildProcess",
    "FilePolicy",
    "NotPermitted",
    "SFTPServerForUnixConchUser",
    "SSHSessionForUnixConchUser",
    "SessionPolicy",
    "UnixConchUser",
    "UnixSFTPDirectory",
    "UnixSFTPFile",
    "UnixSSHRealm",
    "UnixSession",
]
