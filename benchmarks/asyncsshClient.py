"""An AsyncSSH client that runs one command, written as AsyncSSH's documentation shows it.

    python -m benchmarks.asyncsshClient PORT USER KEY CIPHER MAC|- COMMAND

Output is handed to AsyncSSH's redirection. Input is read and written here, a piece at a time:
redirected from a file it costs twice as much.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import asyncssh

PIECE = 262144


def connecting(port: int, user: str, key: str, cipher: str, mac: str) -> Any:
    """A connection, to be entered by `async with`.

    Args:
        mac: A name, or "-" where the cipher needs none.
    """
    return asyncssh.connect(
        "127.0.0.1",
        port,
        username=user,
        client_keys=[key],
        known_hosts=None,
        config=[],
        agent_path=None,
        kex_algs=["curve25519-sha256"],
        server_host_key_algs=["ssh-ed25519"],
        encryption_algs=[cipher],
        mac_algs=() if mac == "-" else [mac],
    )


async def runCommand(port: int, user: str, key: str, cipher: str, mac: str, command: str) -> int:
    async with (
        connecting(port, user, key, cipher, mac) as connection,
        connection.create_process(
            command, stdout=sys.stdout.buffer, stderr=sys.stderr.buffer, encoding=None
        ) as process,
    ):
        while data := sys.stdin.buffer.read(PIECE):
            process.stdin.write(data)
            await process.stdin.drain()
        process.stdin.write_eof()
        done = await process.wait()
        return int(done.returncode or 0)


if __name__ == "__main__":
    sys.exit(asyncio.run(runCommand(int(sys.argv[1]), *sys.argv[2:7])))
