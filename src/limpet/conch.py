"""Runs a program written for Twisted Conch on Limpet: `python -m limpet.conch -- twistd …`.

Rule: the program runs in this process as if it had been started itself, after
`limpet.install_as_conch()`; its arguments, its output and its exit status are its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import runpy
import shutil
import sys
import zipfile
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points

from limpet.core.negotiation import PROFILES
from limpet.dropin import ConchAlreadyLoaded, install_as_conch

NOT_FOUND = 127
"""Exit status where there is no such program; a shell's own."""

CANNOT_RUN = 126
"""Exit status where there is one that is not Python's; a shell's own."""

_EXAMPLES = """\
examples:
  python -m limpet.conch -- twistd -n conch --port tcp:2222
  python -m limpet.conch --algorithms legacy -- twistd -n cowrie
  python -m limpet.conch -- ./server.py --its-own-options
  python -m limpet.conch -m package.server
"""

_SEEN = 4096
"""How much of a file is looked at to see what it is, in bytes (ours)."""


class CannotRun(Exception):
    """Why a program is not run, for the person who asked; and the exit status."""

    def __init__(self, words: str, status: int) -> None:
        super().__init__(words)
        self.status = status


def main(arguments: Sequence[str]) -> int:
    """Install Limpet in Conch's place and run a program.

    Args:
        arguments: Options of ours, then the program and its own arguments.

    Returns:
        The exit status, where the program ends without `SystemExit`.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.program:
        parser.print_help(sys.stderr)
        return 2
    sys.argv = [options.program, *options.arguments]
    try:
        install_as_conch(options.algorithms)
        run = _findModule(options.program) if options.module else _findProgram(options.program)
    except (ConchAlreadyLoaded, CannotRun) as error:
        print(f"limpet.conch: {error}", file=sys.stderr)  # noqa: T201 - this is a command
        return getattr(error, "status", 1)
    status = run()
    if status is None or isinstance(status, int):
        return status or 0
    sys.exit(str(status))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m limpet.conch",
        usage="%(prog)s [-h] [--algorithms PROFILE] [--] PROGRAM [ARGUMENT]...\n"
        "       %(prog)s [-h] [--algorithms PROFILE] -m MODULE [ARGUMENT]...",
        description="Run a program with Limpet in the place of Twisted Conch.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    profiles = ", ".join(sorted(PROFILES))
    parser.add_argument(
        "--algorithms",
        choices=sorted(PROFILES),
        metavar="PROFILE",
        help=f"what SSH transports offer: {profiles}",
    )
    parser.add_argument("-m", dest="module", action="store_true", help="run a module by its name")
    parser.add_argument(
        "program",
        metavar="PROGRAM",
        nargs="?",
        help="a command such as twistd, or the path of a Python file",
    )
    parser.add_argument(
        "arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER, help="the program's own"
    )
    return parser


def _findModule(name: str) -> Callable[[], object]:
    """What runs a module as `python -m` does.

    Raises:
        CannotRun: There is none of that name.
    """
    sys.path[0] = os.getcwd()
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        # A package that is there, and lacks something else, tells so by itself.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        spec = None
    if spec is None:
        raise CannotRun(f"there is no module {name!r}", NOT_FOUND)

    def run() -> None:
        runpy.run_module(name, run_name="__main__", alter_sys=True)

    return run


def _findProgram(name: str) -> Callable[[], object]:
    """What runs a Python file, or an installed command that is written in Python.

    Raises:
        CannotRun: There is none of that name, or it is not Python's.
    """
    path = name
    if os.sep not in name and not (name.endswith(".py") and os.path.isfile(name)):
        for command in entry_points(group="console_scripts", name=name):
            function: Callable[[], object] = command.load()
            return function
        beside = os.path.join(os.path.dirname(sys.executable), name)
        path = beside if os.path.isfile(beside) else shutil.which(name) or name
    if not os.path.exists(path):
        raise CannotRun(f"there is no program {name!r}", NOT_FOUND)
    if not _isPython(path):
        raise CannotRun(
            f"{path} is not written in Python; if it starts a program that is, "
            "that one has to be started by python -m limpet.conch",
            CANNOT_RUN,
        )
    sys.argv[0] = path
    sys.path[0] = os.path.dirname(os.path.abspath(path))

    def run() -> None:
        runpy.run_path(path, run_name="__main__")

    return run


def _isPython(path: str) -> bool:
    """Whether `runpy` can make something of it: source, or an archive or folder of modules.

    Raises:
        CannotRun: It cannot be read.
    """
    if os.path.isdir(path):
        if os.path.isfile(os.path.join(path, "__main__.py")):
            return True
        raise CannotRun(f"{path} is a folder without a __main__.py", CANNOT_RUN)
    try:
        with open(path, "rb") as file:
            start = file.read(_SEEN)
    except OSError as error:
        raise CannotRun(f"{path}: {error.strerror}", CANNOT_RUN) from None
    if path.endswith(".pyc") or zipfile.is_zipfile(path):
        return True
    firstLine = start.partition(b"\n")[0]
    # pip makes `sh` the first line where Python's path is too long for one, and execs it below.
    names = firstLine if b"'''exec'" not in start else b"python"
    return b"\0" not in start and (not names.startswith(b"#!") or b"py" in names)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
