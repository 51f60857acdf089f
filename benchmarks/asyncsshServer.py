"""An AsyncSSH server that runs commands, written as AsyncSSH's documentation shows it.

    python -m benchmarks.asyncsshServer PORT HOST_KEY AUTHORIZED_KEYS

The command's pipes are handed to `redirect`, so AsyncSSH moves the data without any code here.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys

import asyncssh


async def runCommand(process: asyncssh.SSHServerProcess[bytes]) -> None:
    child = subprocess.Popen(
        process.command or "true",
        shell=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
    await process.stdout.drain()
    process.exit(await asyncio.to_thread(child.wait))


async def serve(port: int, hostKey: str, authorizedKeys: str) -> None:
    await asyncssh.listen(
        "127.0.0.1",
        port,
        server_host_keys=[hostKey],
        authorized_client_keys=authorizedKeys,
        process_factory=runCommand,
        sftp_factory=True,
        encoding=None,
    )
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), *sys.argv[2:4]))
