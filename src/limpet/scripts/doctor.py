"""`limpet conch-doctor`: what in a program for Twisted Conch needs attention before it runs here.

Rule: one line for each thing, PATH:LINE first, so that editors can follow it.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

import click

from limpet.doctor import Reading, Verdict, readTree
from limpet.scripts.mistakes import Mistake


def run(target: str, showsSame: bool) -> int:
    """Read a program and report.

    Args:
        target: A file, a directory or the name of a module that can be imported.
        showsSame: Whether what is the same is listed as well.

    Returns:
        The exit status: 1 where something is missing, else 0.
    """
    reading = readTree(_locate(target))
    if not reading.files and not reading.unreadable:
        raise Mistake(f"there are no Python files in {target!r}")
    for finding in reading.findings:
        if finding.verdict is not Verdict.SAME or showsSame:
            place = f"{finding.path}:{finding.line}"
            advice = f": {finding.advice}" if finding.advice else ""
            click.echo(f"{place}: {finding.verdict.value}: {finding.name}{advice}")
    for path, why in reading.unreadable.items():
        click.echo(f"{path}: cannot be read: {why}", err=True)
    if not reading.files:
        raise Mistake("nothing could be read")
    click.echo(_summary(reading))
    if reading.importsConch and not reading.installs:
        click.echo(_HOW_TO_START)
    return int(any(finding.verdict is Verdict.MISSING for finding in reading.findings))


def _locate(target: str) -> Path:
    """The file or folder of what was named.

    Raises:
        Mistake: There is none.
    """
    if not target:
        raise Mistake("the name is empty; give a file, a folder or a module's name")
    path = Path(target)
    if path.exists():
        return path
    spec = _findSpec(target)
    if spec is None:
        raise Mistake(f"there is no file, folder or module {target!r}")
    if spec.submodule_search_locations:
        return Path(list(spec.submodule_search_locations)[0])
    if not spec.has_location or spec.origin is None or not spec.origin.endswith(".py"):
        raise Mistake(f"{target!r} is a part of Python, or compiled; there is no source to read")
    return Path(spec.origin)


def _findSpec(name: str) -> ModuleSpec | None:
    """Where a module is. Nothing is imported: `importlib.util.find_spec` would run its packages."""
    whole, *inner = name.split(".")
    try:
        spec = importlib.util.find_spec(whole)
        for part in inner:
            if spec is None:
                return None
            whole = f"{whole}.{part}"
            spec = PathFinder.find_spec(whole, spec.submodule_search_locations or ())
    except (ImportError, ValueError):
        return None
    return spec


def _summary(reading: Reading) -> str:
    counts = Counter(finding.verdict for finding in reading.findings)
    files = "1 file" if reading.files == 1 else f"{reading.files} files"
    if not counts:
        return f"{files}: no use of twisted.conch"
    uses = "1 use" if len(reading.findings) == 1 else f"{len(reading.findings)} uses"
    return (
        f"{files}, {uses} of Conch: {counts[Verdict.SAME]} the same,"
        f" {counts[Verdict.DIFFERS]} different, {counts[Verdict.MISSING]} missing"
    )


_HOW_TO_START = (
    "to start it on Limpet: python -m limpet.conch -- PROGRAM,"
    " or limpet.install_as_conch() before its first import of Conch"
)
