"""A peer or a child that does not read leaves the server's memory where it was.

Each test waits until nothing moves any more, so what is measured is the state that lasts.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from benchmarks.processes import treeOf
from tests.interop.host import Host

ALLOWED_GROWTH_BYTES = 32 * 1024 * 1024
SETTLE_SECONDS = 90.0


@pytest.fixture
def bounded(host: Host) -> Iterator[Host]:
    """The host, warmed up; its memory after the test's last step must be where it was."""
    host.ssh("head -c 20000000 /dev/zero; cat >/dev/null", input=bytes(20_000_000))
    host.waitUntilIdle()
    before = host.residentBytes()
    yield host
    host.waitUntilIdle()
    assert host.residentBytes() - before < ALLOWED_GROWTH_BYTES


def assertBounded(host: Host, before: int) -> None:
    host.waitUntilNothingMoves(SETTLE_SECONDS)
    # sshd is a process per connection: what is compared is the growth after the connection stood.
    grown = host.residentBytes() - before
    assert grown < ALLOWED_GROWTH_BYTES, f"{grown / 2**20:.1f} MiB more than before"
    # And it still serves others.
    assert host.ssh("echo still here").stdout == b"still here\n"


class TestClientThatDoesNotRead:
    def test_its_output_pipe_is_full(self, bounded: Host) -> None:
        before = bounded.residentBytes()
        with bounded.sshProcess(command=["yes"]):
            assertBounded(bounded, before)

    def test_it_is_stopped(self, bounded: Host) -> None:
        before = bounded.residentBytes()
        with bounded.sshProcess(command=["yes"]) as client:
            assert client.stdout
            client.stdout.read(1_000_000)
            os.killpg(client.pid, signal.SIGSTOP)
            assertBounded(bounded, before)

    def test_it_has_ten_such_sessions_on_one_connection(self, bounded: Host) -> None:
        before = bounded.residentBytes()
        with bounded.master() as through, ExitStack() as stack:
            for _ in range(10):
                stack.enter_context(bounded.sshProcess(through, command=["yes"]))
            assertBounded(bounded, before)

    def test_error_output(self, bounded: Host) -> None:
        before = bounded.residentBytes()
        with bounded.sshProcess(command=["yes >&2"]):
            assertBounded(bounded, before)

    def test_a_terminal(self, bounded: Host) -> None:
        before = bounded.residentBytes()
        with bounded.sshProcess("-tt", command=["yes"]):
            assertBounded(bounded, before)

    def test_it_keeps_rekeying(self, bounded: Host) -> None:
        before = bounded.residentBytes()
        with bounded.sshProcess("-o", "RekeyLimit=1M", command=["yes"]):
            assertBounded(bounded, before)

    def test_the_rest_comes_when_it_reads_again(self, bounded: Host) -> None:
        size = 50_000_000
        with bounded.sshProcess(command=[f"head -c {size} /dev/zero; exit 13"]) as client:
            bounded.waitUntilNothingMoves(SETTLE_SECONDS)
            assert client.stdout
            assert len(client.stdout.read()) == size
            assert client.wait(30) == 13


class TestChildThatDoesNotRead:
    @pytest.mark.parametrize("options", [(), ("-tt",)], ids=["pipe", "terminal"])
    def test_the_client_sends_without_end(self, bounded: Host, options: tuple[str, ...]) -> None:
        before = bounded.residentBytes()
        with open("/dev/zero", "rb") as endless:
            # With a terminal the line discipline takes no more than a line of input.
            command = ["stty raw -echo; sleep 3000"] if options else ["sleep 3000"]
            with bounded.sshProcess(*options, command=command, stdin=endless.fileno()):
                assertBounded(bounded, before)

    def test_five_such_sessions_on_one_connection(self, bounded: Host) -> None:
        # Each may leave a window of 2 MiB unread; sshd needs 38 MiB for ten of them.
        before = bounded.residentBytes()
        with (
            bounded.master() as through,
            open("/dev/zero", "rb") as endless,
            ExitStack() as stack,
        ):
            for _ in range(5):
                stack.enter_context(
                    bounded.sshProcess(through, command=["sleep 3000"], stdin=endless.fileno())
                )
            assertBounded(bounded, before)

    def test_everything_arrives_when_it_reads_at_last(self, bounded: Host) -> None:
        size = 20_000_000
        with bounded.sshProcess(
            command=["read first; cat | wc -c"], stdin=subprocess.PIPE
        ) as client:
            assert client.stdin
            assert client.stdout
            # `read` takes one byte at a time; the rest waits until the newline has come.
            client.stdin.write(b"go\n" + bytes(size))
            client.stdin.close()
            assert int(client.stdout.read()) == size


class TestConnections:
    def test_connections_leave_nothing(self, bounded: Host) -> None:
        for _ in range(5):
            bounded.ssh("head -c 1000000 /dev/zero; exit 0")
        bounded.waitUntilIdle()
        descriptors = descriptorsOf(bounded)
        for _ in range(30):
            bounded.ssh("head -c 100000 /dev/zero; exit 0")
        bounded.waitUntilIdle()
        assert descriptorsOf(bounded) <= descriptors

    def test_clients_that_are_killed_leave_nothing(self, bounded: Host) -> None:
        bounded.ssh("true")
        bounded.waitUntilIdle()
        descriptors = descriptorsOf(bounded)
        for _ in range(10):
            with bounded.sshProcess(command=["echo go; exec cat"], stdin=subprocess.PIPE) as client:
                assert client.stdout
                assert client.stdout.readline() == b"go\n"
        bounded.waitUntilIdle()
        assert descriptorsOf(bounded) <= descriptors


def descriptorsOf(host: Host) -> int:
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in treeOf(host.server.pid))
