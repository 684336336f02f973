"""Ranked lists of a micro-batch: arrays, and each list as objects where somebody asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, get_args, overload

import numpy as np

from models.base.types import Bool, Float32, Int8, Int32, Int64
from models.base.vocabulary import Degraded

#: The columns of a list's sources. Retrieval of a new item is named ``content``. ``pin`` and
#: ``explore`` are rules that put an item into a list; their rank is its place. ``social`` is what
#: the followed users let expect, ``features`` what the user's features do.
SOURCE_NAMES: Final = (
    "retrieval", "content", "mf", "next", "neighbours", "popular", "pin", "explore", "social", "features", "again",
)  # fmt: skip
#: ``degraded`` of a list is a place here.
DEGRADED: Final[tuple[Degraded, ...]] = get_args(Degraded)


@dataclass(frozen=True)
class RankedItem:
    """One item of a list.

    Parameters
    ----------
    score : probability that this is the user's next item
    sources : source name to its rank (from 1) and score
    because : the item of the window that is the reason for this one, or None, see
        :mod:`models.ranking.reasons`
    """

    item_id: str
    score: float
    sources: dict[str, tuple[int, float]]
    because: str | None


@dataclass(frozen=True)
class RankedList:
    """A user's list, best first, and the vectors behind it.

    Parameters
    ----------
    user_vector : (dim + 1,) float32, the last entry is 1
    factors : (f,) float32
    degraded : what the list was made without
    """

    user_vector: Float32
    factors: Float32
    items: tuple[RankedItem, ...]
    degraded: Degraded


@dataclass(frozen=True, eq=False)
class RankedBatch(Sequence[RankedList]):
    """The lists of ``n`` users, best item first, padded to ``k`` items.

    As a sequence it gives each list as a :class:`RankedList`, made when it is asked for.

    Parameters
    ----------
    item_ids : the catalogue's, by row
    rows : (n, k) int64 catalogue rows, -1 for padding
    lengths : (n,) int64, items of each list
    scores : (n, k) float32, probabilities
    source_ranks : (n, k, len(SOURCE_NAMES)) int32, the item's rank (from 1) in each source, 0 where
        the source did not bring it
    source_scores : (n, k, len(SOURCE_NAMES)) float32
    because : (n, k) int64 catalogue rows, -1 for none
    user_vectors : (n, dim + 1) float32, the last entry is 1
    factors : (n, f) float32
    degraded : (n,) int8, places in :data:`DEGRADED`
    """

    item_ids: Sequence[str]
    rows: Int64
    lengths: Int64
    scores: Float32
    source_ranks: Int32
    source_scores: Float32
    because: Int64
    user_vectors: Float32
    factors: Float32
    degraded: Int8

    @classmethod
    def blank(cls, item_ids: Sequence[str], k: int, user_vectors: Float32, factors: Float32) -> RankedBatch:
        """Return ``n`` lists without items, with arrays to be filled in; each is ``popular``."""
        shape, n_sources = (len(user_vectors), k), len(SOURCE_NAMES)
        return cls(
            item_ids,
            rows=np.full(shape, -1, dtype=np.int64),
            lengths=np.zeros(shape[0], dtype=np.int64),
            scores=np.zeros(shape, dtype=np.float32),
            source_ranks=np.zeros((*shape, n_sources), dtype=np.int32),
            source_scores=np.zeros((*shape, n_sources), dtype=np.float32),
            because=np.full(shape, -1, dtype=np.int64),
            user_vectors=user_vectors,
            factors=factors,
            degraded=np.full(shape[0], DEGRADED.index("popular"), dtype=np.int8),
        )

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> RankedList: ...
    @overload
    def __getitem__(self, index: slice) -> list[RankedList]: ...
    def __getitem__(self, index: int | slice) -> RankedList | list[RankedList]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        n, ids = int(self.lengths[index]), self.item_ids
        columns = (self.rows, self.scores, self.source_ranks, self.source_scores, self.because)
        items = tuple(
            RankedItem(
                ids[row],
                score,
                {name: (rank, own) for name, rank, own in zip(SOURCE_NAMES, ranks, scores, strict=True) if rank},
                None if reason < 0 else ids[reason],
            )
            for row, score, ranks, scores, reason in zip(*(c[index, :n].tolist() for c in columns), strict=True)
        )
        return RankedList(self.user_vectors[index], self.factors[index], items, DEGRADED[self.degraded[index]])

    def widened(self, k: int) -> RankedBatch:
        """Return the same lists with room for ``k`` items."""
        n = self.rows.shape[1]
        wide = RankedBatch.blank(self.item_ids, k, self.user_vectors, self.factors)
        for name in ("rows", "scores", "source_ranks", "source_scores", "because"):
            getattr(wide, name)[:, :n] = getattr(self, name)
        wide.lengths[:], wide.degraded[:] = self.lengths, self.degraded
        return wide

    def is_finite(self) -> Bool:
        """Return which lists have only finite numbers, (n,) bool; no other may be published."""
        numbers = (self.user_vectors, self.factors, self.scores, self.source_scores.reshape(len(self), -1))
        finite: Bool = np.all([np.isfinite(values).all(axis=1) for values in numbers], axis=0)
        return finite


def fill_up(
    lists: RankedBatch, popular_rows: Int64, popular_shares: Float32, recent_popularity: Float32, seen: Sequence[Int64]
) -> None:
    """Fill short lists up with popular items that are neither listed nor seen, most popular first.

    Such an item has probability 0 below better ones. In a list of popular items alone its
    probability is its share of popularity.

    Parameters
    ----------
    popular_rows, popular_shares, recent_popularity : of the catalogue
    seen : per user, catalogue rows
    """
    k, popular = lists.rows.shape[1], SOURCE_NAMES.index("popular")
    is_cold = lists.degraded == DEGRADED.index("popular")
    for i in np.flatnonzero(lists.lengths < k).tolist():
        n = int(lists.lengths[i])
        had = np.concatenate([seen[i], lists.rows[i, :n]])
        places = np.flatnonzero(~np.isin(popular_rows[: k - n + len(had)], had))[: k - n]
        rows, new = popular_rows[places], slice(n, n + len(places))
        lists.rows[i, new] = rows
        lists.scores[i, new] = popular_shares[rows] if is_cold[i] else 0.0
        lists.source_ranks[i, new, popular] = places + 1
        lists.source_scores[i, new, popular] = recent_popularity[rows]
        lists.lengths[i] = new.stop
