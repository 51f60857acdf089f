"""Reads the source of programs that were written for Conch, and tells what Limpet changes."""

from limpet.doctor.reading import Finding, Reading, readFile, readTree
from limpet.doctor.rules import Verdict

__all__ = ["Finding", "Reading", "Verdict", "readFile", "readTree"]
