"""Runs a program written for Twisted Conch on Limpet: `python -m limpet.conch -- twistd …`.

Rule: the program runs in this process as if it had been started itself, after
`limpet.install_as_conch()`; its arguments, its output and its exit status are its own.
"""

from __future__ import annotations

import argparse
import os
import runpy
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points

from limpet.core.negotiation import PROFILES
from limpet.dropin import ConchAlreadyLoaded, install_as_conch

NOT_FOUND = 127
"""Exit status where there is no such program; a shell's own."""


def main(arguments: Sequence[str]) -> int:
    """Install Limpet in Conch's place and run a program.

    Args:
        arguments: Options of ours, then the program and its own arguments.

    Returns:
        The exit status, where the program ends without `SystemExit`.
    """
    parser = argparse.ArgumentParser(
        prog="python -m limpet.conch",
        description="Run a program with Limpet in the place of Twisted Conch.",
    )
    parser.add_argument(
        "--algorithms",
        choices=sorted(PROFILES),
        metavar="PROFILE",
        help=f"what SSH transports offer: {', '.join(sorted(PROFILES))}",
    )
    parser.add_argument("-m", dest="module", action="store_true", help="PROGRAM is a module's name")
    parser.add_argument(
        "program",
        metavar="PROGRAM",
        help="a command such as twistd, or the path of a Python file",
    )
    parser.add_argument("arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    try:
        install_as_conch(options.algorithms)
    except ConchAlreadyLoaded as error:
        print(f"limpet.conch: {error}", file=sys.stderr)  # noqa: T201 - this is a command
        return 1
    sys.argv = [options.program, *options.arguments]
    if options.module:
        sys.path[0] = os.getcwd()
        runpy.run_module(options.program, run_name="__main__", alter_sys=True)
        return 0
    return _runProgram(options.program)


def _runProgram(program: str) -> int:
    """Run a Python file, or an installed command that is written in Python."""
    isFile = os.sep in program or (program.endswith(".py") and os.path.isfile(program))
    if not isFile:
        for command in entry_points(group="console_scripts", name=program):
            sys.argv[0] = program
            status = command.load()()
            if status is None or isinstance(status, int):
                return status or 0
            sys.exit(status)
        beside = os.path.join(os.path.dirname(sys.executable), program)
        program = beside if os.path.exists(beside) else shutil.which(program) or program
    if not os.path.isfile(program):
        print(f"limpet.conch: there is no program {program!r}", file=sys.stderr)  # noqa: T201
        return NOT_FOUND
    sys.argv[0] = program
    sys.path[0] = os.path.dirname(os.path.abspath(program))
    runpy.run_path(program, run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
