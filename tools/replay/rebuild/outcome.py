"""The result of a command that rebuilds, compares or promotes a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """The result of a command: an object for ``--json``, lines for people, and the exit code."""

    result: dict[str, Any]
    lines: Sequence[str]
    exit_code: int = 0
