"""Candidates of a batch of users, from all sources, and the features by which fusion ranks them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from models.artifact.artifact import Artifact
from models.base.event_types import DEFAULT_TYPES
from models.base.scalar_features import FEATURES
from models.base.types import AnyArray, Behaviour, Bool, Float32, Int32, Int64, weights_of
from models.factors.folding import folded_in
from models.features.blend import fill_blend
from models.features.columns import Row
from models.ranking.again import fill_again, fill_steps, no_places, own_rows, policy_of
from models.ranking.candidate_features import features_of
from models.ranking.catalogue import Catalogue
from models.ranking.catalogue.tables import ItemTable, WeightTable
from models.ranking.collecting import FEATURES as KNOWN_FEATURES
from models.ranking.collecting import SOCIAL, Extra, bits_as_masks, union
from models.ranking.newcomers.known import Known, with_one
from models.ranking.newcomers.priors import blend
from models.rules.repeats import NO_REPEATS, Repeats
from models.sequence.packing import FlatWindows, PackedWindows, flat_windows, newest_of, packed_of
from models.sequence.serving import ServedSequence

#: Weights of the newest behaviours, newest first: their followers are candidates.
NEXT_WEIGHTS: Final = np.array([1.0, 0.5, 0.25], dtype=np.float32)
#: Likewise for their neighbours.
NEIGHBOUR_WEIGHTS: Final = np.float32(0.8) ** np.arange(10, dtype=np.float32)
N_MF: Final = 50
N_POPULAR: Final = 60
#: Rows that follows, and features, of a user bring each.
N_KNOWN: Final = 50
#: Hears the name of each stage of the pipeline when it ends.
NoteStage = Callable[[Literal["embed", "retrieve", "score"]], None]


def unheard(stage: Literal["embed", "retrieve", "score"]) -> None:
    """Hear a stage and do nothing."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Candidates of ``n`` users, padded to ``c``.

    Parameters
    ----------
    rows : (n, c) int64 catalogue rows, rising and each at most once per user; 0 for padding
    counts : (n,) int64, candidates of each user
    bits : (n, c) uint8, the sources that brought each, see :mod:`models.ranking.collecting`
    planes : (n, n_features, c) float32, the features
    ranks : (2, n, c) int32, from 1, by retrieval score and by mf logit
    places : (2, n, c) int32, each candidate's place in its user's window and how often it is there,
        see :func:`models.ranking.again.fill_again`; (2, n, 0) where no item may come back
    user_vectors : (n, dim + 1) float32, the last entry is 1
    factors : (n, f) float32, those of the window alone
    mf_users : (n, f + 1) float32, what matrix factorisation scores with: with what is known of the
        users; the last entry is 1
    packed : the positive behaviours of the windows
    had : catalogue rows of what is no candidate of each user, and where each user's begin: what
        repeats hide
    known : what is known of the users beside their windows; None where that is nothing
    """

    rows: Int64
    counts: Int64
    bits: AnyArray
    planes: Float32
    ranks: Int32
    places: Int32
    user_vectors: Float32
    factors: Float32
    mf_users: Float32
    packed: PackedWindows
    had: tuple[Int64, Int64]
    known: Known | None = None

    @property
    def valid(self) -> Bool:
        """Which columns are candidates, (n, c) bool; hidden items are none."""
        return np.arange(self.rows.shape[1]) < self.counts[:, None]

    @property
    def features(self) -> Float32:
        """The features, (n, c, n_features) float32; of padding they mean nothing."""
        return self.planes.transpose(0, 2, 1)

    @property
    def seen(self) -> list[Int64]:
        """Per user, catalogue rows of all items that no list may hold, some repeated."""
        return np.split(self.had[0], self.had[1][1:-1])

    @property
    def given(self) -> dict[str, Bool]:
        """Whether each source brought each candidate, (n, c) bool."""
        return bits_as_masks(self.bits)


def packed_windows(
    artifact: Artifact, catalogue: Catalogue, windows: Sequence[Sequence[Behaviour]]
) -> tuple[FlatWindows, PackedWindows, PackedWindows]:
    """Return all behaviours, the windows that the sequence model reads, and their wishes alone.

    The third is empty for a user who has only other behaviours; the second is then, too.
    """
    kinds, max_length = artifact.kinds, artifact.sequence.config.max_length
    flat = flat_windows(windows, catalogue.rows_of, kinds)
    if kinds.is_all_positive:
        packed = packed_of(flat, flat.is_known, max_length)
        return flat, packed, packed
    wishes = packed_of(flat, flat.is_wish(kinds), max_length)
    is_user_known = np.repeat(wishes.lengths > 0, np.diff(flat.begins))
    return flat, packed_of(flat, flat.is_known & is_user_known, max_length), wishes


def user_states(
    artifact: Artifact, served: ServedSequence, catalogue: Catalogue, packed: PackedWindows, wishes: PackedWindows
) -> tuple[Float32, Float32]:
    """Return user vectors of whole windows, and folded-in factors of their positive behaviours.

    Returns
    -------
    vectors : (n, dim + 1) float32, the last entry is 1
    factors : (n, f + 1) float32, the last entry is 1
    """
    vectors = served.user_vectors(packed, catalogue.vectors)
    weights = np.ones(wishes.rows.shape, dtype=np.float32)
    if not artifact.kinds.is_uniform:
        weights = weights_of(artifact.kinds)[wishes.types]
    factors = folded_in(
        catalogue.factors,
        wishes.rows,
        wishes.lengths,
        weights,
        catalogue.gram,
        alpha=artifact.manifest.alpha,
        regularisation=artifact.manifest.regularisation,
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
    if not artifact.user_features.width:
        return vectors
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
    repeats: Repeats | None = None,
    served: ServedSequence | None = None,
    note: NoteStage = unheard,
    known: Known | None = None,
    strength: float = 0.0,
) -> Candidates:
    """Return the candidates of each window.

    Sources are retrieval, matrix factorisation, followers and neighbours of the window's items,
    popular items, and where items may come back the window's own; for users of whom more is known,
    also what their follows and features bring. A window without a wish for an item of the catalogue
    has no other candidates than popular and known ones: all new items have equal scores there, and
    chance would choose among them.

    Parameters
    ----------
    extra_seen : per user, ids of further items that are no candidates
    n_candidates : rows from retrieval
    repeats : which items of a user's window are no candidates; None asks :func:`policy_of`
    served : the artifact's sequence model as a pipeline keeps it
    note : called at the end of ``embed`` and of ``retrieve``
    known : what is known of the users beside their windows
    strength : pseudo events that this is worth beside those of the window
    """
    repeats = policy_of(artifact, catalogue) if repeats is None else repeats
    flat, whole, packed = packed_windows(artifact, catalogue, windows)
    vectors, mf_users = user_states(artifact, served or ServedSequence(artifact.sequence), catalogue, whole, packed)
    factors = mf_users[:, :-1]
    if known is not None:
        mf_users = with_one(blend(factors, packed.lengths, known.both, strength))
    note("embed")
    has_window = packed.lengths > 0
    brought = (
        catalogue.index.best(vectors, np.where(has_window, n_candidates + packed.lengths, 0)),
        catalogue.factor_index.best(mf_users, np.where(has_window, N_MF, 0)),
        catalogue.popular_rows[:N_POPULAR],
    )
    seen = _seen(catalogue, flat, windows, extra_seen, repeats)
    extra = [] if known is None else [_of_known(catalogue, known)]
    if not repeats.is_never:
        extra.append(own_rows(catalogue, packed))
    found = union(catalogue, packed, brought, seen, (NEXT_WEIGHTS, NEIGHBOUR_WEIGHTS), Extra.joined(extra))
    features = features_of(catalogue, packed, found, vectors, mf_users, len(artifact.manifest.features))
    places = no_places(len(windows))
    if not repeats.is_never or features.planes.shape[1] > len(FEATURES):
        wishes = newest_of(flat, flat.is_wish(artifact.kinds), artifact.sequence.config.max_length)
        places = fill_again(wishes, found, features.planes)
        fill_steps(catalogue, packed, NEXT_WEIGHTS, found, features.planes)
    if artifact.blend is not None:
        fill_blend(features.planes, found.counts, artifact.blend)
    note("retrieve")
    return Candidates(
        found.rows, found.counts, found.given, features.planes, features.ranks, places, vectors, factors, mf_users, packed,
        seen, known,
    )  # fmt: skip


def _of_known(catalogue: Catalogue, known: Known) -> Extra:
    """Return what follows and features bring to the users of whom they are known."""
    found = [
        (catalogue.factor_index.best(with_one(prior.vectors), np.where(prior.is_known, N_KNOWN, 0)), bit)
        for prior, bit in ((known.social, SOCIAL), (known.features, KNOWN_FEATURES))
        if prior.is_known.any()
    ]
    bits = np.concatenate([np.full(rows.shape[1], bit, dtype=np.uint8) for rows, bit in found])
    return Extra(np.concatenate([rows for rows, _ in found], axis=1), bits)


def _seen(
    catalogue: Catalogue,
    flat: FlatWindows,
    windows: Sequence[Sequence[Behaviour]],
    extra_seen: Sequence[AbstractSet[str]] | None,
    repeats: Repeats,
) -> tuple[Int64, Int64]:
    """Return the rows of all that no list may hold, and where each user's begin; some repeat."""
    n = len(flat.begins) - 1
    users, rows = np.repeat(np.arange(n), np.diff(flat.begins)), flat.rows
    if not repeats.is_never:
        hidden = [repeats.hidden_items(window) for window in windows]
        more = extra_seen if extra_seen is not None else [frozenset()] * n
        extra_seen = [own | other for own, other in zip(hidden, more, strict=True)]
        users, rows = users[:0], rows[:0]
    if extra_seen is not None and any(extra_seen):
        extra = catalogue.rows_of([item_id for ids in extra_seen for item_id in ids])
        rows = np.concatenate([rows, extra])
        users = np.concatenate([users, np.repeat(np.arange(n), [len(ids) for ids in extra_seen])])
        order = np.argsort(users, kind="stable")
        users, rows = users[order], rows[order]
    begins = np.searchsorted(users[rows >= 0], np.arange(n + 1))
    return rows[rows >= 0], begins


def seen_rows(
    catalogue: Catalogue,
    windows: Sequence[Sequence[Behaviour]],
    extra_seen: Sequence[AbstractSet[str]] | None,
    repeats: Repeats = NO_REPEATS,
) -> list[Int64]:
    """Return, per user, the catalogue rows of all items that no list may hold, rising."""
    flat = flat_windows(windows, catalogue.rows_of, DEFAULT_TYPES.window_types)
    rows, begins = _seen(catalogue, flat, windows, extra_seen, repeats)
    return [np.unique(part) for part in np.split(rows, begins[1:-1])]


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
    return _entries(catalogue.neighbour_rows, catalogue.neighbour_weights, packed, NEIGHBOUR_WEIGHTS)


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
