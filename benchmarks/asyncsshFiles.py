"""An AsyncSSH client that transfers files, written as AsyncSSH's documentation shows it.

    python -m benchmarks.asyncsshFiles PORT USER KEY CIPHER MAC|- <COMMANDS

Each line of standard input is `get SOURCE TARGET`, `put SOURCE TARGET` or `pwd`; `-R` before the
source copies a directory.
"""

from __future__ import annotations

import asyncio
import sys

from benchmarks.asyncsshClient import connecting


async def transfer(port: int, user: str, key: str, cipher: str, mac: str) -> None:
    async with (
        connecting(port, user, key, cipher, mac) as connection,
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
