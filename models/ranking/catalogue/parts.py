"""What a catalogue knows of each item, as pure functions of the artifact and the item's record.

The parts of an item do not depend on the other items, so a change of one item computes only its
own, and they have the same bits whichever items come together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from models.artifact.artifact import Artifact
from models.base.compiled import row_products
from models.base.types import AnyArray, Bool, Float32, Float64, Int32, Int64
from models.factors.matrix_factorisation import gram
from models.features.columns import Row
from models.index.best_rows import longest
from models.rules.facts import no_columns


@dataclass(frozen=True)
class ItemParts:
    """Arrays over ``n`` items.

    Parameters
    ----------
    vectors : (n, dim + 1) float32, item vector and bias
    unit : (n, dim) float32, item vectors of unit length
    norms : (n,) float32, lengths of the item vectors, at least 1e-9
    text_unit : (n, text_dim) float32, whitened text embeddings of unit length
    text_norms : (n,) float32, lengths of the whitened embeddings
    factors : (n, f + 1) float32, matrix factorisation's item factors and bias
    features : (n, width) float32, item features without missing values
    known : (n, N_PROJECTED) float32, what the artifact's fusion reads of an item
    trained : (n,) int64, the artifact's row of an item with events in training, else -1
    is_blank : (n,) bool, new items without text
    price, published_ms, says_available, words_from, n_words : what rules ask of items, as in
        :class:`models.rules.facts.Facts`; no model reads them
    """

    vectors: Float32
    unit: Float32
    norms: Float32
    text_unit: Float32
    text_norms: Float32
    factors: Float32
    features: Float32
    known: Float32
    trained: Int64
    is_blank: Bool
    price: Float64
    published_ms: Int64
    says_available: Bool
    words_from: Int64
    n_words: Int32

    def arrays(self) -> dict[str, AnyArray]:
        """Return the arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class TrainedItems:
    """What an artifact holds of the items that it was trained on, as a catalogue needs it.

    Attributes
    ----------
    row_of : item id to the artifact's row; a row without events is as new as no row
    gram : (f, f) float32, Gram matrix of all trained items, whether the catalogue has them or not
    factors : (m, f + 1) float32, factors and biases of the items of ``rows``
    longest_factors : length of the longest of them
    rows : (m,) int64, the artifact's rows with events
    """

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self.rows: Int64 = np.flatnonzero(artifact.popularity > 0)
        ids = artifact.manifest.item_ids
        self.row_of = {ids[row]: row for row in self.rows.tolist()}
        self._factors = np.column_stack([artifact.factors.factors, artifact.factors.biases])
        self.factors: Float32 = np.ascontiguousarray(self._factors[self.rows])
        self.longest_factors = longest(self.factors)
        self.gram = gram(self.factors[:, :-1])
        with torch.inference_mode():
            self._ids = artifact.sequence.id_embedding.weight.cpu().numpy()
            self._biases = artifact.sequence.item_bias.cpu().numpy()
            self._projection = np.ascontiguousarray(artifact.sequence.text_projection.weight.cpu().numpy().T)
            item_side = artifact.fusion.item_projection
            self._known_by = np.ascontiguousarray(item_side.weight.cpu().numpy().T), item_side.bias.cpu().numpy()
        self._new_bias = np.median(self._biases) if len(self._biases) else np.float32(0.0)
        self._new_factor_bias = artifact.factors.biases.min() if len(artifact.factors.biases) else np.float32(0.0)

    def parts(self, item_ids: Sequence[str], text: Float32, features: Sequence[Row]) -> ItemParts:
        """Return the parts of items, of which rules know nothing yet.

        A new item's vector is the projection of its text; its bias and factors give it no
        advantage.

        Parameters
        ----------
        text : (n, d_text) float32, raw text embeddings; zeros stand for an item without text. Not
            read where the artifact takes no text
        features : per item, by name; missing ones are imputed
        """
        artifact, n = self.artifact, len(item_ids)
        trained = np.array([self.row_of.get(item_id, -1) for item_id in item_ids], dtype=np.int64)
        is_new = trained < 0
        whitened = np.zeros((n, artifact.whitening.matrix.shape[1]), dtype=np.float32)
        if n and artifact.takes_text:
            whitened = artifact.whitening.apply(text)
        item_vectors = (row_products(whitened, self._projection) + take(self._ids, trained)).astype(np.float32)
        biases = np.where(is_new, self._new_bias, take(self._biases, trained))
        factors = take(self._factors, trained)
        factors[is_new, -1] = self._new_factor_bias
        vectors = np.column_stack([item_vectors, biases]).astype(np.float32)
        encoded = self._features(features, whitened, trained)
        return ItemParts(
            vectors=vectors,
            unit=unit_rows(item_vectors),
            norms=np.maximum(np.linalg.norm(item_vectors, axis=1), 1e-9).astype(np.float32),
            text_unit=unit_rows(whitened),
            text_norms=np.linalg.norm(whitened, axis=1).astype(np.float32),
            factors=factors,
            features=encoded,
            known=self._known(vectors, encoded),
            trained=trained,
            is_blank=is_new & ~whitened.any(axis=1),
            **no_columns(n),
        )

    def with_features(self, parts: ItemParts, features: Sequence[Row]) -> ItemParts:
        """Return the parts of the same items with other features.

        Nothing else is computed again.
        """
        whitened = parts.text_unit * parts.text_norms[:, None]
        encoded = self._features(features, whitened, parts.trained)
        known = self._known(parts.vectors, encoded)
        return ItemParts(**(parts.arrays() | {"features": encoded, "known": known}))

    def _features(self, features: Sequence[Row], whitened: Float32, trained: Int64) -> Float32:
        first_ms = np.where(trained >= 0, take(self.artifact.first_ms, trained), -1)
        return self.artifact.item_features.encode(features, whitened, first_ms)

    def _known(self, vectors: Float32, features: Float32) -> Float32:
        known: Float32 = (
            row_products(np.concatenate([vectors, features], axis=1), self._known_by[0]) + self._known_by[1]
        )
        return known


def unit_rows(x: Float32) -> Float32:
    """Return rows scaled to unit length, (n, dim) float32; zero rows stay zero."""
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    unit: Float32 = (x / np.maximum(norms, 1e-9)).astype(np.float32)
    return unit


def take(values: AnyArray, rows: Int64) -> AnyArray:
    """Return ``values[rows]`` with zeros where a row is -1."""
    taken = np.zeros((len(rows), *values.shape[1:]), dtype=values.dtype)
    taken[rows >= 0] = values[rows[rows >= 0]]
    return taken
