"""`limpet agent`: times, and what a shell is told. The rest is in tests/interop/test_agent.py."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from limpet.scripts.agent import lineFor, parseLifetime, run
from limpet.scripts.mistakes import Mistake
from tests.unit.scripts.programs import PATIENCE_SECONDS, environmentIn


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("30m", 1800), ("1h30m", 5400), ("1H5", 3605), ("2w", 1209600), ("1d1s", 86401)],
)
def test_times(text: str, seconds: int) -> None:
    assert parseLifetime(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "m", "1y", "-1", "1.5", "²", "9" * 20, "4294967296"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(Mistake):
        parseLifetime(text)


@pytest.mark.parametrize("option", ["-k", "--bogus"])
def test_an_option_that_is_none_is_no_program(option: str) -> None:
    with pytest.raises(Mistake, match=f"there is no option {option}"):
        run(None, None, False, [option])


def test_the_line_is_safe_for_a_shell() -> None:
    assert lineFor("/tmp/a b;c", 7) == (
        "SSH_AUTH_SOCK='/tmp/a b;c'; export SSH_AUTH_SOCK; SSH_AGENT_PID=7; export SSH_AGENT_PID;\n"
    )


def test_left_behind_it_holds_nothing_of_whoever_started_it(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "limpet", "agent", "-a", "socket"],
        env=environmentIn(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    found = re.search(r"SSH_AUTH_SOCK=(\S+);.*SSH_AGENT_PID=(\d+);", told.stdout)
    assert found
    path, pid = Path(found[1]), int(found[2])
    try:
        assert path == tmp_path / "socket"
        assert path.is_socket()
        place = Path(f"/proc/{pid}")
        assert os.readlink(place / "cwd") == "/"
        assert {os.readlink(place / f"fd/{number}") for number in range(3)} == {os.devnull}
        assert os.getsid(pid) == pid
    finally:
        os.kill(pid, signal.SIGTERM)
