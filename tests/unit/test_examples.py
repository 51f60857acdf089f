"""The programs in `examples/`, started as a person starts one who does not know what they take."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_withoutArgumentsItTellsWhatItTakes(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, path], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    described = ast.get_docstring(ast.parse(path.read_text())) or ""
    arguments = described.splitlines()[2].strip().removeprefix(f"python examples/{path.name} ")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"usage: {path.name} {arguments}\n"


def test_thereAreExamples() -> None:
    assert len(EXAMPLES) > 5
