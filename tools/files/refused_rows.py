"""Counts the rows that cannot be used, shows the first ones, refuses a log that is mostly bad."""

from __future__ import annotations

from typing import Final

from streams.errors import InputError
from tools.cli import say

#: How many rows are shown by default; a million bad rows must not bury the terminal.
SHOWN_BAD: Final = 1_000
#: A log is refused where it has more bad rows than ``MAX_BAD`` and their share is above
#: ``MAX_BAD_SHARE``: then the user has given wrong columns or a wrong time unit.
MAX_BAD: Final = 1_000
MAX_BAD_SHARE: Final = 0.5


class RefusedRows:
    """Counts refused rows and shows the first ones.

    Parameters
    ----------
    what : what the rows are called, in the plural
    shown : how many are shown; 0 shows none

    Attributes
    ----------
    n : rows refused so far
    first, last : place and reason of the first and of the last one; empty before the first
    """

    def __init__(self, what: str = "bad rows", shown: int = SHOWN_BAD) -> None:
        self._what = what
        self._shown = shown
        self.n = 0
        self.first = ""
        self.last = ""

    def refuse(self, place: str, reason: object) -> None:
        """Count a row, and show where it stands and why it was refused."""
        self.n += 1
        self.last = f"{place}: {reason}"
        self.first = self.first or self.last
        if self.n <= self._shown:
            say(self.last, style="yellow")
        if self.n == self._shown:
            say(f"{self._shown} {self._what} shown: further ones are counted, not shown")

    def check(self, n_read: int, name: str) -> None:
        """Raise :class:`InputError` where most of the rows of a log were refused.

        Parameters
        ----------
        n_read : rows so far, the refused ones among them
        name : what the message calls the log
        """
        if self.n > MAX_BAD and self.n > MAX_BAD_SHARE * n_read:
            raise InputError(
                f"{name}: {self.n} of {n_read} rows are bad, more than {MAX_BAD} and {MAX_BAD_SHARE:.0%}; "
                f"last: {self.last}; check --columns, --types and --time-unit"
            )
