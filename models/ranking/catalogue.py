"""All items that can be recommended now, as arrays: an immutable snapshot of one generation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from models.artifact.artifact import Artifact
from models.base.types import AnyArray, Bool, Float32, Int64
from models.factors.matrix_factorisation import gram
from models.features.columns import Row
from models.index.index import ItemIndex
from models.popularity import log_share
from models.ranking.reasons import NearestItems


@dataclass(frozen=True)
class Catalogue:
    """Arrays over the ``n`` items of one catalogue generation; rows follow ``item_ids``.

    Parameters
    ----------
    vectors : (n, dim + 1) float32, item vector and bias: the retrieval score is their product with
        (user vector, 1)
    unit : (n, dim) float32, item vectors of unit length
    norms : (n,) float32, lengths of the item vectors, at least 1e-9
    nearest : how near each item's nearest others are, for reasons
    text_unit : (n, text_dim) float32, whitened text embeddings of unit length
    factors : (n, f + 1) float32, matrix factorisation's item factors and bias
    gram : (f, f) float32, Gram matrix of the factors
    index : over ``vectors``
    factor_index : over the items that have factors, those that are not new
    side : (n, dim + 1 + item features) float32, fusion's input for an item: vector, bias, features
        without missing values
    next_rows, next_weights : (n, n_next), most frequent followers of each item as rows here, -1 for
        none, and their shares
    neighbour_rows, neighbour_weights : (n, n_neighbours), items most often had by the same users,
        -1 for none, and their cosines
    is_new : (n,) bool, items without training events; they have only their text
    is_blank : (n,) bool, new items without text: nothing is known of them, so that retrieval does not
        bring them
    is_unseen : (n,) bool, new items with text, and without any event since training
    popularity, recent_popularity : (n,) float32, log shares
    popular_shares : (n,) float32, each item's share of recent popularity; zeros where nothing was
        counted
    popular_rows : (n,) int64, rows by falling recent popularity
    """

    item_ids: tuple[str, ...]
    row_of: dict[str, int]
    generation: int
    vectors: Float32
    unit: Float32
    norms: Float32
    nearest: NearestItems
    text_unit: Float32
    factors: Float32
    gram: Float32
    index: ItemIndex
    factor_index: ItemIndex
    side: Float32
    next_rows: Int64
    next_weights: Float32
    neighbour_rows: Int64
    neighbour_weights: Float32
    is_new: Bool
    is_blank: Bool
    is_unseen: Bool
    popularity: Float32
    recent_popularity: Float32
    popular_shares: Float32
    popular_rows: Int64

    def with_popularity(self, scores: Float32) -> Catalogue:
        """Return the same catalogue with recent popularity from new counts, (n,) float32."""
        return replace(
            self,
            is_unseen=self.is_new & ~self.is_blank & (scores <= 0),
            recent_popularity=log_share(scores),
            popular_shares=_shares(scores),
            popular_rows=_order(scores),
        )


def build_catalogue(
    artifact: Artifact, items: Mapping[str, Float32], generation: int, features: Mapping[str, Row] | None = None
) -> Catalogue:
    """Return the catalogue of ``items``, each with its raw text embedding (d_text,) float32.

    Items unknown to the artifact are retrievable at once: their vector is the projection of their
    text, and their bias and factors give them no other advantage. Without any items, an artifact that
    takes no text serves the items that it was trained on.

    Parameters
    ----------
    items : zeros stand for an item without text; an artifact that takes no text looks at the ids only
    features : item id to its features (``models.features.columns.item_row``); missing ones are
        imputed
    """
    items = items or _own_items(artifact)
    item_ids = tuple(sorted(items))
    n, known_row = len(item_ids), {item_id: row for row, item_id in enumerate(artifact.manifest.item_ids)}
    rows = np.array([known_row.get(item_id, -1) for item_id in item_ids], dtype=np.int64)
    rows = np.where(_take(artifact.popularity, rows) > 0, rows, -1)  # a row without events is as new as no row
    is_new = rows < 0
    text = np.zeros((n, artifact.whitening.matrix.shape[1]), dtype=np.float32)
    if n and artifact.takes_text:
        text = artifact.whitening.apply(np.stack([items[i] for i in item_ids]).astype(np.float32))
    is_blank = is_new & ~text.any(axis=1)
    item_vectors, biases = _item_vectors(artifact, text, rows, is_new)
    factors = _take(np.column_stack([artifact.factors.factors, artifact.factors.biases]), rows)
    if n and len(artifact.factors.biases):
        factors[is_new, -1] = artifact.factors.biases.min()
    vectors, unit = np.column_stack([item_vectors, biases]).astype(np.float32), unit_rows(item_vectors)
    next_rows, next_weights = _renamed(artifact.next_rows, artifact.next_weights, rows)
    neighbour_rows, neighbour_weights = _renamed(artifact.neighbour_rows, artifact.neighbour_weights, rows)
    first_ms = np.where(rows >= 0, _take(artifact.first_ms, rows), -1)
    side = artifact.item_features.encode([(features or {}).get(item_id, {}) for item_id in item_ids], text, first_ms)
    recent = _take(artifact.recent_popularity, rows)
    return Catalogue(
        item_ids=item_ids,
        row_of={item_id: row for row, item_id in enumerate(item_ids)},
        generation=generation,
        vectors=vectors,
        unit=unit,
        norms=np.maximum(np.linalg.norm(item_vectors, axis=1), 1e-9).astype(np.float32),
        nearest=NearestItems(unit),
        text_unit=unit_rows(text),
        factors=factors,
        gram=gram(factors[:, :-1]),
        index=ItemIndex.build(vectors[~is_blank], np.flatnonzero(~is_blank)),
        factor_index=ItemIndex.build(factors[~is_new], np.flatnonzero(~is_new)),
        side=np.concatenate([vectors, side], axis=1),
        next_rows=next_rows,
        next_weights=next_weights,
        neighbour_rows=neighbour_rows,
        neighbour_weights=neighbour_weights,
        is_new=is_new,
        is_blank=is_blank,
        is_unseen=is_new & ~is_blank & (recent <= 0),
        popularity=log_share(_take(artifact.popularity, rows)),
        recent_popularity=log_share(recent),
        popular_shares=_shares(recent),
        popular_rows=_order(recent),
    )


def _own_items(artifact: Artifact) -> dict[str, Float32]:
    """Return the items with events that an artifact without text was trained on, else none."""
    if artifact.takes_text:
        return {}
    nothing = np.zeros(1, dtype=np.float32)
    return {artifact.manifest.item_ids[row]: nothing for row in np.flatnonzero(artifact.popularity > 0)}


def unit_rows(x: Float32) -> Float32:
    """Return rows scaled to unit length, (n, dim) float32; zero rows stay zero."""
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    unit: Float32 = (x / np.maximum(norms, 1e-9)).astype(np.float32)
    return unit


def _item_vectors(artifact: Artifact, text: Float32, rows: Int64, is_new: Bool) -> tuple[Float32, Float32]:
    model = artifact.sequence
    with torch.inference_mode():
        projected = model.text_projection(torch.from_numpy(text).to(artifact.device)).cpu().numpy()
        ids = _take(model.id_embedding.weight.cpu().numpy(), rows)
        all_biases = model.item_bias.cpu().numpy()
    biases = _take(all_biases, rows)
    if len(all_biases):
        biases[is_new] = np.median(all_biases)
    return (projected + ids).astype(np.float32), biases


def _renamed(table: Int64, weights: Float32, rows: Int64) -> tuple[Int64, Float32]:
    """Return a table of items and its weights, by the catalogue's rows instead of the artifact's.

    Parameters
    ----------
    table : (n_items, m) int64 rows, -1 for none
    """
    renamed = np.full(len(table) + 1, -1, dtype=np.int64)  # the last entry is for -1
    renamed[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
    found = _take(table, rows)
    found[rows < 0] = -1
    new = renamed[found]
    return new, np.where(new < 0, 0.0, _take(weights, rows)).astype(np.float32)


def _take(values: AnyArray, rows: Int64) -> AnyArray:
    """Return ``values[rows]`` with zeros where a row is -1."""
    taken = np.zeros((len(rows), *values.shape[1:]), dtype=values.dtype)
    taken[rows >= 0] = values[rows[rows >= 0]]
    return taken


def _shares(scores: Float32) -> Float32:
    shares: Float32 = (scores / max(float(scores.sum(dtype=np.float64)), 1e-30)).astype(np.float32)
    return shares


def _order(scores: Float32) -> Int64:
    return np.argsort(-scores, kind="stable").astype(np.int64)
