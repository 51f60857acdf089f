"""`limpet conch-doctor`: what in a program for Twisted Conch needs attention before it runs here.

Rule: one line for each thing, PATH:LINE first, so that editors can follow it.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
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
    for finding in reading.findings:
        if finding.verdict is not Verdict.SAME or showsSame:
            place = f"{finding.path}:{finding.line}"
            advice = f": {finding.advice}" if finding.advice else ""
            click.echo(f"{place}: {finding.verdict.value}: {finding.name}{advice}")
    for path, why in reading.unreadable.items():
        click.echo(f"{path}: cannot be read: {why}", err=True)
    click.echo(_summary(reading))
    return int(any(finding.verdict is Verdict.MISSING for finding in reading.findings))


def _locate(target: str) -> Path:
    path = Path(target)
    if path.exists():
        return path
    try:
        spec = importlib.util.find_spec(target)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        raise Mistake(f"there is no file, folder or module {target!r}")
    origin = Path(spec.origin)
    return origin.parent if spec.submodule_search_locations else origin


def _summary(reading: Reading) -> str:
    counts = Counter(finding.verdict for finding in reading.findings)
    files = "1 file" if reading.files == 1 else f"{reading.files} files"
    if not counts:
        return f"{files}: no use of twisted.conch"
    told = ", ".join(f"{counts[verdict]} {_WORDS[verdict]}" for verdict in Verdict)
    return f"{files}: of the uses of Conch {told}"


_WORDS = {
    Verdict.SAME: "are the same",
    Verdict.DIFFERS: "differ",
    Verdict.MISSING: "are missing",
}
