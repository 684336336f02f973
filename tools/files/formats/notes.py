"""Tells people what was found out about a file, once."""

from __future__ import annotations

from functools import lru_cache

from tools.cli import say


@lru_cache(maxsize=1_000)
def say_once(line: str) -> None:
    """Write a line to standard error, unless this process has written it: files are read twice."""
    say(line, style="dim")
