"""Finds many names at once in bytes: one pass, however many names there are.

::

    bytes ─► 8 bytes from each place ─► table of hashes ─► sorted numbers ─► names
                                        drops nearly all   exact             compared whole
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from models.base.types import AnyArray

#: Bytes of a name's end that are compared as one number.
END_BYTES: Final = 8
#: Bytes that are looked at together, which bounds memory.
BLOCK_BYTES: Final = 1 << 20
TABLE_BITS: Final = 20
#: Multiplying by this odd number spreads the bits of a number (Knuth's multiplicative hashing).
SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)


class Names:
    """Names that are searched for together.

    Parameters
    ----------
    names : each name, of 1 byte or more
    """

    def __init__(self, names: frozenset[bytes]) -> None:
        self._longest = max(map(len, names), default=1)
        self._ends: list[_Ends] = []
        for n in range(1, END_BYTES + 1):
            fitting = [name for name in names if min(len(name), END_BYTES) == n]
            if fitting:
                self._ends.append(_Ends(n, fitting))

    def find(self, content: memoryview) -> Iterator[tuple[int, bytes]]:
        """Yield where each name begins, and the name; names may overlap."""
        for start in range(0, len(content), BLOCK_BYTES):
            first = max(0, start - self._longest + 1)
            block = bytes(content[first : start + BLOCK_BYTES])
            for ends in self._ends:
                for at, name in ends.find(block, start - first):
                    yield first + at, name


class _Ends:
    """Names whose last ``n`` bytes are compared as one number."""

    def __init__(self, n: int, names: list[bytes]) -> None:
        self._n = n
        by_end: dict[int, list[bytes]] = {}
        for name in names:
            by_end.setdefault(int.from_bytes(name[-n:], "little"), []).append(name)
        self._by_end: Mapping[int, list[bytes]] = by_end
        self._numbers: AnyArray = np.sort(np.fromiter(by_end, dtype=np.uint64, count=len(by_end)))
        self._table = np.zeros(1 << TABLE_BITS, dtype=bool)
        self._table[_hashes(self._numbers)] = True

    def find(self, block: bytes, at_least: int) -> Iterator[tuple[int, bytes]]:
        """Yield the names that end at or after a place, each with the place of its first byte.

        Parameters
        ----------
        at_least : an earlier block had the names that end before it
        """
        numbers = _numbers_of(block, self._n)
        places = np.flatnonzero(self._table[_hashes(numbers)])
        places = places[np.isin(numbers[places], self._numbers)]
        for place in places.tolist():
            end = place + self._n
            if end <= at_least:
                continue
            for name in self._by_end[int(numbers[place])]:
                begin = end - len(name)
                if begin >= 0 and block.startswith(name, begin):
                    yield begin, name


def _numbers_of(block: bytes, n: int) -> AnyArray:
    """Return the number of the ``n`` bytes from each place on: (len(block) - n + 1,) uint64."""
    padded = block + bytes(END_BYTES)
    n_places = max(0, len(block) - n + 1)
    whole: AnyArray = np.ndarray((n_places,), dtype="<u8", buffer=padded, strides=(1,)).astype(np.uint64)
    return whole if n == END_BYTES else whole & np.uint64((1 << (8 * n)) - 1)


def _hashes(numbers: AnyArray) -> AnyArray:
    spread: AnyArray = numbers * SPREAD >> np.uint64(64 - TABLE_BITS)
    return spread
