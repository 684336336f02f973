r"""Words for nothing: ``NULL``, ``NA``, ``\N`` and their like stand for a value that is missing.

Databases, spreadsheets and programs write one where a cell is empty. An id that is such a word
would make one giant user of all who are unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

#: What exports write for no value: R, spreadsheets, SQL, Hive and MySQL, pandas, Python,
#: JavaScript.
MISSING: Final = r"NA,N/A,n/a,#N/A,<NA>,NULL,Null,null,\N,None,NaN,nan,undefined,-"


def parse_words(text: str) -> frozenset[str]:
    """Return the words of a text with commas between, stripped; an empty text has none."""
    return frozenset(word for part in text.split(",") if (word := part.strip()))


class MissingWords:
    """Tells the words for nothing, and counts the ids that were one.

    Parameters
    ----------
    words : compared with a whole cell, without the white space around it; capitals count
    option : the name of the option that changes the words, for :meth:`lines`
    """

    def __init__(self, words: frozenset[str], option: str = "--missing") -> None:
        self._words = words
        self._option = option
        self._ids: Counter[tuple[str, str]] = Counter()

    def has(self, value: object) -> bool:
        """Return whether a value is a word for nothing."""
        return isinstance(value, str) and value.strip() in self._words

    def count_id(self, field: str, value: object) -> bool:
        """Count an id if it is a word for nothing; return whether it is."""
        if not isinstance(value, str) or (word := value.strip()) not in self._words:
            return False
        self._ids[field, word] += 1
        return True

    def lines(self) -> Iterator[str]:
        """Yield one line for each word that was an id, the most frequent first."""
        for (field, word), n in self._ids.most_common():
            yield (
                f"{field} is {word!r} in {n:,} row{'s' * (n != 1)}: left out as missing; {self._option} '' reads it as an id"
            )
