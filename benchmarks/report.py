"""Measurements as a Markdown table: medians, and the ratios that matter."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version

# {row: {server: the figures of all runs}}
Figures = Mapping[str, Mapping[str, Sequence[float]]]


def machine() -> str:
    """One line on what the figures were measured with."""
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr
    parts = [
        f"{os.cpu_count()} × {model}",
        f"Linux {platform.release()}",
        f"Python {platform.python_version()}",
        *(f"{name} {version(name)}" for name in ("twisted", "cryptography", "asyncssh")),
        ssh.split(",")[0],
    ]
    return ", ".join(parts)


def table(title: str, figures: Figures, servers: Sequence[str], digits: int) -> str:
    """Medians with the least and the greatest in brackets; Limpet's ratio to each other server."""
    others = [name for name in servers if name != "limpet"] if "limpet" in servers else []
    head = [title, *servers, *(f"limpet ÷ {name}" for name in others)]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for row, byServer in figures.items():
        cells = [row]
        for name in servers:
            runs = byServer.get(name)
            if not runs:
                cells.append("–")
                continue
            low, high = min(runs), max(runs)
            spread = f" ({low:.{digits}f}–{high:.{digits}f})" if len(runs) > 1 else ""
            cells.append(f"{statistics.median(runs):.{digits}f}{spread}")
        for name in others:
            if byServer.get(name) and byServer.get("limpet"):
                base = statistics.median(byServer[name])
                ratio = statistics.median(byServer["limpet"]) / base if base else float("nan")
                cells.append(f"{ratio:.2f}")
            else:
                cells.append("–")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
