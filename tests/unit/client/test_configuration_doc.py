"""docs/configuration.md names every keyword, and says of each what the table of keywords says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from limpet.core.sshconfig.keywords import KEYWORDS, Support

DOC = Path(__file__).resolve().parents[3] / "docs" / "configuration.md"

HEADINGS = {
    Support.HEEDED: "Heeded:",
    Support.MISSING: "Not heeded, and told as a warning",
    Support.COMFORT: "Not heeded, and told as a note",
    Support.IDLE: "About what another keyword, or a letter, would turn on",
}


@pytest.mark.parametrize("support", list(Support))
def test_the_list_of_keywords_is_that_of_the_code(support: Support) -> None:
    paragraphs = DOC.read_text(encoding="utf-8").split("\n\n")
    at = next(n for n, text in enumerate(paragraphs) if text.startswith(HEADINGS[support]))
    named = re.findall(r"`(\w+)`", paragraphs[at + 1])
    wanted = [word.name for word in KEYWORDS.values() if word.support is support]
    assert named == sorted(wanted, key=str.lower)
