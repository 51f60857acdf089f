"""`limpet agent`: times, and what a shell is told. The rest is in tests/interop/test_agent.py."""

from __future__ import annotations

import pytest

from limpet.scripts.agent import lineFor, parseLifetime, run
from limpet.scripts.mistakes import Mistake


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
