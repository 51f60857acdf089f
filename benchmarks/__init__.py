"""Limpet beside other SSH servers on one machine, in one run: see docs/performance.md."""
