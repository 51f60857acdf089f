"""The tables of script/bench."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import parse
from benchmarks.report import table

FIGURES = {"download": {"limpet": [1.0, 3.0, 2.0], "openssh": [4.0]}, "upload": {"openssh": [2.0]}}


def test_medians_spreads_and_ratios() -> None:
    text = table("CPU", FIGURES, ["limpet", "openssh"], 1)
    assert text.splitlines() == [
        "| CPU | limpet | openssh | limpet ÷ openssh |",
        "|---|---:|---:|---:|",
        "| download | 2.0 (1.0–3.0) | 4.0 | 0.50 |",
        "| upload | – | 2.0 | – |",
    ]


def test_without_limpet_there_are_no_ratios() -> None:
    assert "÷" not in table("CPU", FIGURES, ["openssh"], 1)


def test_quick_is_one_run() -> None:
    options = parse(["--quick"])
    assert (options.runs, options.mebibytes) == (1, 256)


def test_a_server_that_is_not_known_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--servers", "limpet,telnetd"])
    assert "unknown: telnetd" in capsys.readouterr().err
