"""All items that can be recommended now, as arrays: an immutable snapshot of one generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat

import numpy as np

from models.base.types import Bool, Float32, Int64
from models.ranking.catalogue.live_index import LiveIndex
from models.ranking.catalogue.nearest import NearestItems
from models.ranking.catalogue.popularity import Popularity
from models.ranking.catalogue.rows import RowOf, Rows
from models.ranking.catalogue.tables import ItemTable, WeightTable
from models.rules.facts import Facts, Words
from models.rules.row_rules import RowRules


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Arrays over the ``n`` rows of one catalogue generation.

    A row holds one version of an item. Lists show the items of ``is_shown``; the other rows are
    hidden or withdrawn items, which are signal in windows, and versions that were replaced.

    Parameters
    ----------
    item_ids : by row; several versions of an item have one id
    row_of : the row of each item's version, also of hidden and withdrawn items
    n_items : number of shown items
    vectors : (n, dim + 1) float32, item vector and bias: the retrieval score is their product with
        (user vector, 1)
    unit : (n, dim) float32, item vectors of unit length
    norms : (n,) float32, lengths of the item vectors, at least 1e-9
    nearest : how near each item's nearest others are, for reasons
    text_unit : (n, text_dim) float32, whitened text embeddings of unit length
    factors : (n, f + 1) float32, matrix factorisation's item factors and bias
    gram : (f, f) float32, Gram matrix of the factors of all trained items
    index : over the vectors of shown items of which something is known
    factor_index : over the factors of shown items that are not new
    features : (n, item features) float32, without missing values
    known : (n, N_PROJECTED) float32, what the fusion of the artifact reads of each item
    next_rows, next_weights : (n, n_next), most frequent followers of each item as rows here, -1 for
        none, and their shares
    neighbour_rows, neighbour_weights : (n, n_neighbours), items most often had by the same users,
        -1 for none, and their cosines
    is_new : (n,) bool, items without training events; they have only their text
    is_blank : (n,) bool, new items without text: nothing is known of them, so that retrieval does
        not bring them
    counts : popularity by row
    rows : what the arrays are views of
    trained_counts : (n_items of the artifact,) float32
    words : the categories and tags of the rows
    rules : what the lists of this catalogue obey, see :mod:`models.ranking.catalogue.ruled`; None
        for no rules
    """

    item_ids: Sequence[str]
    row_of: Mapping[str, int]
    generation: int
    n_items: int
    is_shown: Bool
    vectors: Float32
    unit: Float32
    norms: Float32
    nearest: NearestItems
    text_unit: Float32
    factors: Float32
    gram: Float32
    index: LiveIndex
    factor_index: LiveIndex
    features: Float32
    known: Float32
    next_rows: ItemTable
    next_weights: WeightTable
    neighbour_rows: ItemTable
    neighbour_weights: WeightTable
    is_new: Bool
    is_blank: Bool
    counts: Popularity
    rows: Rows
    trained_counts: Float32
    words: Words
    rules: RowRules | None = None

    def rows_of(self, item_ids: Sequence[str]) -> Int64:
        """Return the rows of items, (m,) int64, -1 for those that the catalogue does not have."""
        if isinstance(self.row_of, RowOf):
            return self.row_of.rows(item_ids)
        return np.fromiter(map(self.row_of.get, item_ids, repeat(-1)), np.int64, len(item_ids))

    @property
    def trained(self) -> Int64:
        """The artifact's row of each item with events in training, else -1, (n,) int64."""
        trained: Int64 = self.rows.arrays["trained"][: len(self.is_shown)]
        return trained

    @property
    def facts(self) -> Facts:
        """What rules ask of each row's item."""
        n, arrays = len(self.is_shown), self.rows.arrays
        names = ("price", "published_ms", "says_available", "words_from", "n_words")
        return Facts(**{name: arrays[name][:n] for name in names}, words=self.words)

    @property
    def side(self) -> Float32:
        """Fusion's input for an item, (n, dim + 1 + item features) float32, made at each call."""
        return self.side_of(np.arange(len(self.is_shown)))

    def side_of(self, rows: Int64) -> Float32:
        """Return fusion's input for rows, (..., dim + 1 + item features) float32."""
        return np.concatenate([self.vectors[rows], self.features[rows]], axis=-1)

    @property
    def popularity(self) -> Float32:
        """Log shares in training, (n,) float32."""
        return self.counts.in_training[: len(self.is_shown)]

    @property
    def recent_popularity(self) -> Float32:
        """Log shares of recent counts, (n,) float32."""
        return self.counts.recent[: len(self.is_shown)]

    @property
    def popular_shares(self) -> Float32:
        """Each item's share of recent popularity, (n,) float32; zeros where nothing was counted."""
        return self.counts.shares[: len(self.is_shown)]

    @property
    def popular_rows(self) -> Int64:
        """Rows of shown items by falling recent popularity, int64; the first 10,000 at most."""
        return self.counts.top

    @property
    def is_unseen(self) -> Bool:
        """New items with text, and without any event since training, (n,) bool."""
        return self.is_new & ~self.is_blank & (self.counts.scores[: len(self.is_shown)] <= 0)

    def with_counts(self, counts: Popularity, recent_counts: Float32) -> Catalogue:
        """Return the same catalogue with the popularity of an earlier snapshot of the same rows.

        Parameters
        ----------
        recent_counts : by the artifact's rows, for trained items that are new here
        """
        extended = counts.extended(self.rows, self.is_shown, self.trained_counts, recent_counts)
        return replace(self, counts=extended)

    def with_popularity(self, scores: Float32) -> Catalogue:
        """Return the same catalogue with recent popularity from new counts, (n,) float32."""
        return replace(self, counts=Popularity.of(self.rows, self.is_shown, scores, self.trained_counts))
