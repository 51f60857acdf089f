"""An AsyncSSH client that transfers files, written as AsyncSSH's documentation shows it.

    python -m benchmarks.asyncsshFiles PORT USER KEY CIPHER MAC|- <COMMANDS

Each line of standard input is `get SOURCE TARGET`, `put SOURCE TARGET` or `pwd`; `-R` before the
source copies a directory.
"""

from __future__ import annotations

import asyncio
import sys

import asyncssh


async def transfer(port: int, user: str, key: str, cipher: str, mac: str) -> None:
    async with (
        asyncssh.connect(
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
        ) as connection,
        connection.start_sftp_client() as files,
    ):
        for line in sys.stdin:
            name, *arguments = line.split()
            recurse = "-R" in arguments
            if name == "pwd":
                await files.getcwd()
            else:
                copy = files.get if name == "get" else files.put
                await copy(*arguments[recurse:], recurse=recurse)


if __name__ == "__main__":
    asyncio.run(transfer(int(sys.argv[1]), *sys.argv[2:6]))
