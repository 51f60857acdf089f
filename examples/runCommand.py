"""Runs one command far away, and passes on what it writes and how it ended.

    python examples/runCommand.py [user@]HOST COMMAND...

Keys, agent, known hosts and everything else are those of the user's `~/.ssh`.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import react

import limpet
from limpet.client.errors import ClientError


async def main(host: str, *command: str) -> None:
    try:
        async with await limpet.connect(host) as client:
            result = await client.run(" ".join(command))
    except ClientError as error:
        # The text says what happened, what both sides offered, and which setting changes it.
        sys.exit(f"runCommand: {error}")
    sys.stdout.buffer.write(result.stdout)
    sys.stderr.buffer.write(result.stderr)
    if result.exitSignal is not None:
        sys.exit(f"runCommand: ended by signal {result.exitSignal}")
    sys.exit(result.exitStatus)


def start(reactor: Any, *arguments: str) -> Any:
    return ensureDeferred(main(*arguments))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        print("usage: runCommand.py [user@]HOST COMMAND...", file=sys.stderr)
        sys.exit(2)
    react(start, sys.argv[1:])
