"""How a subcommand tells a person that what was asked for cannot be done as it was asked.

Rule: one sentence on standard error, no traceback, exit status 2.
"""

from __future__ import annotations

from typing import Any

import click

USAGE_STATUS = 2
"""Exit status where what was asked for cannot be done as it was asked."""


class Mistake(click.ClickException):
    """Something that the person can put right; told without a traceback."""

    exit_code = USAGE_STATUS

    def show(self, file: Any = None) -> None:
        """Say it."""
        click.echo(f"limpet: {self.format_message()}", err=True)
