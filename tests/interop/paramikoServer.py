"""Paramiko as an SFTP server, for the tests of our client: arguments are port and host key.

It serves this account's own files, as the draft says and without OpenSSH's extensions but
posix-rename, and lets everybody in.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from typing import Any

import paramiko
from paramiko.sftp import SFTP_OK


class Login(paramiko.ServerInterface):  # type: ignore[misc]
    def check_auth_publickey(self, username: str, key: Any) -> int:
        return int(paramiko.AUTH_SUCCESSFUL)

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(paramiko.OPEN_SUCCEEDED)


class Handle(paramiko.SFTPHandle):  # type: ignore[misc]
    def stat(self) -> Any:
        return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))

    def chattr(self, attr: Any) -> int:
        paramiko.SFTPServer.set_file_attr(self.filename, attr)
        return int(SFTP_OK)


def answered(function: Any, *arguments: Any) -> Any:
    """What the function returns, or the status that its error stands for."""
    try:
        return function(*arguments)
    except OSError as error:
        return paramiko.SFTPServer.convert_errno(error.errno)


def done(function: Any, *arguments: Any) -> int:
    result = answered(function, *arguments)
    return result if isinstance(result, int) else int(SFTP_OK)


class Files(paramiko.SFTPServerInterface):  # type: ignore[misc]
    def list_folder(self, path: str) -> Any:
        def entries() -> list[Any]:
            found = []
            for name in os.listdir(path):
                attrs = paramiko.SFTPAttributes.from_stat(os.lstat(os.path.join(path, name)))
                attrs.filename = name
                found.append(attrs)
            return found

        return answered(entries)

    def stat(self, path: str) -> Any:
        return answered(lambda: paramiko.SFTPAttributes.from_stat(os.stat(path)))

    def lstat(self, path: str) -> Any:
        return answered(lambda: paramiko.SFTPAttributes.from_stat(os.lstat(path)))

    def open(self, path: str, flags: int, attr: Any) -> Any:
        mode = getattr(attr, "st_mode", None) or 0o666
        try:
            descriptor = os.open(path, flags, mode)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        how = "r+b" if flags & os.O_RDWR else "wb" if flags & os.O_WRONLY else "rb"
        file = os.fdopen(descriptor, how, buffering=0)
        handle = Handle(flags)
        handle.filename = path
        handle.readfile = handle.writefile = file
        return handle

    def remove(self, path: str) -> int:
        return done(os.remove, path)

    def rename(self, oldpath: str, newpath: str) -> int:
        return (
            int(paramiko.SFTP_FAILURE)
            if os.path.lexists(newpath)
            else done(os.rename, oldpath, newpath)
        )

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        return done(os.rename, oldpath, newpath)

    def mkdir(self, path: str, attr: Any) -> int:
        return done(os.mkdir, path)

    def rmdir(self, path: str) -> int:
        return done(os.rmdir, path)

    def chattr(self, path: str, attr: Any) -> int:
        return done(paramiko.SFTPServer.set_file_attr, path, attr)

    def symlink(self, target: str, path: str) -> int:
        return done(os.symlink, target, path)

    def readlink(self, path: str) -> Any:
        return answered(os.readlink, path)

    def canonicalize(self, path: str) -> str:
        return os.path.realpath(os.path.join(os.getcwd(), path))


def serveOne(connection: socket.socket, hostKey: Any) -> None:
    transport = paramiko.Transport(connection)
    transport.add_server_key(hostKey)
    transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
    transport.start_server(server=Login())


def main(port: int, hostKey: str) -> None:
    key = paramiko.Ed25519Key.from_private_key_file(hostKey)
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serveOne, args=(connection, key), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
