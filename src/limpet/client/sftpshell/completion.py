"""Completing what is being typed: commands, remote paths, local paths.

Rule: a completion is text that the shell reads back as the one name it stands for, whatever
characters are in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from limpet.client.filecopy.names import join
from limpet.client.sftpshell.shell import ALIASES, COMMANDS
from limpet.client.sftpshell.words import Word, quoted, splitOpen

Lister = Callable[[bytes], Iterable[tuple[bytes, bool]]]
"""Lists a directory: (name, whether it is a directory)."""


def completions(line: bytes, remote: Lister, local: Lister) -> list[bytes]:
    """What the last word of `line` may become, with a space or slash at its end.

    Args:
        line: The line up to the cursor.
        remote: Lists a remote directory; b"" is the one that the shell is in.
        local: The same for local ones.
    """
    words = splitOpen(line)
    inWord = bool(words) and (
        bool(words[-1].quote) or not line[-1:].isspace() or line.endswith(b"\\ ")
    )
    last = words[-1] if inWord else Word(b"", len(line))
    before = words[:-1] if inWord else words
    if not before:
        typed = last.literal.lower()
        known = sorted({*COMMANDS, *ALIASES})
        return [name.encode() + b" " for name in known if name.encode().startswith(typed)]
    name = before[0].literal.decode("utf-8", "replace").lower()
    command = COMMANDS.get(ALIASES.get(name, name))
    if command is None or not command.completes or last.pattern.startswith(b"-"):
        return []
    index = sum(not word.pattern.startswith(b"-") for word in before) - 1
    kind = command.completes[min(index, len(command.completes) - 1)]
    if kind == "remote":
        return _paths(last, remote)
    if kind == "local":
        return _paths(last, local)
    return []


def _paths(word: Word, lister: Lister) -> list[bytes]:
    directory, slash, start = word.literal.rpartition(b"/")
    found = []
    for name, isDirectory in sorted(lister(directory or slash)):
        if not name.startswith(start) or (name.startswith(b".") and not start.startswith(b".")):
            continue
        path = join(directory, name) if directory or not slash else slash + name
        ending = b"/" if isDirectory else (word.quote + b" ")
        found.append(word.quote + quoted(path, word.quote) + ending)
    return found


def localNames(directory: bytes) -> list[tuple[bytes, bool]]:
    """The entries of a local directory; none of one that cannot be read."""
    try:
        with os.scandir(os.path.expanduser(directory or b".")) as found:
            return [(item.name, item.is_dir()) for item in found]
    except OSError:
        return []
