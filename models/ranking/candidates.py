"""Candidates of a batch of users, from all sources, and the features by which fusion ranks them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from models.artifact.artifact import Artifact
from models.base.types import Behaviour, Behaviours, Bool, Float32, Int64, weights_of
from models.factors.matrix_factorisation import fold_in
from models.features.columns import Row
from models.ranking.candidate_features import Counts, features_of
from models.ranking.catalogue import Catalogue
from models.ranking.catalogue.tables import ItemTable, WeightTable
from models.sequence.model import PackedWindows, pack, pack_wishes

#: Weights of the newest behaviours, newest first: their followers are candidates.
NEXT_WEIGHTS: Final = np.array([1.0, 0.5, 0.25], dtype=np.float32)
#: The neighbours of this many newest behaviours are candidates; each counts this share of the one
#: after it.
N_NEIGHBOURS_OF: Final = 10
NEIGHBOUR_DECAY: Final = 0.8
N_MF: Final = 50
N_POPULAR: Final = 60
#: Hears the name of each stage of the pipeline when it ends.
NoteStage = Callable[[Literal["embed", "retrieve", "score"]], None]


def unheard(stage: Literal["embed", "retrieve", "score"]) -> None:
    """Hear a stage and do nothing."""


@dataclass(frozen=True)
class Candidates:
    """Candidates of ``n`` users, padded to ``c``.

    Parameters
    ----------
    rows : (n, c) int64 catalogue rows, each at most once per user
    valid : (n, c) bool, False for padding and for items that the user has had
    features : (n, c, len(FEATURES)) float32
    given : source name to (n, c) bool, whether the source brought the item
    user_vectors : (n, dim + 1) float32, the last entry is 1
    factors : (n, f) float32
    packed : the positive behaviours of the windows
    seen : per user, catalogue rows of all items that the user has had
    """

    rows: Int64
    valid: Bool
    features: Float32
    given: dict[str, Bool]
    user_vectors: Float32
    factors: Float32
    packed: PackedWindows
    seen: list[Int64]


def packed_windows(
    artifact: Artifact, catalogue: Catalogue, windows: Sequence[Sequence[Behaviour]]
) -> tuple[PackedWindows, PackedWindows]:
    """Return whole windows, which the sequence model reads, and their positive behaviours alone.

    The second is empty for a user who has only other behaviours; the first is then, too.
    """
    kinds, max_length = artifact.kinds, artifact.sequence.config.max_length
    if kinds.is_all_positive:
        packed = pack(windows, catalogue.row_of, max_length, kinds)
        return packed, packed
    wishes = pack_wishes(windows, catalogue.row_of, max_length, kinds)
    known = [window if n else () for window, n in zip(windows, wishes.lengths.tolist(), strict=True)]
    return pack(known, catalogue.row_of, max_length, kinds), wishes


def user_states(
    artifact: Artifact, catalogue: Catalogue, packed: PackedWindows, wishes: PackedWindows
) -> tuple[Float32, Float32]:
    """Return user vectors of whole windows, and folded-in factors of their positive behaviours.

    Returns
    -------
    vectors : (n, dim + 1) float32, the last entry is 1
    factors : (n, f) float32
    """
    mask = np.arange(wishes.rows.shape[1]) < wishes.lengths[:, None]
    if not len(catalogue.item_ids):
        n, dim, f = len(packed.lengths), artifact.sequence.config.dim, catalogue.factors.shape[1] - 1
        return np.zeros((n, dim + 1), dtype=np.float32), np.zeros((n, f), dtype=np.float32)
    newest = artifact.sequence.user_vectors(packed, catalogue.vectors[:, :-1])
    vectors = np.column_stack([newest, np.ones(len(newest), dtype=np.float32)]).astype(np.float32)
    factors = fold_in(
        catalogue.factors[wishes.rows][..., :-1],
        mask,
        catalogue.gram,
        alpha=artifact.manifest.alpha,
        regularisation=artifact.manifest.regularisation,
        weights=None if artifact.kinds.is_uniform else weights_of(artifact.kinds)[wishes.types],
    )
    return vectors, factors


def user_side(artifact: Artifact, vectors: Float32, features: Sequence[Row] | None) -> Float32:
    """Return fusion's input for users: vector, 1, features without missing values.

    Parameters
    ----------
    vectors : (n, dim + 1) float32, from :func:`user_states`
    features : per user, by name; None where nothing is known of any user

    Returns
    -------
    (n, dim + 1 + user features) float32
    """
    rows = features if features is not None else [{}] * len(vectors)
    encoded = artifact.user_features.encode(rows, np.zeros((len(vectors), 0), dtype=np.float32))
    return np.concatenate([vectors, encoded], axis=1)


def gather(
    artifact: Artifact,
    catalogue: Catalogue,
    windows: Sequence[Sequence[Behaviour]],
    extra_seen: Sequence[AbstractSet[str]] | None,
    n_candidates: int,
    *,
    mask_windows: bool = True,
    note: NoteStage = unheard,
) -> Candidates:
    """Return the candidates of each window.

    Sources are retrieval, matrix factorisation, followers and neighbours of the window's items, and
    popular items. A window without a wish for an item of the catalogue has only popular candidates.

    Parameters
    ----------
    extra_seen : per user, ids of further items that are not valid
    n_candidates : rows from retrieval
    mask_windows : whether items of a user's window are not valid
    note : called at the end of ``embed`` and of ``retrieve``
    """
    whole, packed = packed_windows(artifact, catalogue, windows)
    vectors, factors = user_states(artifact, catalogue, whole, packed)
    note("embed")
    mf_users = np.column_stack([factors, np.ones(len(factors), dtype=np.float32)])
    followers, neighbours = followers_of(catalogue, packed), neighbours_of(catalogue, packed)
    popular = catalogue.popular_rows[:N_POPULAR]
    brought = {
        "retrieval": _retrieved(catalogue, vectors, np.where(packed.lengths > 0, n_candidates + packed.lengths, 0)),
        "mf": np.where(
            packed.lengths[:, None] > 0, catalogue.factor_index.search(mf_users.astype(np.float32), N_MF)[0], -1
        ),
        "next": followers[0],
        "neighbours": neighbours[0],
        "popular": np.broadcast_to(popular, (len(windows), len(popular))),
    }
    rows = np.sort(np.concatenate(list(brought.values()), axis=1), axis=1)
    valid = rows >= 0
    valid[:, 1:] &= rows[:, 1:] != rows[:, :-1]
    seen = seen_rows(catalogue, windows if mask_windows else [()] * len(windows), extra_seen)
    valid &= ~_is_seen(rows, seen, len(catalogue.item_ids))
    rows, valid = _compact(rows, valid, len(catalogue.item_ids))
    # before padding becomes row 0, which is an item
    columns = {name: _columns_of(rows, source) for name, source in brought.items()}
    n_last, width = catalogue.next_rows.shape[1], rows.shape[1]
    counts = Counts(
        _sums(columns["next"][:, :n_last], followers[1][:, :n_last], width),
        _sums(columns["next"], followers[1], width),
        _sums(columns["neighbours"], neighbours[1], width),
    )
    rows = np.where(valid, rows, 0)
    features = features_of(catalogue, packed, rows, valid, vectors, mf_users, counts)
    given = {name: _is_among(places, width) for name, places in columns.items()}
    note("retrieve")
    return Candidates(rows, valid, features, given, vectors, factors, packed, seen)


def _is_seen(rows: Int64, had: Sequence[Int64], n_items: int) -> Bool:
    """Return which candidates, (n, m) rows or -1, their user has had."""
    width = n_items + 1
    keys = np.concatenate([i * width + 1 + each for i, each in enumerate(had)])
    return np.isin(rows + 1 + np.arange(len(rows))[:, None] * width, keys)


def _retrieved(catalogue: Catalogue, vectors: Float32, wanted: Int64) -> Int64:
    """Return ``wanted`` (n,) best rows per user, padded with -1.

    So a user's result does not depend on the rest of the batch. A user without a window wants none:
    all new items have equal scores there, and chance would choose among them.
    """
    rows = catalogue.index.search(vectors, max(1, int(wanted.max())))[0]
    return np.where(np.arange(rows.shape[1]) < wanted[:, None], rows, -1)


def seen_rows(
    catalogue: Catalogue, windows: Sequence[Sequence[Behaviour]], extra_seen: Sequence[AbstractSet[str]] | None
) -> list[Int64]:
    """Return, per user, the catalogue rows of all items that the user has had."""
    row_of = catalogue.row_of
    result = []
    for i, window in enumerate(windows):
        ids = set(Behaviours.of(window).item_ids)
        if extra_seen is not None:
            ids |= extra_seen[i]
        rows = set(map(row_of.get, ids))
        rows.discard(None)
        result.append(np.fromiter(rows, np.int64, len(rows)))
    return result


def followers_of(catalogue: Catalogue, packed: PackedWindows) -> tuple[Int64, Float32]:
    """Return the followers of the newest behaviours, newest first.

    Returns
    -------
    rows : (n, m) int64, -1 for none
    weights : (n, m) float32, shares, decayed by the behaviour's age
    """
    return _entries(catalogue.next_rows, catalogue.next_weights, packed, NEXT_WEIGHTS)


def neighbours_of(catalogue: Catalogue, packed: PackedWindows) -> tuple[Int64, Float32]:
    """Return the neighbours of the newest behaviours, as :func:`followers_of` does."""
    decay = NEIGHBOUR_DECAY ** np.arange(N_NEIGHBOURS_OF, dtype=np.float32)
    return _entries(catalogue.neighbour_rows, catalogue.neighbour_weights, packed, decay)


def dense(entries: tuple[Int64, Float32], n_items: int) -> Float32:
    """Return the sums of the weights of entries over the whole catalogue, (n, n_items) float32."""
    sums = np.zeros((len(entries[0]), n_items), dtype=np.float32)
    for total, rows, weights in zip(sums, *entries, strict=True):
        total += np.bincount(rows[rows >= 0], weights=weights[rows >= 0], minlength=n_items)
    return sums


def _entries(table: ItemTable, weights: WeightTable, packed: PackedWindows, decay: Float32) -> tuple[Int64, Float32]:
    """Return a table's entries for the newest behaviours, newest first.

    Rows and decayed weights, (n, len(decay) * m), -1 for none.
    """
    columns = packed.lengths[:, None] - 1 - np.arange(min(len(decay), packed.rows.shape[1]))
    newest = packed.rows[np.arange(len(columns))[:, None], np.maximum(columns, 0)]
    is_there = (columns >= 0)[:, :, None]
    rows = np.where(is_there, table[newest] if len(table) else -1, -1)  # [n, behaviours, m]
    values = np.where(rows >= 0, (weights[newest] if len(table) else 0.0) * decay[: columns.shape[1], None], 0.0)
    return rows.reshape(len(rows), -1), values.reshape(len(rows), -1).astype(np.float32)


def _compact(rows: Int64, valid: Bool, beyond: int) -> tuple[Int64, Bool]:
    """Return rows and validity with the valid candidates first, as narrow as possible.

    Valid rows rise; then comes ``beyond``. Sources agree on many items and users have had some, so
    less than half often remains.
    """
    width = max(1, int(valid.sum(axis=1).max(initial=0)))
    order = np.argsort(~valid, axis=1, kind="stable")[:, :width]
    valid = np.take_along_axis(valid, order, axis=1)
    return np.where(valid, np.take_along_axis(rows, order, axis=1), beyond), valid


def _columns_of(rows: Int64, entries: Int64) -> Int64:
    """Return the column of each entry among its user's candidates, (n, m) int64, -1 for none.

    Parameters
    ----------
    rows : (n, c) int64, rising within a user
    entries : (n, m) int64 catalogue rows, -1 for none
    """
    # all users at once: keys of a later user are greater than those of an earlier one
    first = np.arange(len(rows))[:, None] * (int(rows.max(initial=0)) + 2)
    candidates = (rows + first).ravel()
    found = np.minimum(np.searchsorted(candidates, (entries + first).ravel()), len(candidates) - 1)
    is_there = (candidates[found] == (entries + first).ravel()) & (entries.ravel() >= 0)
    columns = found.reshape(entries.shape) - np.arange(len(rows))[:, None] * rows.shape[1]
    return np.where(is_there.reshape(entries.shape), columns, -1)


def _is_among(columns: Int64, n_candidates: int) -> Bool:
    """Return which candidates the columns name, (n, n_candidates) bool."""
    among = np.zeros((len(columns), n_candidates + 1), dtype=bool)  # the last one takes every -1
    among[np.arange(len(columns))[:, None], columns] = True
    return among[:, :-1]


def _sums(columns: Int64, weights: Float32, n_candidates: int) -> Float32:
    """Return the sum of the weights of each candidate's entries, (n, n_candidates) float32."""
    n, width = len(columns), n_candidates + 1  # the last one takes every -1
    places = np.where(columns < 0, n_candidates, columns) + np.arange(n)[:, None] * width
    sums = np.bincount(places.ravel(), weights=weights.ravel(), minlength=n * width)
    return sums.reshape(n, width)[:, :-1].astype(np.float32)
