"""Numbers of records by key, beside a dictionary."""

from __future__ import annotations

import numpy as np
import pytest

from models.text.record_numbers import MIN_NEWER, RecordNumbers, heads


@pytest.mark.parametrize("step", [1, 7, MIN_NEWER, 3 * MIN_NEWER])
def test_it_finds_what_a_dictionary_finds(step: int) -> None:
    """Few and many at once, before and after a merge, with keys that come again."""
    rng = np.random.default_rng(step)
    numbers, expected = RecordNumbers(), dict[int, int]()
    pool = rng.integers(0, 2**64, 5_000 if step < MIN_NEWER else 60_000, dtype=np.uint64)
    for turn in range(40 if step < MIN_NEWER else 6):
        keys = rng.choice(pool, step, replace=False)
        new = np.arange(turn * step, (turn + 1) * step)
        numbers.add(keys, new)
        expected |= dict(zip(keys.tolist(), new.tolist(), strict=True))
        assert numbers.find(pool).tolist() == [expected.get(key, -1) for key in pool.tolist()]
    assert len(numbers) == len(expected)


def test_an_empty_one_finds_nothing() -> None:
    """Nor does it fail on no keys."""
    numbers = RecordNumbers()
    assert numbers.find(heads([b"a" * 16, b"b" * 16])).tolist() == [-1, -1]
    assert numbers.find(heads([])).tolist() == []
    numbers.add(heads([]), np.empty(0, dtype=np.int64))
    assert len(numbers) == 0
