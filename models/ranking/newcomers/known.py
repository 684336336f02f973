"""What is known of users beside their windows, as factors; and the order of items that follows.

::

    features ─► ridge regression ─► expected factors ─┐
    follows ──► mean of their factors ► expected      ├─► weights that training chose on users
    popularity ───────────────────────────────────────┘   whom it hid
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from msgspec import UNSET

from models.artifact.artifact import Artifact
from models.artifact.manifest import NewcomerWeights
from models.base.types import Bool, Float32, Float64, Int64
from models.features.columns import Row, encode
from models.features.side_features import SideFeatures
from models.ranking.catalogue.snapshot import Catalogue
from models.ranking.newcomers.priors import FeatureModel, Prior
from models.ranking.newcomers.social import Followed, social_prior


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of ``n`` users beside their windows.

    Parameters
    ----------
    social, features : what follows and features let expect, of the users of whom they are known and
        as far as the source has a weight
    both : their weighted mean
    """

    social: Prior
    features: Prior
    both: Prior


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and second moment of items' factors: they give those of any user's scores.

    Parameters
    ----------
    mean : (f + 1,) float64
    second : (f + 1, f + 1) float64
    """

    mean: Float64
    second: Float64

    @classmethod
    def of(cls, factors: Float32) -> Moments:
        """Return the moments of items' factors, (n, f + 1) float32, the last entry is the bias."""
        wide = factors.astype(np.float64)
        return cls(wide.mean(axis=0), wide.T @ wide / len(wide))

    def standardised(self, users: Float32, scores: Float32) -> Float32:
        """Return scores with mean 0 and deviation 1 over all items of each user.

        Scores of one scale let one weight mix sources in the same way for all users.

        Parameters
        ----------
        users : (n, f + 1) float32, the last entry is 1
        scores : (n, m) float32, of any items
        """
        mean = np.einsum("nf,f->n", users, self.mean)  # each user alone: the same bits in every batch
        variance = np.einsum("nf,fg,ng->n", users, self.second, users) - mean**2
        deviation = np.sqrt(np.maximum(variance, 0.0))
        deviation[deviation < 1e-6] = np.inf  # equal scores say nothing
        scaled: Float32 = ((scores - mean[:, None]) / deviation[:, None]).astype(np.float32)
        return scaled


def standard_popularity(recent_popularity: Float32) -> Float32:
    """Return log shares of popularity, (n,) float32, with mean 0 and deviation 1."""
    deviation = float(recent_popularity.std())
    scaled: Float32 = ((recent_popularity - recent_popularity.mean()) / (deviation or 1.0)).astype(np.float32)
    return scaled


def with_one(vectors: Float32) -> Float32:
    """Return users' factors with a last entry of 1, which meets the items' bias."""
    return np.concatenate([vectors, np.ones((len(vectors), 1), dtype=np.float32)], axis=1)


def mixed(weights: NewcomerWeights, popular: Float32, social: Float32, features: Float32) -> Float32:
    """Return the scores of items for users without events: a weighted sum of standardised parts.

    Parameters
    ----------
    popular, social, features : (n, m) float32, or shapes that broadcast to it; a part of which
        nothing is known of a user is 0 there
    """
    total: Float32 = popular + np.float32(weights.social) * social + np.float32(weights.features) * features
    return total


def told_features(side: SideFeatures, rows: Sequence[Row]) -> tuple[Float32, Bool]:
    """Return users' features as fusion reads them, and of which users any feature is known.

    Returns
    -------
    encoded : (n, width) float32, without missing values
    is_told : (n,) bool
    """
    is_told: Bool = np.any(~np.isnan(encode(side.spec, rows)), axis=1)
    return side.encode(rows, np.zeros((len(rows), 0), dtype=np.float32)), is_told


def expected(model: FeatureModel | None, side: SideFeatures, rows: Sequence[Row], dim: int) -> Prior:
    """Return what features let expect; a user without a known feature has zeros, not known."""
    vectors, is_told = np.zeros((len(rows), dim), dtype=np.float32), np.zeros(len(rows), dtype=np.bool_)
    if model is not None and any(rows):
        encoded, is_told = told_features(side, rows)
        vectors[is_told] = model.predict(encoded[is_told])
    return Prior(vectors, is_told)


def together(weights: NewcomerWeights, social: Prior, features: Prior) -> Prior:
    """Return the mean of two expectations by their weights, where known."""
    shares = np.stack([weights.social * social.is_known, weights.features * features.is_known]).astype(np.float32)
    total = shares.sum(axis=0)
    shares /= np.where(total > 0, total, 1.0)
    vectors = shares[0, :, None] * social.vectors + shares[1, :, None] * features.vectors
    return Prior(vectors.astype(np.float32), total > 0)


class Newcomers:
    """What an artifact learnt of users without events. For one thread at a time.

    Parameters
    ----------
    model : from features to factors; None where features have no weight
    """

    def __init__(self, artifact: Artifact, weights: NewcomerWeights, model: FeatureModel | None) -> None:
        self.weights = weights
        self._side, self._model = artifact.user_features, model
        factors = artifact.factors
        self._dim = factors.factors.shape[1]
        self._moments = Moments.of(np.concatenate([factors.factors, factors.biases[:, None]], axis=1))
        self._popular: tuple[Float32, Float32] | None = None

    @classmethod
    def of(cls, artifact: Artifact) -> Newcomers | None:
        """Return what an artifact learnt; None where nothing helped, or nothing was there."""
        weights = artifact.manifest.newcomers
        if weights is UNSET or not (weights.social or weights.features):
            return None
        model = None
        if weights.features:
            tensors = artifact.tensors
            model = FeatureModel(tensors["newcomers.coefficients"].numpy(), tensors["newcomers.intercept"].numpy())
        return cls(artifact, weights, model)

    def known(self, rows: Sequence[Row] | None, followed: Sequence[Followed | None] | None, n: int) -> Known | None:
        """Return what is known of ``n`` users, None where that is nothing.

        Parameters
        ----------
        rows : per user, features by name; None for none
        followed : per user, the followed users; None for nobody
        """
        nobody = Prior(np.zeros((n, self._dim), dtype=np.float32), np.zeros(n, dtype=np.bool_))
        social = nobody if followed is None or not self.weights.social else social_prior(followed, self._dim)
        features = nobody if rows is None else expected(self._model, self._side, rows, self._dim)
        if not (social.is_known.any() or features.is_known.any()):
            return None
        return Known(social, features, together(self.weights, social, features))

    def scores(self, catalogue: Catalogue, rows: Int64, known: Known) -> Float32:
        """Return the scores of rows for users without events, (n, c) float32.

        Parameters
        ----------
        rows : (n, c) int64, catalogue rows
        """
        popular = self._standard_popularity(catalogue)[rows]
        social, features = (
            self._moments.standardised(with_one(prior.vectors), raw_scores(catalogue, rows, prior))
            * prior.is_known[:, None]
            for prior in (known.social, known.features)
        )
        return mixed(self.weights, popular, social, features)

    def _standard_popularity(self, catalogue: Catalogue) -> Float32:
        recent = catalogue.counts.recent
        if self._popular is None or self._popular[0] is not recent:
            self._popular = recent, standard_popularity(catalogue.recent_popularity)
        return self._popular[1]


def raw_scores(catalogue: Catalogue, rows: Int64, prior: Prior) -> Float32:
    """Return the products of users' expected factors with items' factors, (n, c) float32."""
    found: Float32 = np.einsum("ncf,nf->nc", catalogue.factors[rows], with_one(prior.vectors))
    return found
