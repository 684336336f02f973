"""The followed users of a log as serving knew them before an event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from models.artifact.artifact import Artifact
from models.base.types import Int64, weights_of
from models.interactions import Interactions
from models.ranking.catalogue import Catalogue
from models.ranking.newcomers.histories import FoldIn, followed_of, places_of
from models.ranking.newcomers.social import Followed


class FollowedBefore:
    """Folds followed users in from their events before a place of the log.

    Parameters
    ----------
    follows : user id to the ids of the users whom the user follows
    rows : (n_items,) int64, the catalogue's row of each item of the log
    """

    def __init__(
        self,
        artifact: Artifact,
        catalogue: Catalogue,
        log: Interactions,
        follows: Mapping[str, Sequence[str]],
        rows: Int64,
    ) -> None:
        manifest = artifact.manifest
        self._fold_in = FoldIn(manifest.alpha, manifest.regularisation, artifact.sequence.config.max_length)
        self._factors = catalogue.factors[:, :-1]
        self._log, self._follows, self._rows = log, follows, rows
        self._row_of = {user_id: row for row, user_id in enumerate(log.user_ids)}
        self._places: dict[int, Int64] = {}

    def of(self, user_ids: Sequence[str], position: int) -> list[Followed | None] | None:
        """Return the followed users of users as of the event at ``position``; None for nobody."""
        named = {other for user_id in user_ids for other in self._follows.get(user_id, ())}
        users = np.array(sorted(self._row_of[other] for other in named if other in self._row_of), dtype=np.int64)
        if not len(users):
            return None
        self._find(users)
        before = [self._places[user][: np.searchsorted(self._places[user], position)] for user in users.tolist()]
        is_wish, weights = self._log.is_positive, weights_of(self._log.kinds)
        wishes = [places[is_wish[places]][-self._fold_in.max_length :] for places in before]
        factors = self._fold_in.histories(
            self._factors,
            [self._rows[self._log.items[places]] for places in wishes],
            [weights[self._log.types[places]] for places in wishes],
        )
        row_of = {self._log.user_ids[user]: at for at, user in enumerate(users.tolist())}
        n_events = np.array([len(places) for places in before], dtype=np.int64)
        return followed_of(self._follows, user_ids, row_of, factors, n_events)

    def _find(self, users: Int64) -> None:
        missing = np.array([user for user in users.tolist() if user not in self._places], dtype=np.int64)
        self._places.update(zip(missing.tolist(), places_of(self._log, missing), strict=True))
