"""Servers for our client: each on loopback, with keys and passwords of a test.

    python -m tests.interop.sshServers KIND PORT HOST_KEY AUTHORIZED_KEYS
    python -m tests.interop.sshServers inetd PORT COMMAND ARGUMENT...

AsyncSSH's and Paramiko's are libraries, so what a session does is written here: `sha256` answers
with the hash of what it is sent, `zeros N` with N bytes of zero, `echo TEXT` with the text, and
`exit N` with that status. PASSWORD and CODE are what USER logs in with besides the key.

`twisted.conch` and `limpet` are one program over two packages, for logins without a key: as the
user of the system that runs it, with PASSWORD, or with the answer CODE where the package can ask.
`inetd` starts a command for each connection.
"""

from __future__ import annotations

import asyncio
import getpass
import hashlib
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import Any

USER = "alice"
PASSWORD = "correct horse"
CODE = "123456"
PIECE = 65536


def answer(command: str, status: Any, write: Any) -> bool:
    """Do a command that needs no input: write its output, give its status; False for others."""
    name, _, argument = command.partition(" ")
    if name == "echo":
        write(argument.encode() + b"\n")
        status(0)
    elif name == "exit":
        status(int(argument))
    else:
        return False
    return True


# ── AsyncSSH ──────────────────────────────────────────────────────────────────────────────────


async def serveAsyncSSH(port: int, hostKey: str, authorizedKeys: str) -> None:
    import asyncssh

    async def handle(process: Any) -> None:
        command = process.command or ""
        if answer(command, process.exit, process.stdout.write):
            return
        if command == "sha256":
            digest = hashlib.sha256()
            while data := await process.stdin.read(PIECE):
                digest.update(data)
            process.stdout.write(digest.hexdigest().encode() + b"\n")
        elif command.startswith("zeros "):
            left = int(command[6:])
            while left:
                size = min(left, PIECE)
                process.stdout.write(bytes(size))
                await process.stdout.drain()
                left -= size
        process.exit(0)

    class Server(asyncssh.SSHServer):
        """Knows one user's password, and asks for a code by keyboard-interactive."""

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == (USER, PASSWORD)

        def kbdint_auth_supported(self) -> bool:
            return True

        def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
            return "Two questions", "Answer both", "", [("Password: ", False), ("Code: ", True)]

        def validate_kbdint_response(self, username: str, responses: Any) -> bool:
            return list(responses) == [PASSWORD, CODE]

    await asyncssh.listen(
        "127.0.0.1",
        port,
        server_factory=Server,
        server_host_keys=[hostKey],
        authorized_client_keys=authorizedKeys,
        process_factory=handle,
        encoding=None,
        rekey_bytes=1 << 20,
    )
    await asyncio.get_running_loop().create_future()


# ── Paramiko ──────────────────────────────────────────────────────────────────────────────────


def serveParamiko(port: int, hostKey: str, authorizedKeys: str) -> None:
    import paramiko

    with open(authorizedKeys) as file:
        allowed = {line.split()[1] for line in file}

    interface: Any = paramiko.ServerInterface

    class Server(interface):  # type: ignore[misc]
        """Knows one user's key and password, and asks for a code by keyboard-interactive."""

        def get_allowed_auths(self, username: str) -> str:
            return "publickey,password,keyboard-interactive"

        def check_auth_publickey(self, username: str, key: Any) -> int:
            return int(
                paramiko.AUTH_SUCCESSFUL if key.get_base64() in allowed else paramiko.AUTH_FAILED
            )

        def check_auth_password(self, username: str, password: str) -> int:
            good = (username, password) == (USER, PASSWORD)
            return int(paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED)

        def check_auth_interactive(self, username: str, submethods: Any) -> Any:
            return paramiko.InteractiveQuery("Code", "", ("Code: ", True))

        def check_auth_interactive_response(self, responses: Any) -> int:
            good = list(responses) == [CODE]
            return int(paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED)

        def check_channel_request(self, kind: str, chanid: int) -> int:
            return int(paramiko.OPEN_SUCCEEDED)

        def check_channel_exec_request(self, channel: Any, command: bytes) -> bool:
            threading.Thread(target=handle, args=(channel, command.decode()), daemon=True).start()
            return True

    def handle(channel: Any, command: str) -> None:
        channel.settimeout(30)
        if not answer(command, channel.send_exit_status, channel.sendall):
            if command == "sha256":
                digest = hashlib.sha256()
                while data := channel.recv(PIECE):
                    digest.update(data)
                channel.sendall(digest.hexdigest().encode() + b"\n")
            elif command.startswith("zeros "):
                left = int(command[6:])
                while left:
                    size = min(left, PIECE)
                    channel.sendall(bytes(size))
                    left -= size
            channel.send_exit_status(0)
        channel.close()

    listener = socket.create_server(("127.0.0.1", port))
    while True:
        connection, _ = listener.accept()
        transport = paramiko.Transport(connection)
        transport.add_server_key(paramiko.Ed25519Key(filename=hostKey))
        try:
            transport.start_server(event=threading.Event(), server=Server())
        except (paramiko.SSHException, EOFError):
            transport.close()


# ── Conch, and Limpet as a library ────────────────────────────────────────────────────────────


class AskForCode:
    """Asks whoever logs in for CODE."""

    async def converse(self, credentials: Any) -> bool:
        return list(await credentials.ask([(b"Code: ", True)])) == [CODE.encode()]

    def authenticate(self, credentials: Any) -> Any:
        from twisted.internet.defer import ensureDeferred

        return ensureDeferred(self.converse(credentials))


def serveFactory(package: str, port: int, hostKey: str) -> None:
    from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
    from twisted.cred.portal import Portal
    from twisted.internet import reactor

    def module(name: str) -> Any:
        return import_module(f"{package}.{name}")

    known = InMemoryUsernamePasswordDatabaseDontUse()
    known.addUser(getpass.getuser().encode(), PASSWORD.encode())
    checkers: list[Any] = [known]
    if package == "limpet":
        # Conch has no questions.
        checkers.append(module("checkers").KeyboardInteractiveChecker(AskForCode()))
    private = module("ssh.keys").Key.fromFile(hostKey)
    factory = module("ssh.factory").SSHFactory()
    factory.privateKeys = {private.sshType(): private}
    factory.publicKeys = {private.sshType(): private.public()}
    factory.portal = Portal(module("unix").UnixSSHRealm(), checkers)
    running: Any = reactor
    running.listenTCP(port, factory, interface="127.0.0.1")
    running.run()


# ── A command for each connection ─────────────────────────────────────────────────────────────


def serveByCommand(port: int, command: Sequence[str]) -> None:
    listener = socket.create_server(("127.0.0.1", port))
    while True:
        connection, _ = listener.accept()
        with connection:
            stream = connection.fileno()
            child = subprocess.Popen(command, stdin=stream, stdout=stream)
        threading.Thread(target=child.wait, daemon=True).start()


if __name__ == "__main__":
    kind, number, *files = sys.argv[1:]
    if kind == "asyncssh":
        asyncio.run(serveAsyncSSH(int(number), *files))
    elif kind == "paramiko":
        serveParamiko(int(number), *files)
    elif kind == "inetd":
        serveByCommand(int(number), files)
    else:
        serveFactory(kind, int(number), files[0])
