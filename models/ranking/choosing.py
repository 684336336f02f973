"""The best candidates of each user, and where the sources place them: compiled."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.base.compiled import compiled
from models.base.scalar_features import FEATURES
from models.base.types import AnyArray, Float32, Int64
from models.ranking.candidates import Candidates
from models.ranking.catalogue import Catalogue
from models.ranking.collecting import AGAIN, MF, NEIGHBOURS, NEXT, POPULAR, RETRIEVAL
from models.ranking.lists import DEGRADED, SOURCE_NAMES, RankedBatch
from models.rules.arrange import EXPLORED, PINNED, Items, arranged

_RETRIEVAL, _MF = FEATURES.index("retrieval_score"), FEATURES.index("mf_logit")
_NEXT, _NEIGHBOURS = FEATURES.index("next_score"), FEATURES.index("neighbour_score")
_RECENT: Final = FEATURES.index("recent_popularity")
_COLUMNS: Final = tuple(
    SOURCE_NAMES.index(name) for name in ("retrieval", "content", "mf", "next", "neighbours", "popular", "again")
)
_AS_RETRIEVAL, _AS_CONTENT, _AS_MF, _AS_NEXT, _AS_NEIGHBOURS, _AS_POPULAR, _AS_AGAIN = _COLUMNS


def chosen(
    catalogue: Catalogue,
    found: Candidates,
    probabilities: Float32,
    k: int,
    seeds: AnyArray | None = None,
    weights: Float32 | None = None,
) -> RankedBatch:
    """Return the lists of the candidates with the greatest probabilities, without reasons.

    Ties go to the lower row. An item has the rank and score of each source that brought it;
    retrieval of a new item is named ``content``. A candidate whose probability is not a number is
    not listed. Under the catalogue's rules lists are whole: rules move items, and fill lists up.

    Parameters
    ----------
    probabilities : (n, c) float32
    k : items of a list, where no rule says otherwise
    seeds : (n,) uint64, of chance, where the rules leave something to it; None for zeros
    weights : (n, c) float32, what the order under rules multiplies each probability by
    """
    k, is_cold = list_size(catalogue, k), found.packed.lengths == 0
    lists = RankedBatch.blank(catalogue.item_ids, k, found.user_vectors, found.factors)
    lists.degraded[~is_cold] = DEGRADED.index("none")
    columns = np.full((len(lists), k), -1, dtype=np.int64)
    if catalogue.rules is None:
        _choose(found.rows, found.counts, probabilities, columns, lists.rows, lists.lengths, lists.scores)
    else:
        columns = put_arranged(lists, catalogue, (found.rows, found.counts, probabilities), found.had, seeds, weights)
    _tell_sources(
        found.rows, found.bits, found.counts, found.planes, found.ranks, found.places, columns, is_cold, catalogue.is_new,
        lists.source_ranks, lists.source_scores,
    )  # fmt: skip
    return lists


def list_size(catalogue: Catalogue, k: int) -> int:
    """Return how many items a list of a catalogue has, ``k`` where no rule says it."""
    return k if catalogue.rules is None else catalogue.rules.rules.list_size(k)


def put_arranged(
    lists: RankedBatch,
    catalogue: Catalogue,
    candidates: tuple[Int64, Int64, Float32],
    seen: tuple[Int64, Int64],
    seeds: AnyArray | None,
    weights: Float32 | None = None,
) -> Int64:
    """Put what the catalogue's rules make of candidates into lists, and tell which rule did.

    Items that are not candidates have probability 0, or in a list of popular items their share.

    Parameters
    ----------
    lists : without items
    candidates : rows (n, c) int64, how many of them each user has (n,), probabilities (n, c)
    seen, seeds : as :func:`models.rules.arrange.arranged` takes them; None for zeros
    weights : (n, c) float32, what the order multiplies each probability by; None for ones

    Returns
    -------
    (n, k) int64, the candidate at each place, -1 for items that are not candidates
    """
    rules = catalogue.rules
    if rules is None:
        raise ValueError("catalogue: has no rules; make it with ruled()")
    items = Items(catalogue.is_shown, catalogue.popular_rows, catalogue.unit)
    seeds = np.zeros(len(lists), dtype=np.uint64) if seeds is None else seeds
    rows, counts, probabilities = candidates
    ordered = probabilities if weights is None else probabilities * weights
    made = arranged(rules, items, rows, counts, ordered, seen, lists.rows.shape[1], seeds)
    lists.rows[:], lists.lengths[:] = made.rows, made.lengths
    is_cold = lists.degraded == DEGRADED.index("popular")
    of_all = np.where(is_cold[:, None], catalogue.popular_shares[made.rows], np.float32(0.0))
    if candidates[2].shape[1]:
        own = np.take_along_axis(candidates[2], np.maximum(made.columns, 0), axis=1)
        of_all = np.where(made.columns >= 0, own, of_all)
    lists.scores[:] = np.where(made.rows >= 0, of_all, 0.0)
    for how, name in ((PINNED, "pin"), (EXPLORED, "explore")):
        users, places = np.nonzero((made.how == how) & (made.rows >= 0))
        lists.source_ranks[users, places, SOURCE_NAMES.index(name)] = places + 1
        lists.source_scores[users, places, SOURCE_NAMES.index(name)] = lists.scores[users, places]
    users, places = np.nonzero(made.popular)
    lists.source_ranks[users, places, _AS_POPULAR] = made.popular[users, places]
    lists.source_scores[users, places, _AS_POPULAR] = catalogue.recent_popularity[made.rows[users, places]]
    return made.columns


@compiled
def _best_columns(probabilities: Any, columns: Any) -> Any:
    """Write the columns of the greatest probabilities, best first; return how many."""
    n = 0
    for i in range(len(probabilities)):
        value = probabilities[i]
        if value != value or (n == len(columns) and not value > probabilities[columns[n - 1]]):
            continue
        place = min(n, len(columns) - 1)
        while place > 0 and value > probabilities[columns[place - 1]]:
            columns[place] = columns[place - 1]
            place -= 1
        columns[place] = i
        n = min(n + 1, len(columns))
    return n


@compiled
def _place(scores: Any, column: Any) -> Any:
    """Return the place of a column by falling score, from 1; ties keep the order of the columns."""
    own, before = scores[column], np.int32(1)
    for i in range(len(scores)):
        before += np.int32(scores[i] > own)
    for i in range(column):
        before += np.int32(scores[i] == own)
    return before


@compiled
def _choose(rows: Any, counts: Any, probabilities: Any, columns: Any, listed: Any, lengths: Any, scores: Any) -> None:
    for u in range(len(counts)):
        n = _best_columns(probabilities[u, : counts[u]], columns[u])
        lengths[u] = n
        for place in range(n):
            i = columns[u, place]
            listed[u, place], scores[u, place] = rows[u, i], probabilities[u, i]


@compiled
def _tell_sources(  # noqa: C901 (a branch for each source)
    rows: Any, bits: Any, counts: Any, planes: Any, ranks: Any, places: Any, columns: Any, is_cold: Any, is_new: Any,
    source_ranks: Any, source_scores: Any,
) -> None:  # fmt: skip
    for u in range(len(counts)):
        c = counts[u]
        for place in range(columns.shape[1]):
            i = columns[u, place]
            if i < 0:
                continue
            given = bits[u, i] & POPULAR if is_cold[u] else bits[u, i]
            if given == 0:
                given = POPULAR
            rank, score = source_ranks[u, place], source_scores[u, place]
            if given & RETRIEVAL:
                as_what = _AS_CONTENT if is_new[rows[u, i]] else _AS_RETRIEVAL
                rank[as_what], score[as_what] = ranks[0, u, i], planes[u, _RETRIEVAL, i]
            if given & MF:
                rank[_AS_MF], score[_AS_MF] = ranks[1, u, i], planes[u, _MF, i]
            if given & NEXT:
                rank[_AS_NEXT], score[_AS_NEXT] = _place(planes[u, _NEXT, :c], i), planes[u, _NEXT, i]
            if given & NEIGHBOURS:
                own = planes[u, _NEIGHBOURS, :c]
                rank[_AS_NEIGHBOURS], score[_AS_NEIGHBOURS] = _place(own, i), own[i]
            if given & POPULAR:
                own = planes[u, _RECENT, :c]
                rank[_AS_POPULAR], score[_AS_POPULAR] = _place(own, i), own[i]
            if given & AGAIN:
                rank[_AS_AGAIN], score[_AS_AGAIN] = places[0, u, i], np.float32(places[1, u, i])
