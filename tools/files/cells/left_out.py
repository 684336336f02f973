"""Counts the values of a file that were left out, by field and cause.

Each cause has one line and an example.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator


class LeftOut:
    """Tallies values that were left out; none is without a count and an example."""

    def __init__(self) -> None:
        self._given: Counter[str] = Counter()
        self._causes: dict[tuple[str, str], tuple[int, str]] = {}

    def given(self, field: str) -> None:
        """Count a row that has something in a field."""
        self._given[field] += 1

    def add(self, field: str, cause: str, example: str) -> None:
        """Count a value that is left out.

        Parameters
        ----------
        cause : in words that follow a count: ``are no number``
        example : the value and where it stands: ``'free' in line 7``; the first one is kept
        """
        n, first = self._causes.get((field, cause), (0, example))
        self._causes[field, cause] = n + 1, first

    def counts(self) -> dict[str, int]:
        """Return how many values were left out, by field."""
        found: Counter[str] = Counter()
        for (field, _cause), (n, _example) in self._causes.items():
            found[field] += n
        return dict(found)

    def lines(self) -> Iterator[str]:
        """Yield a line for each field and cause.

        An example: ``price: 3 of 9 are no number, for example ...``.
        """
        for (field, cause), (n, example) in self._causes.items():
            yield f"{field}: {n:,} of {max(n, self._given[field]):,} {cause}, for example {example}; left out"
