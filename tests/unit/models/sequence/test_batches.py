"""Training batches lose no step of a history and are packed as serving packs a window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.base.types import Behaviour
from models.base.vocabulary import EVENT_TYPES
from models.sequence.batches import chunks_of, padded_steps
from models.sequence.packing import pack
from tests.unit.models.sequence.test_fit import circle


@pytest.mark.parametrize("length", [2, 5, 6, 7, 23])
def test_every_step_of_a_history_is_learnt_in_every_epoch(length: int) -> None:
    """Chunks are contiguous and bounded; each event but the first is a target."""
    history = np.arange(100, 100 + length)
    for seed in range(8):
        chunks = chunks_of([history], 5, np.random.default_rng(seed))
        assert all(2 <= len(chunk) <= 6 and (np.diff(chunk) == 1).all() for chunk in chunks)
        assert {int(event) for chunk in chunks for event in chunk[1:]} == set(history[1:].tolist())


def test_what_is_learnt_from_is_what_serving_gives() -> None:
    """A chunk equals the same window packed for serving; targets are one step later."""
    data, chunks = circle(2, 5), [np.array([0, 2, 4, 6]), np.array([1, 3])]
    data = replace(data, ts_ms=np.cumsum(np.random.default_rng(1).integers(10**7, size=10)))
    windows = [
        [Behaviour(str(data.items[e]), EVENT_TYPES[data.types[e]], int(data.ts_ms[e])) for e in chunk[:-1]]
        for chunk in chunks
    ]
    rows, types, gaps, targets = padded_steps(chunks, data.items, data.types, data.ts_ms)
    served = pack(windows, {str(row): row for row in range(8)}, 5)
    np.testing.assert_array_equal(rows, served.rows)
    np.testing.assert_array_equal(types, served.types)
    np.testing.assert_array_equal(gaps, served.gaps)
    assert targets.tolist() == [data.items[[2, 4, 6]].tolist(), [data.items[3], -1, -1]]
