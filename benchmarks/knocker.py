"""A client that connects, authenticates by public key and leaves, as often as told.

It says "ready" when its libraries are loaded and starts when its standard input is closed.

    python -m benchmarks.knocker HOST PORT USER KEY COUNT

It speaks exactly one suite with every server, so that only the servers differ: curve25519-sha256,
ssh-ed25519, aes128-ctr with hmac-sha2-256. It is written straight on a blocking socket, because a
library's client would cost more than the server that is measured; it checks the host key's
signature, the MACs and each answer, and nothing else. RFC 4253, 4252, 8731, 8709.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import struct
import sys
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_private_key,
)

VERSION = b"SSH-2.0-knocker"
MSG_IGNORED = (2, 4, 7, 53)  # IGNORE, DEBUG, EXT_INFO, USERAUTH_BANNER
KEXINIT, NEWKEYS, ECDH_INIT, ECDH_REPLY = 20, 21, 30, 31
SERVICE_REQUEST, SERVICE_ACCEPT, AUTH_REQUEST, AUTH_SUCCESS, DISCONNECT = 5, 6, 50, 52, 1
BLOCK, MAC_SIZE, TIMEOUT_SECONDS = 16, 32, 30


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def multiplePrecision(data: bytes) -> bytes:
    data = data.lstrip(b"\0")
    return string(b"\0" + data if data and data[0] & 0x80 else data)


def strings(data: bytes, count: int) -> list[bytes]:
    found, at = [], 0
    for _ in range(count):
        (size,) = struct.unpack_from(">I", data, at)
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found


@dataclass
class Direction:
    """Keys of one direction; before NEWKEYS there is no cipher."""

    cipher: CipherContext | None = None
    macKey: bytes = b""
    sequence: int = 0

    def mac(self, plain: bytes) -> bytes:
        return hmac.digest(self.macKey, struct.pack(">I", self.sequence) + plain, "sha256")


class Visit:
    """One connection from the version line to the success of authentication."""

    def __init__(self, address: tuple[str, int], user: bytes, key: Ed25519PrivateKey) -> None:
        self.socket = socket.create_connection(address, timeout=TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.user, self.key = user, key
        self.sending, self.receiving = Direction(), Direction()
        self.received = bytearray()

    def run(self) -> None:
        names = [
            *(b"curve25519-sha256", b"ssh-ed25519", b"aes128-ctr", b"aes128-ctr"),
            *(b"hmac-sha2-256", b"hmac-sha2-256", b"none", b"none", b"", b""),
        ]
        ours = bytes([KEXINIT]) + os.urandom(16) + b"".join(map(string, names)) + bytes(5)
        secret = X25519PrivateKey.generate()
        point = secret.public_key().public_bytes_raw()
        first = self.pack(ours) + self.pack(bytes([ECDH_INIT]) + string(point))
        self.socket.sendall(VERSION + b"\r\n" + first)
        peerVersion = self.readLine()
        theirs = self.expect(KEXINIT)
        hostKey, peerPoint, signature = strings(self.expect(ECDH_REPLY)[1:], 3)
        shared = secret.exchange(X25519PublicKey.from_public_bytes(peerPoint))
        encoded = multiplePrecision(shared)
        exchange = b"".join(
            map(string, [VERSION, peerVersion, ours, theirs, hostKey, point, peerPoint])
        )
        digest = hashlib.sha256(exchange + encoded).digest()
        Ed25519PublicKey.from_public_bytes(strings(hostKey, 2)[1]).verify(
            strings(signature, 2)[1], digest
        )

        def derive(letter: bytes) -> bytes:
            return hashlib.sha256(encoded + digest + letter + digest).digest()

        newKeys = self.pack(bytes([NEWKEYS]))
        self.expect(NEWKEYS)
        outCipher = Cipher(algorithms.AES(derive(b"C")[:16]), modes.CTR(derive(b"A")[:16]))
        inCipher = Cipher(algorithms.AES(derive(b"D")[:16]), modes.CTR(derive(b"B")[:16]))
        self.sending.cipher, self.sending.macKey = outCipher.encryptor(), derive(b"E")
        self.receiving.cipher, self.receiving.macKey = inCipher.decryptor(), derive(b"F")
        service = self.pack(bytes([SERVICE_REQUEST]) + string(b"ssh-userauth"))
        self.socket.sendall(newKeys + service)
        self.expect(SERVICE_ACCEPT)
        public = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        request = (
            bytes([AUTH_REQUEST])
            + b"".join(map(string, [self.user, b"ssh-connection", b"publickey"]))
            + b"\1"
            + string(b"ssh-ed25519")
            + string(string(b"ssh-ed25519") + string(public))
        )
        signed = self.key.sign(string(digest) + request)
        self.socket.sendall(self.pack(request + string(string(b"ssh-ed25519") + string(signed))))
        self.expect(AUTH_SUCCESS)
        farewell = struct.pack(">BI", DISCONNECT, 11) + string(b"") + string(b"")
        self.socket.sendall(self.pack(farewell))

    def close(self) -> None:
        self.socket.close()

    # ── packets ──────────────────────────────────────────────────────────────────────────────────

    def pack(self, payload: bytes) -> bytes:
        padding = BLOCK - (5 + len(payload)) % BLOCK
        if padding < 4:
            padding += BLOCK
        plain = struct.pack(">IB", 1 + len(payload) + padding, padding) + payload + bytes(padding)
        way = self.sending
        if way.cipher:
            packet = way.cipher.update(plain) + way.mac(plain)
        else:
            packet = plain
        way.sequence += 1
        return packet

    def expect(self, number: int) -> bytes:
        """The next message, which has to be this one; those that say nothing are passed over."""
        while (payload := self.readPacket())[0] in MSG_IGNORED:
            pass
        if payload[0] != number:
            raise ConnectionError(f"message {payload[0]} came instead of {number}: {payload!r}")
        return payload

    def readPacket(self) -> bytes:
        way = self.receiving
        if way.cipher:
            head = way.cipher.update(self.read(BLOCK))
        else:
            head = self.read(4)
        (length,) = struct.unpack_from(">I", head)
        if not 5 <= length <= 35000:
            raise ConnectionError(f"packet length {length}")
        rest = self.read(4 + length - len(head))
        plain = head + (way.cipher.update(rest) if way.cipher else rest)
        if way.cipher and not hmac.compare_digest(self.read(MAC_SIZE), way.mac(plain)):
            raise ConnectionError("wrong MAC")
        way.sequence += 1
        return plain[5 : 4 + length - plain[4]]

    def readLine(self) -> bytes:
        while b"\n" not in self.received:
            self.receive()
        line, _, rest = self.received.partition(b"\n")
        self.received = rest
        return bytes(line.rstrip(b"\r"))

    def read(self, size: int) -> bytes:
        while len(self.received) < size:
            self.receive()
        data = bytes(self.received[:size])
        del self.received[:size]
        return data

    def receive(self) -> None:
        if not (data := self.socket.recv(65536)):
            raise ConnectionError("the server closed the connection")
        self.received += data


def main(host: str, port: str, user: str, keyFile: str, count: str) -> None:
    with open(keyFile, "rb") as file:
        key = load_ssh_private_key(file.read(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise SystemExit("the key has to be an Ed25519 key")
    print("ready", flush=True)
    sys.stdin.read()
    for _ in range(int(count)):
        visit = Visit((host, int(port)), user.encode(), key)
        try:
            visit.run()
        finally:
            visit.close()


if __name__ == "__main__":
    main(*sys.argv[1:6])
