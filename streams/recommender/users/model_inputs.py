"""What the pipeline takes of users beside their windows, from what is known of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.artifact.artifact import Artifact
from models.features.columns import Row, user_row
from models.ranking.newcomers.social import Followed
from streams.contract.records import User, UserVector
from streams.recommender.users.first_lists import stored_vector
from streams.recommender.users.records import UserFacts


def features_of(user: User) -> Row:
    """Return a user's features by name, as training and evaluation name them."""
    return user_row({"features": user.features})


def model_inputs(
    facts: Sequence[UserFacts | None] | None, artifact: Artifact
) -> tuple[list[Row] | None, list[Followed | None] | None]:
    """Return features and followed users of each user, None each where nothing is known of any."""
    if facts is None:
        return None, None
    n_factors = artifact.factors.factors.shape[1]
    rows: list[Row] = [{} if fact is None else features_of(fact.user) for fact in facts]
    followed = [None if fact is None else _followed(fact.followed, artifact.version, n_factors) for fact in facts]
    return rows, followed


def _followed(values: Sequence[bytes], version: str, n_factors: int) -> Followed | None:
    found = [vector for value in values if (vector := _usable(value, version, n_factors)) is not None]
    if not found:
        return None
    factors = np.frombuffer(b"".join(vector.factors for vector in found), "<f4").reshape(-1, n_factors)
    is_finite = np.isfinite(factors).all(axis=1)
    return Followed(factors[is_finite], np.array([vector.revision for vector in found], dtype=np.int64)[is_finite])


def _usable(value: bytes, version: str, n_factors: int) -> UserVector | None:
    """Return a user vector of this artifact, of a user with events."""
    vector = stored_vector(value)
    if vector is None or vector.record or vector.artifact != version or len(vector.factors) != 4 * n_factors:
        return None
    return vector
