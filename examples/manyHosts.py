"""Runs one command on many hosts at once, with asyncio; at most ten connections at a time.

    python examples/manyHosts.py COMMAND [user@]HOST...

A host that cannot be reached is one line of the answer, and does not keep the others waiting.
"""

from __future__ import annotations

import asyncio
import sys

from limpet import aio

AT_ONCE = 10
CONNECT_SECONDS = 10
COMMAND_SECONDS = 60.0


async def run(host: str, command: str, turn: asyncio.Semaphore) -> tuple[str, str, bool]:
    """What the host answers: its name, a text, and whether all went well."""
    async with turn:
        try:
            async with aio.connect(host, options={"ConnectTimeout": CONNECT_SECONDS}) as client:
                result = await client.run(command, check=True, timeout=COMMAND_SECONDS)
        except aio.ClientError as error:
            return host, str(error).partition("\n")[0], False
        return host, result.stdout.decode("utf-8", "replace").rstrip("\n"), True


async def main(command: str, *hosts: str) -> int:
    turn = asyncio.Semaphore(AT_ONCE)
    failed = 0
    for answer in asyncio.as_completed([run(host, command, turn) for host in hosts]):
        host, text, succeeded = await answer
        print(f"{host}: {text}")
        failed += not succeeded
    return failed


if __name__ == "__main__":
    if len(sys.argv) < 3:
        print("usage: manyHosts.py COMMAND [user@]HOST...", file=sys.stderr)
        sys.exit(2)
    sys.exit(asyncio.run(main(*sys.argv[1:])))
