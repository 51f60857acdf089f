"""Programs and libraries of others: found, or the test that needs them says so by name."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

SEARCH_PATH = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]
)


def inCI() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


def missing(name: str) -> None:
    """Skip the running test, or fail it in CI, where every peer has to be there."""
    message = f"{name} is not installed (script/setup test, as root, installs it)"
    if inCI():
        pytest.fail(message)
    pytest.skip(message)


def requirePeer(name: str) -> str:
    """The path of a program."""
    path = shutil.which(name, path=SEARCH_PATH)
    if path is None:
        missing(name)
    return str(path)


def requireModule(name: str) -> Any:
    """A Python library of the test environment."""
    try:
        return importlib.import_module(name)
    except ImportError:
        missing(f"the Python library {name}")
