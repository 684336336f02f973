"""The best candidates of each user, and where the sources place them: compiled."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.base.compiled import compiled
from models.base.types import Float32
from models.fusion import FEATURES
from models.ranking.candidates import Candidates
from models.ranking.catalogue import Catalogue
from models.ranking.collecting import MF, NEIGHBOURS, NEXT, POPULAR, RETRIEVAL
from models.ranking.lists import DEGRADED, SOURCE_NAMES, RankedBatch

_RETRIEVAL, _MF = FEATURES.index("retrieval_score"), FEATURES.index("mf_logit")
_NEXT, _NEIGHBOURS = FEATURES.index("next_score"), FEATURES.index("neighbour_score")
_RECENT: Final = FEATURES.index("recent_popularity")
_COLUMNS: Final = tuple(
    SOURCE_NAMES.index(name) for name in ("retrieval", "content", "mf", "next", "neighbours", "popular")
)
_AS_RETRIEVAL, _AS_CONTENT, _AS_MF, _AS_NEXT, _AS_NEIGHBOURS, _AS_POPULAR = _COLUMNS


def chosen(catalogue: Catalogue, found: Candidates, probabilities: Float32, k: int) -> RankedBatch:
    """Return the lists of the candidates with the greatest probabilities, without reasons.

    Ties go to the lower row. An item has the rank and score of each source that brought it;
    retrieval of a new item is named ``content``. A candidate whose probability is not a number is
    not listed.

    Parameters
    ----------
    probabilities : (n, c) float32
    k : items of a list
    """
    lists = RankedBatch.blank(catalogue.item_ids, k, found.user_vectors, found.factors)
    is_cold = found.packed.lengths == 0
    lists.degraded[~is_cold] = DEGRADED.index("none")
    _choose(
        found.rows, found.counts, found.bits, found.planes, found.ranks, probabilities, is_cold, catalogue.is_new,
        lists.rows, lists.lengths, lists.scores, lists.source_ranks, lists.source_scores,
    )  # fmt: skip
    return lists


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
def _choose(
    rows: Any, counts: Any, bits: Any, planes: Any, ranks: Any, probabilities: Any, is_cold: Any, is_new: Any,
    listed: Any, lengths: Any, scores: Any, source_ranks: Any, source_scores: Any,
) -> None:  # fmt: skip
    columns = np.empty(listed.shape[1], np.int64)
    for u in range(len(counts)):
        c = counts[u]
        n = _best_columns(probabilities[u, :c], columns)
        lengths[u] = n
        for place in range(n):
            i = columns[place]
            row = rows[u, i]
            listed[u, place], scores[u, place] = row, probabilities[u, i]
            given = bits[u, i] & POPULAR if is_cold[u] else bits[u, i]
            if given == 0:
                given = POPULAR
            rank, score = source_ranks[u, place], source_scores[u, place]
            if given & RETRIEVAL:
                as_what = _AS_CONTENT if is_new[row] else _AS_RETRIEVAL
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
