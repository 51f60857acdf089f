"""Fetches a directory, tells its progress, and goes on where an earlier run was cut.

    python examples/fetchTree.py [user@]HOST REMOTE_DIRECTORY LOCAL_DIRECTORY

The copy is LOCAL_DIRECTORY/NAME, where NAME is that of the remote directory.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

import limpet
from limpet.client.filecopy import CopyFailed, Progress


def tell(progress: Progress) -> None:
    if progress.state == "ends":
        print(f"{progress.path.decode(errors='replace')}: {progress.done} bytes")


async def main(reactor: Any, host: str, remote: str, local: str) -> None:
    async with await limpet.connect(host) as client:
        files = await client.files()
        os.makedirs(local, exist_ok=True)  # the copy goes into it, at every run
        try:
            result = await files.get(
                remote, local, recursive=True, preserve=True, resume=True, progress=tell
            )
        except CopyFailed as failure:
            for problem in failure.problems:
                print(f"not copied: {problem}", file=sys.stderr)
            sys.exit(1)
        print(f"{result.files} files, {result.bytesMoved} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        print(
            "usage: fetchTree.py [user@]HOST REMOTE_DIRECTORY LOCAL_DIRECTORY",
            file=sys.stderr,
        )
        sys.exit(2)
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, *sys.argv[1:])))
