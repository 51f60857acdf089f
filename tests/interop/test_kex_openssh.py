"""Our side of each key exchange against OpenSSH's server, judged by the host key's signature.

The server is run as inetd would run it, on a socket pair, and left after its MSG_KEX…_REPLY.
LIMPET_KEX_ROUNDS sets how many exchanges of each method are made; 3 by default.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from limpet.core.identification import IdentificationReader
from limpet.core.kex import KEX_METHODS, Expect, KexContext, KexResult, Send
from limpet.core.negotiation import AlgorithmLists, makeKexInit, negotiate, readKexInit
from limpet.wire.fields import Reader

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
ROUNDS = int(os.environ.get("LIMPET_KEX_ROUNDS", "3"))
OUR_VERSION = b"SSH-2.0-Limpet_kex_test"

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(SSHD is None, reason="OpenSSH's sshd is not installed"),
]


def serverKex() -> set[bytes]:
    """The methods that the installed OpenSSH has."""
    client = shutil.which("ssh")
    if client is None:
        return set()
    done = subprocess.run([client, "-Q", "kex"], capture_output=True, timeout=20, check=False)
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sshd")
    key = folder / "host_ed25519"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=20
    )
    methods = sorted(serverKex() & set(KEX_METHODS))
    path = folder / "sshd_config"
    path.write_text(
        f"HostKey {key}\nKexAlgorithms {b','.join(methods).decode()}\n"
        f"PidFile none\nUsePAM no\nLogLevel ERROR\n"
    )
    with contextlib.suppress(PermissionError, FileExistsError):
        os.makedirs("/run/sshd", mode=0o755)
    return path


@contextlib.contextmanager
def openSSH(configuration: Path) -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    assert SSHD is not None
    with ours, theirs:
        process = subprocess.Popen(
            [SSHD, "-i", "-e", "-f", str(configuration)],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.DEVNULL,
        )
        theirs.close()
        try:
            yield ours
        finally:
            ours.close()
            process.wait(timeout=20)


def readPacket(stream: socket.socket, held: bytearray) -> bytes:
    """The payload of the next packet, before any keys."""
    while len(held) < 4 or len(held) < 4 + struct.unpack_from(">L", held)[0]:
        data = stream.recv(65536)
        assert data, "the server closed the connection"
        held += data
    length, padding = struct.unpack_from(">LB", held)
    payload = bytes(held[5 : 4 + length - padding])
    del held[: 4 + length]
    return payload


def packetOf(payload: bytes) -> bytes:
    padding = 12 - (len(payload) + 9) % 8
    return struct.pack(">LB", len(payload) + 1 + padding, padding) + payload + bytes(padding)


def exchange(stream: socket.socket, name: bytes) -> KexResult:
    """Identification, KEXINIT, and the exchange by that method, as a client."""
    lists = AlgorithmLists(
        (name,), (b"ssh-ed25519",), (b"aes128-ctr",), (b"hmac-sha2-256",), (b"none",)
    )
    ourKexInit = b"\x14" + makeKexInit(lists, os.urandom(16), True, True).encode()
    stream.sendall(OUR_VERSION + b"\r\n" + packetOf(ourKexInit))
    reader, version, rest = IdentificationReader(True), None, b""
    while version is None:
        version, rest = reader.feed(stream.recv(65536))
    held = bytearray(rest)
    theirKexInit = readPacket(stream, held)
    suite = negotiate(readKexInit(ourKexInit), readKexInit(theirKexInit), True, True)
    assert suite.kex == name
    assert suite.strict or b"kex-strict-s" not in theirKexInit
    method = KEX_METHODS[name].client(KexContext(OUR_VERSION, version, ourKexInit, theirKexInit))
    step = next(method)
    try:
        while True:
            if isinstance(step, Send):
                stream.sendall(packetOf(bytes((step.messageType,)) + step.payload))
                step = method.send(None)
            else:
                assert isinstance(step, Expect)
                payload = readPacket(stream, held)
                assert payload[0] == step.messageType
                step = method.send(payload[1:])
    except StopIteration as end:
        result: KexResult = end.value
        return result


def signatureFits(result: KexResult) -> bool:
    blob, signature = Reader(result.hostKeyBlob), Reader(result.signature)
    assert blob.string() == signature.string() == b"ssh-ed25519"
    try:
        Ed25519PublicKey.from_public_bytes(blob.string()).verify(
            signature.string(), result.exchangeHash
        )
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize("name", sorted(KEX_METHODS), ids=bytes.decode)
def test_D4_every_exchange_with_OpenSSH_is_signed_over_our_hash(
    name: bytes, configuration: Path
) -> None:
    if name not in serverKex():
        pytest.skip(f"this OpenSSH has no {name.decode()}")
    for _ in range(ROUNDS):
        with openSSH(configuration) as stream:
            assert signatureFits(exchange(stream, name))
