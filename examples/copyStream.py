"""Sends a local file through a command far away and stores what comes back, in bounded memory.

    python examples/copyStream.py [user@]HOST COMMAND SOURCE TARGET

`gzip -c` as the command compresses the file over there. Neither file is ever in memory as a whole:
nothing is read that the command does not take, and nothing is taken that was not written.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import BinaryIO

from limpet import aio

PIECE = 65536


async def send(process: aio.Process, source: BinaryIO) -> None:
    while data := source.read(PIECE):
        process.write(data)
        await process.drain()
    process.write_eof()


async def receive(process: aio.Process, target: BinaryIO) -> None:
    while data := await process.read():
        target.write(data)


async def main(host: str, command: str, source: str, target: str) -> int:
    async with aio.connect(host) as client:
        process = await client.start(command, stderr=aio.DISCARD)
        with Path(source).open("rb") as reading, Path(target).open("wb") as writing:
            await asyncio.gather(send(process, reading), receive(process, writing))
        ending = await process.wait()
        return ending.exit_status or 0


if __name__ == "__main__":
    if len(sys.argv) != 5:
        print("usage: copyStream.py [user@]HOST COMMAND SOURCE TARGET", file=sys.stderr)
        sys.exit(2)
    sys.exit(asyncio.run(main(*sys.argv[1:])))
