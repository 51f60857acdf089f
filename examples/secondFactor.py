"""Logs in with a password and a code, the two that a server asks for one after the other.

    python examples/secondFactor.py [user@]HOST COMMAND

The code comes from the user here; it could as well come from a program that makes it.
"""

from __future__ import annotations

import asyncio
import getpass
import sys

from limpet import aio


async def answer(title: bytes, text: bytes, prompts: list[tuple[bytes, bool]]) -> list[bytes]:
    """Answers to what the server asks: each prompt, and whether what is typed may be seen."""
    for line in (title, text):
        if line:
            print(line.decode("utf-8", "replace"))
    answers = []
    for prompt, echo in prompts:
        ask = input if echo else getpass.getpass
        # In a thread of its own, since it waits for a person.
        typed = await asyncio.to_thread(ask, prompt.decode("utf-8", "replace"))
        answers.append(typed.encode())
    return answers


async def main(host: str, command: str) -> None:
    options = {"PreferredAuthentications": "keyboard-interactive"}
    async with aio.connect(host, answer=answer, options=options) as client:
        result = await client.run(command, check=True)
        print(result.stdout.decode(), end="")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print("usage: secondFactor.py [user@]HOST COMMAND", file=sys.stderr)
        sys.exit(2)
    asyncio.run(main(*sys.argv[1:]))
