"""What stands at both ends of a tunnel: a server that counts, and a program that talks to it.

The server counts what it gets until the end and then answers, which only works where each direction
ends by itself.
"""

from __future__ import annotations

import hashlib
import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEBIBYTE = 2**20
SIZE = (256 if os.environ.get("LIMPET_FULL") == "1" else 16) * MEBIBYTE
MANY = 200
SECONDS = 60.0


def block(seed: int) -> bytes:
    """A mebibyte that is different for each seed."""
    return hashlib.shake_128(bytes([seed])).digest(MEBIBYTE)


BLOCK = block(1)


def digest(size: int) -> bytes:
    """The digest of `size` bytes of `BLOCK` after `BLOCK`."""
    whole = hashlib.sha256()
    for at in range(0, size, len(BLOCK)):
        whole.update(BLOCK[: min(len(BLOCK), size - at)])
    return whole.hexdigest().encode()


class Counter(socketserver.BaseRequestHandler):
    """Reads to the end, says how much it was and its digest; before that, sends what is wanted.

    The first line says how much to send: "N\\n".
    """

    def handle(self) -> None:
        connection: socket.socket = self.request
        connection.settimeout(SECONDS)
        data = b""
        while b"\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return
            data += piece
        wanted, _, data = data.partition(b"\n")
        sender = threading.Thread(target=self.send, args=(int(wanted),))
        sender.start()
        size, whole = len(data), hashlib.sha256(data)
        while piece := connection.recv(262144):
            size += len(piece)
            whole.update(piece)
        sender.join()
        connection.sendall(b"%d %s\n" % (size, whole.hexdigest().encode()))

    def send(self, size: int) -> None:
        for at in range(0, size, len(BLOCK)):
            self.request.sendall(BLOCK[: min(len(BLOCK), size - at)])


class TcpFar(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 512


class UnixFar(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 512


def connected(address: int | Path) -> socket.socket:
    """A connection to a port of this machine, or to a socket."""
    if isinstance(address, int):
        return socket.create_connection(("127.0.0.1", address), timeout=SECONDS)
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(SECONDS)
    made.connect(str(address))
    return made


def connectedToChosen(port: int) -> socket.socket:
    """A connection to a port that a server chose.

    sshd and Dropbear choose by ::1 alone: on 127.0.0.1 it may be somebody else's.
    """
    try:
        return socket.create_connection(("::1", port), timeout=SECONDS)
    except OSError:
        return connected(port)


def talk(connection: socket.socket, up: int, down: int) -> None:
    """Send and receive that much at once, end our direction, and check what was counted."""

    def send() -> None:
        connection.sendall(b"%d\n" % down)
        for at in range(0, up, len(BLOCK)):
            connection.sendall(BLOCK[: min(len(BLOCK), up - at)])
        connection.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    got, whole = 0, hashlib.sha256()
    while got < down:
        piece = connection.recv(min(262144, down - got))
        assert piece, f"the end after {got} of {down} bytes"
        got += len(piece)
        whole.update(piece)
    sender.join()
    answer = b""
    while piece := connection.recv(4096):
        answer += piece
    assert whole.hexdigest().encode() == digest(down)
    assert answer == b"%d %s\n" % (up, digest(up))


def throughSocks(port: int, target: int) -> socket.socket:
    """A connection to `target` by way of the SOCKS 5 proxy at `port`."""
    connection = connected(port)
    connection.sendall(b"\5\1\0\5\1\0\3\x09localhost" + target.to_bytes(2, "big"))
    answer = b""
    while len(answer) < 12:
        answer += connection.recv(12 - len(answer))
    assert answer[:4] == b"\5\0\5\0"
    return connection


@contextmanager
def counting(server: socketserver.BaseServer) -> Iterator[None]:
    """Serve for the time of the block."""
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()
