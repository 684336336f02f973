"""What is counted while entries are read, and told once at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from streams.printable import counted
from tools.files.cells.left_out import LeftOut
from tools.files.cells.lists import OTHERS, SEPARATOR
from tools.files.cells.missing import MissingWords

#: A separator is told to be another one where so many cells have only that other one.
TOLD_SEPARATORS: Final = 3


@dataclass
class Tally:
    """What is counted while entries are read.

    Parameters
    ----------
    separator : what parts the values of a list in a text
    """

    missing: MissingWords
    separator: str = SEPARATOR
    left_out: LeftOut = field(default_factory=LeftOut)
    n_repeated: int = 0
    n_short: int = 0
    _first_short: str = ""
    _first_repeated: str = ""
    _separators: dict[tuple[str, str], int] = field(default_factory=dict)
    _replaced: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)

    def repeated(self, example: str) -> None:
        """Count a row whose id has come before; the first example is kept: ``'i7' in line 9``."""
        self.n_repeated += 1
        self._first_repeated = self._first_repeated or example

    def short(self, why: str, place: str) -> None:
        """Count a row with fewer values than the file has columns."""
        self.n_short += 1
        self._first_short = self._first_short or f"{place} {why}"

    def look_at_separators(self, name: str, raw: Any) -> None:
        """Count what else than the separator parts a list, for :meth:`lines`."""
        if isinstance(raw, str) and not raw.lstrip().startswith("["):
            found = next((mark for mark in OTHERS if mark in raw), "") if self.separator not in raw else self.separator
            self._separators[name, found] = self._separators.get((name, found), 0) + 1

    def replaced(self, name: str, by: str, place: str) -> None:
        """Count a row in which an empty field takes the value of another one."""
        n, first = self._replaced.get((name, by), (0, place))
        self._replaced[name, by] = n + 1, first

    def lines(self, id_field: str, separator_option: str) -> Iterator[str]:
        """Yield what is to be told once at the end."""
        yield from self.missing.lines()
        yield from self.left_out.lines()
        if self.n_short:
            yield (
                f"{counted(self.n_short, 'row')} with too few values, for example {self._first_short}; the values that are not "
                "there are missing"
            )
        for (name, by), (n, first) in self._replaced.items():
            yield f"{name}: {counted(n, 'row')} {'has' if n == 1 else 'have'} none, first {first}; the {by} stands for it"
        if self.n_repeated:
            repeat = "repeats" if self.n_repeated == 1 else "repeat"
            yield (
                f"{id_field}: {counted(self.n_repeated, 'row')} {repeat} an id, for example {self._first_repeated}; "
                "the last row of an id counts"
            )
        for (name, mark), n in self._separators.items():
            is_alone = n >= TOLD_SEPARATORS and not self._separators.get((name, self.separator))
            if mark and mark != self.separator and is_alone:
                yield (
                    f"{name}: {n:,} have {mark!r} and none has {self.separator!r}: each is one value; "
                    f"if {mark!r} parts them, add {separator_option} {mark!r}"
                )
