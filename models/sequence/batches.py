"""Batches for training: histories cut into chunks, and chunks of like length padded together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from models.base.types import Bool, Int64
from models.sequence.packing import NO_GAP, gap_bucket


def chunks_of(histories: list[Int64], length: int, rng: np.random.Generator) -> list[Int64]:
    """Cut histories into chunks of ``length`` steps (``length + 1`` events).

    The first cut is at a random place, so that cuts move from epoch to epoch. A history longer than
    one chunk also gives its first ``length`` steps, which chunks from the random start miss or
    enter in the middle.

    Parameters
    ----------
    histories : positions of each user's events in the log, in time order

    Returns
    -------
    list
        Positions of each chunk's events, at least two.
    """
    chunks = []
    for history in histories:
        offset = int(rng.integers(length)) if len(history) > length + 1 else 0
        starts = [0, *range(offset, len(history) - 1, length)] if offset else range(0, len(history) - 1, length)
        chunks += [history[start : start + length + 1] for start in starts]
    return [chunk for chunk in chunks if len(chunk) > 1]


def batches_of(chunks: list[Int64], size: int, rng: np.random.Generator) -> Iterator[list[Int64]]:
    """Yield shuffled batches of ``size`` chunks of like length, which saves padding."""
    order = sorted(rng.permutation(len(chunks)).tolist(), key=lambda i: len(chunks[i]))
    starts = list(range(0, len(order), size))
    for j in rng.permutation(len(starts)).tolist():
        yield [chunks[i] for i in order[starts[j] : starts[j] + size]]


def padded_steps(
    chunks: list[Int64], items: Int64, types: Int64, ts_ms: Int64, is_target: Bool | None = None
) -> tuple[Int64, Int64, Int64, Int64]:
    """Return rows, types, gaps and targets of chunks, each (n, length) int64.

    A target is the item of the next event, -1 in the padding and for an event that is no target.

    Parameters
    ----------
    chunks : positions of events, from :func:`chunks_of`
    items, types, ts_ms : (n_events,) int64 of the log
    is_target : (n_events,) bool, which events are predicted; None means all
    """
    length = max(len(chunk) for chunk in chunks) - 1
    rows, kinds, gaps = (np.zeros((len(chunks), length), dtype=np.int64) for _ in range(3))
    targets = np.full((len(chunks), length), -1, dtype=np.int64)
    for i, chunk in enumerate(chunks):
        n = len(chunk) - 1
        rows[i, :n] = items[chunk[:-1]]
        kinds[i, :n] = types[chunk[:-1]]
        gaps[i, 0] = NO_GAP
        gaps[i, 1:n] = gap_bucket(np.diff(ts_ms[chunk[:-1]]))
        targets[i, :n] = items[chunk[1:]] if is_target is None else np.where(is_target[chunk[1:]], items[chunk[1:]], -1)
    return rows, kinds, gaps, targets
