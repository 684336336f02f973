"""One window's way through the pipeline, kept open: candidates, probabilities, the list.

:meth:`Trace.places` says how each source places any item of the catalogue, also one that the source
did not bring, and what score would have been needed there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np

from models.artifact.artifact import Artifact
from models.base.scalar_features import FEATURES
from models.base.types import AnyArray, Behaviour, Bool, Float32, Int64
from models.features.columns import Row
from models.ranking.candidate_features import SHARE_OFFSET
from models.ranking.candidates import N_KNOWN, N_MF, N_POPULAR, Candidates, followers_of, neighbours_of, user_side
from models.ranking.catalogue import Catalogue
from models.ranking.explaining.answer import SourcePlace
from models.ranking.explaining.contributions import Calibrated, FusionExplainer, calibrated
from models.ranking.lists import RankedList
from models.ranking.newcomers.known import Known, with_one
from models.ranking.newcomers.social import Followed
from models.ranking.pipeline import Pipeline


class Person(NamedTuple):
    """What is known of a user beside the window, as :meth:`Pipeline.recommend` takes it."""

    features: Row | None = None
    followed: Followed | None = None

    def rows(self, n: int) -> list[Row] | None:
        """Return the features for ``n`` windows of the user."""
        return None if self.features is None else [self.features] * n

    def known(self, pipeline: Pipeline, n: int) -> Known | None:
        """Return what a pipeline knows of the user, for ``n`` windows."""
        return pipeline.known(self.rows(n), None if self.features is None else [self.followed] * n, n)


NOBODY: Final = Person()


@dataclass(frozen=True, eq=False)
class Trace:
    """What the pipeline made of one window.

    Parameters
    ----------
    found : the candidates, of one user
    probabilities : (c,) float32, as serving computes them
    ranked : the list
    n_candidates : how many items retrieval brings
    person : what is known of the user beside the window
    lean : the weight of popularity in the candidates' logits; 0 where the list does not lean
    """

    artifact: Artifact
    catalogue: Catalogue
    found: Candidates
    probabilities: Float32
    ranked: RankedList
    n_candidates: int
    person: Person = NOBODY
    lean: float = 0.0

    @property
    def is_cold(self) -> bool:
        """Whether the models know no behaviour of the window: only popular items come then."""
        return int(self.found.packed.lengths[0]) == 0

    @property
    def rows(self) -> Int64:
        """The candidates' rows, (c,) int64."""
        return self.found.rows[0, : int(self.found.counts[0])]

    def column(self, row: int) -> int | None:
        """Return the column of a row among the candidates; None where it is none."""
        at = int(np.searchsorted(self.rows, row))
        return at if at < len(self.rows) and self.rows[at] == row else None

    def fused_rank(self, column: int) -> int:
        """Return the place of a candidate by probability, from 1; ties go to the lower row."""
        own = self.probabilities[column]
        better = (self.probabilities > own).sum() + (self.probabilities[:column] == own).sum()
        return 1 + int(better)

    @cached_property
    def explainer(self) -> FusionExplainer:
        """Explains the candidates' logits."""
        user = user_side(self.artifact, self.found.user_vectors, self.person.rows(1))[0]
        return FusionExplainer(
            self.artifact.fusion,
            self.artifact.manifest.features,
            self.found.features[0, : len(self.rows)],
            self.catalogue.side_of(self.rows),
            user,
            self.lean,
        )

    @cached_property
    def calibrated(self) -> Calibrated:
        """The way from the candidates' logits to their probabilities."""
        shares = self.found.features[0, : len(self.rows), FEATURES.index("retrieval_share")]
        return calibrated(self.artifact.fusion, self.explainer.logits(), shares, self.is_unseen)

    @property
    def is_unseen(self) -> Bool:
        """Which candidates have no event since training: retrieval ranks them, (c,) bool."""
        return self.catalogue.is_unseen[self.rows]

    def places(self, row: int) -> list[SourcePlace]:
        """Return how each source places a row of the catalogue."""
        return list(self._places(row))

    def _places(self, row: int) -> Iterator[SourcePlace]:
        catalogue, found, column = self.catalogue, self.found, self.column(row)
        shown, is_new = catalogue.is_shown, catalogue.is_new
        n_retrieved = 0 if self.is_cold else self.n_candidates + int(found.packed.lengths[0])
        name = "content" if is_new[row] else "retrieval"
        scores = catalogue.vectors @ found.user_vectors[0]
        yield self._scored(name, row, scores, shown & ~catalogue.is_blank, n_retrieved, "retrieval", column)
        scores = catalogue.factors @ found.mf_users[0]
        yield self._scored("mf", row, scores, shown & ~is_new, 0 if self.is_cold else N_MF, "mf", column)
        yield self._counted("next", row, followers_of(catalogue, found.packed), column)
        yield self._counted("neighbours", row, neighbours_of(catalogue, found.packed), column)
        yield self._scored("popular", row, catalogue.recent_popularity, shown, N_POPULAR, "popular", column)
        known = found.known
        for source, prior in () if known is None else (("social", known.social), ("features", known.features)):
            if prior.is_known[0]:
                scores = catalogue.factors @ with_one(prior.vectors)[0]
                yield self._scored(source, row, scores, shown & ~is_new, N_KNOWN, source, column)
        if column is not None and found.given["again"][0, column]:
            rank, times = (int(values[0, column]) for values in found.places)
            yield SourcePlace("again", True, rank, float(times), rank, int(found.packed.lengths[0]), None)

    def _scored(
        self, name: str, row: int, scores: Float32, could: Bool, n_brought: int, source: str, column: int | None
    ) -> SourcePlace:
        """Return the place by falling score among the rows that a source could bring."""
        score = float(scores[row]) if could[row] else None
        place = needed = None
        if n_brought and could[row]:
            rivals = np.flatnonzero(could)
            ahead = scores[rivals] > scores[row]
            place = 1 + int(ahead.sum() + ((scores[rivals] == scores[row]) & (rivals < row)).sum())
        if 0 < n_brought < int(could.sum()):
            needed = float(np.partition(scores[could], -n_brought)[-n_brought])
        rank = None if column is None else self._rank(source, column)
        return SourcePlace(name, self._brought(source, column), rank, score, place, n_brought, needed)

    def _counted(self, name: str, row: int, entries: tuple[Int64, Float32], column: int | None) -> SourcePlace:
        """Return the place by falling sum of weights among the entries of a table.

        The score is the logarithm of the sum, as in lists.
        """
        rows, weights = entries[0][0], entries[1][0]
        known, where = np.unique(rows[rows >= 0], return_inverse=True)
        sums = np.bincount(where, weights=weights[rows >= 0], minlength=len(known))
        at = np.flatnonzero(known == row)
        score = float(np.log(np.float32(sums[at[0]]) + SHARE_OFFSET)) if len(at) else None
        place = 1 + int((sums > sums[at[0]]).sum()) if len(at) else None
        rank = None if column is None or score is None else self._rank(name, column)
        return SourcePlace(name, self._brought(name, column), rank, score, place, len(known), None)

    def is_hidden(self, row: int) -> bool:
        """Whether the user has had a row, or asked not to see it, so that it is no candidate."""
        return bool((self.found.seen[0] == row).any())

    def _rank_of_known(self, source: str, column: int) -> int | None:
        """Return the place among the candidates that the source brought, as lists show it."""
        brought = np.flatnonzero(self.found.given[source][0, : len(self.rows)])
        if column not in brought or self.found.known is None:
            return None
        prior = getattr(self.found.known, source)
        scores = self.catalogue.factors[self.rows[brought]] @ with_one(prior.vectors)[0]
        at = int(np.searchsorted(brought, column))
        return 1 + int((scores > scores[at]).sum() + (scores[:at] == scores[at]).sum())

    def _brought(self, source: str, column: int | None) -> bool:
        return column is not None and bool(self.found.given[source][0, column])

    def _rank(self, source: str, column: int) -> int | None:
        """Return the place among the candidates, as :mod:`models.ranking.choosing` gives it."""
        if source in ("retrieval", "mf"):
            return int(self.found.ranks[("retrieval", "mf").index(source), 0, column])
        if source in ("social", "features"):
            return self._rank_of_known(source, column)
        feature = {"next": "next_score", "neighbours": "neighbour_score", "popular": "recent_popularity"}[source]
        scores = self.found.features[0, : len(self.rows), FEATURES.index(feature)]
        return 1 + int((scores > scores[column]).sum() + (scores[:column] == scores[column]).sum())


def traced(
    pipeline: Pipeline,
    artifact: Artifact,
    catalogue: Catalogue,
    window: Sequence[Behaviour],
    extra_seen: AbstractSet[str],
    n_candidates: int,
    person: Person = NOBODY,
    seeds: AnyArray | None = None,
    weights: Sequence[Mapping[str, float]] | None = None,
) -> Trace:
    """Return the way of a window through a pipeline.

    Parameters
    ----------
    pipeline : of the artifact, with ``n_candidates``
    extra_seen : ids of further items that no list of the window may hold
    person : what is known of the user beside the window
    seeds, weights : of this one user, as :meth:`Pipeline.recommend` takes them
    """
    found = pipeline.candidates(catalogue, [window], [extra_seen], known=person.known(pipeline, 1))
    probabilities = pipeline.probabilities(catalogue, found, person.rows(1))
    followed = None if person.features is None else [person.followed]
    ranked = pipeline.recommend(
        catalogue, [window], [extra_seen], person.rows(1), seeds=seeds, followed=followed, weights=weights
    )[0]
    n = int(found.counts[0])
    lean = float(pipeline.lean(found)[0])
    return Trace(artifact, catalogue, found, probabilities[0, :n], ranked, n_candidates, person, lean)
