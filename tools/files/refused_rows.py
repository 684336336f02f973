"""Rows that cannot be used: each is counted, the first ones are shown, and a log that is mostly bad is refused."""

from __future__ import annotations

from typing import Final

from streams.errors import InputError
from tools.cli import say

#: Rows shown, by default; a million bad rows must not bury the terminal.
SHOWN_BAD: Final = 1_000
#: A log with more bad rows than this, and a larger share of them than the next, is refused: its columns or its time unit are wrong.
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
    first, last : place and reason of the first and the last one, empty where there is none
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
