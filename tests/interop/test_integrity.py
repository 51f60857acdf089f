"""Nothing is lost, doubled or reordered: bulk data under every cipher, and many short commands.

The rule is 64 MiB per cipher and direction, and 1 GiB once each way; LIMPET_FULL=1 moves 1 GiB for
every cipher.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Protocol

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from benchmarks.servers import Workplace
from tests.interop.host import Host
from tests.interop.peers import requireModule

MEBIBYTE = 1024 * 1024
GIBIBYTE = 1024 * MEBIBYTE
FULL = os.environ.get("LIMPET_FULL", "") not in ("", "0")
RULE_BYTES = GIBIBYTE if FULL else 64 * MEBIBYTE
BULK_SECONDS = 280.0
CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
ETM = ("-m", "hmac-sha2-256-etm@openssh.com")
COMMANDS = 1000
# A login shell may read start-up files that take a tenth of a second each time.
SLOW_SECONDS = 900.0


class Material:
    """Data that no two blocks of are equal, so that a lost or swapped one changes the digest."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        # The key is fixed and not a secret: what is wanted is a stream that does not repeat.
        stream = Cipher(algorithms.AES(bytes(16)), modes.CTR(bytes(16))).encryptor()
        zeros, digest = bytes(MEBIBYTE), hashlib.sha256()
        with path.open("wb") as file:
            for _ in range(size // MEBIBYTE):
                block = stream.update(zeros)
                digest.update(block)
                file.write(block)
        self.digest = digest.hexdigest()


@pytest.fixture(scope="module")
def rule(work: Workplace) -> Iterator[Material]:
    material = Material(work.directory / "rule", RULE_BYTES)
    yield material
    material.path.unlink()


@pytest.fixture(scope="module")
def gibibyte(work: Workplace) -> Iterator[Material]:
    material = Material(work.directory / "gibibyte", GIBIBYTE)
    yield material
    material.path.unlink()


class Way(Protocol):
    """`download` or `upload`."""

    def __call__(self, host: Host, material: Material, *options: str) -> None: ...


def digestOf(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := stream.read(MEBIBYTE):
        digest.update(block)
    return digest.hexdigest()


def download(host: Host, material: Material, *options: str) -> None:
    with host.sshProcess(*options, command=[f"cat {material.path}; exit 11"]) as client:
        assert client.stdout
        assert digestOf(client.stdout) == material.digest
        assert client.wait(30) == 11


def upload(host: Host, material: Material, *options: str) -> None:
    with material.path.open("rb") as file:
        done = subprocess.run(
            [*host.sshCommand(*options), host.destination, "sha256sum; exit 12"],
            stdin=file,
            capture_output=True,
            timeout=BULK_SECONDS,
            check=False,
        )
    assert (done.returncode, done.stdout.split()[:1]) == (12, [material.digest.encode()]), (
        done.stderr
    )


class TestBulk:
    @pytest.mark.parametrize("cipher", CIPHERS)
    @pytest.mark.parametrize("way", [download, upload], ids=["download", "upload"])
    def test_cipher(self, host: Host, rule: Material, cipher: str, way: Way) -> None:
        way(host, rule, "-c", cipher, *ETM)

    @pytest.mark.parametrize("mac", ["hmac-sha2-256", "hmac-sha2-512"])
    @pytest.mark.parametrize("way", [download, upload], ids=["download", "upload"])
    def test_mac_over_the_plain_text(self, host: Host, rule: Material, mac: str, way: Way) -> None:
        way(host, rule, "-c", "aes128-ctr", "-m", mac)

    @pytest.mark.parametrize("cipher", CIPHERS)
    @pytest.mark.parametrize("way", [download, upload], ids=["download", "upload"])
    def test_rekeying_every_mebibyte(
        self, host: Host, rule: Material, cipher: str, way: Way
    ) -> None:
        way(host, rule, "-c", cipher, *ETM, "-o", "RekeyLimit=1M")

    @pytest.mark.slow
    def test_a_gibibyte_down(self, host: Host, gibibyte: Material) -> None:
        download(host, gibibyte, "-c", "aes128-gcm@openssh.com")

    @pytest.mark.slow
    def test_a_gibibyte_up(self, host: Host, gibibyte: Material) -> None:
        upload(host, gibibyte, "-c", "aes128-gcm@openssh.com")

    @pytest.mark.slow
    def test_a_gibibyte_down_rekeying_every_mebibyte(self, host: Host, gibibyte: Material) -> None:
        download(host, gibibyte, "-o", "RekeyLimit=1M")

    @pytest.mark.slow
    def test_a_gibibyte_up_rekeying_every_mebibyte(self, host: Host, gibibyte: Material) -> None:
        upload(host, gibibyte, "-o", "RekeyLimit=1M")

    def test_both_ways_at_once(self, host: Host, rule: Material) -> None:
        command = [*host.sshCommand(), host.destination, "cat"]
        with (
            rule.path.open("rb") as file,
            subprocess.Popen(command, stdin=file, stdout=subprocess.PIPE) as client,
        ):
            try:
                assert client.stdout
                assert digestOf(client.stdout) == rule.digest
                assert client.wait(30) == 0
            finally:
                client.kill()

    def test_five_streams_on_one_connection(self, host: Host, rule: Material) -> None:
        with host.master() as through, ThreadPoolExecutor(5) as pool:
            jobs = [
                pool.submit(way, host, rule, through)
                for way in (download, upload, download, upload, download)
            ]
            for job in jobs:
                job.result(BULK_SECONDS)


class TestShortCommands:
    # Three streams of sizes around a packet and a window, and a status that differs every time.
    # What stands before the mark is the shell's: its start-up files may have words of their own.
    MARK = b"\x01"
    SCRIPT = (
        "printf '\\001' >&2; head -c {out} /dev/zero; head -c {err} /dev/zero >&2; exit {status}"
    )

    @staticmethod
    def expected(number: int) -> tuple[int, int, int]:
        """Bytes of output and of error output, and the exit status."""
        return number * 37 % 70_001, number * 11 % 5_003, number % 250

    def check(self, host: Host, number: int, *options: str) -> None:
        out, err, status = self.expected(number)
        done = host.ssh(self.SCRIPT.format(out=out, err=err, status=status), *options)
        found = (done.returncode, len(done.stdout), self.errorLength(done.stderr))
        assert found == (status, out, err)

    def errorLength(self, error: bytes) -> int:
        """How many bytes of error output the command itself wrote."""
        _, mark, own = error.partition(self.MARK)
        assert mark
        return len(own)

    @pytest.mark.slow
    @pytest.mark.timeout(SLOW_SECONDS)
    def test_a_thousand_in_a_row_on_one_connection(self, host: Host) -> None:
        # AsyncSSH's client: a new `ssh` process each would take longer than the commands.
        asyncssh = requireModule("asyncssh")

        async def run() -> None:
            async with asyncssh.connect(
                "127.0.0.1",
                host.port,
                username=host.user,
                client_keys=[str(host.work.clientKey)],
                known_hosts=str(host.knownHosts),
                agent_path=None,
                config=None,
            ) as connection:
                for number in range(COMMANDS):
                    out, err, status = self.expected(number)
                    script = self.SCRIPT.format(out=out, err=err, status=status)
                    done = await connection.run(script, encoding=None)
                    assert isinstance(done.stderr, bytes)
                    found = (len(done.stdout), self.errorLength(done.stderr), done.exit_status)
                    assert found == (out, err, status)

        asyncio.run(asyncio.wait_for(run(), SLOW_SECONDS))

    def test_two_hundred_in_a_row_through_a_master(self, host: Host) -> None:
        with host.master() as through:
            for number in range(0, COMMANDS, 5):
                self.check(host, number, through)

    def test_fifty_with_a_connection_each(self, host: Host) -> None:
        for number in range(0, COMMANDS, 20):
            self.check(host, number)

    def test_ten_at_a_time_on_one_connection(self, host: Host) -> None:
        with host.master() as through, ThreadPoolExecutor(9) as pool:
            jobs = [pool.submit(self.check, host, number, through) for number in range(200)]
            for job in jobs:
                job.result(60)
