"""Talks to a program far away while it runs: writes a line, reads its answer, and so on.

    python examples/conversation.py [user@]HOST

The program is `sh`; it is given one sum after the other, and works out each.
"""

from __future__ import annotations

import asyncio
import sys

from limpet import aio

SUMS = ("1 + 1", "6 * 7", "1000 / 8")


async def main(host: str) -> None:
    async with aio.connect(host) as client:
        # What it writes to standard error comes in its place among its output.
        process = await client.start("sh", stderr=aio.STDOUT)
        for line in SUMS:
            process.write(f"echo $(({line}))\n".encode())
            answer = await process.read_until(b"\n")
            print(f"{line} = {answer.decode().strip()}")
        process.write_eof()
        ending = await process.wait()
        print(f"sh ended with status {ending.exit_status}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print("usage: conversation.py [user@]HOST", file=sys.stderr)
        sys.exit(2)
    asyncio.run(main(*sys.argv[1:]))
