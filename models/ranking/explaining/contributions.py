"""What fusion made of a candidate: its logit, split exactly into what each group of inputs adds.

The network has one hidden layer and a product of user and item, so its inputs act together, and no
weight alone says what an input adds. The inputs form a few groups, and each coalition of groups is
one row for the network: the groups of the coalition have the candidate's values, the others those
of the mean candidate of the same list. The Shapley values of the groups sum to the candidate's
logit less the logit of that mean candidate. Where the list of a user with few events leans on
popularity, that is one group more, and the sum is still exact.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch

from models.base.scalar_features import BLEND, STEP_FEATURES
from models.base.types import Bool, Float32, Float64
from models.fusion import FusionModel
from models.ranking.explaining.shapley import coalitions, shapley_values

#: The groups of fusion's features. Each feature is in one; those of no group form ``others``.
GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "retrieval": ("retrieval_score", "retrieval_share", "retrieval_rank"),
    "mf": ("mf_logit", "mf_rank"),
    "next": ("next_share", "next_score", *STEP_FEATURES),
    "neighbours": ("neighbour_score",),
    "popularity": ("recent_popularity", "popularity"),
    "similarity": ("similarity",),
    "text": ("text_similarity", "newest_text_similarity"),
    "novelty": ("is_new",),
    "window": ("window_length",),
    "blend": (BLEND,),
}
#: The features of an item that may come back begin with this; they form one group of that name.
AGAIN: Final = "again"
OTHERS: Final = "others"
#: The group of the item's own vector and features, which fusion reads beside the scalar features.
ITEM: Final = "item"
#: What popularity adds once more, where the list of a user with few events leans on it.
LEANING: Final = "few events"


@dataclass(frozen=True)
class Contribution:
    """What a group of inputs adds to a candidate's logit.

    Parameters
    ----------
    value : the Shapley value
    inputs : by feature the candidate's value and that of the mean candidate; empty for ``item``
    """

    group: str
    value: float
    inputs: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Fused:
    """How fusion's logit of a candidate comes about.

    Parameters
    ----------
    logit : before the softmax over the candidates
    baseline : the logit of the mean candidate of the list; where the list leans, mixed with the
        candidates' mean popularity as logits are
    contributions : their values sum to ``logit - baseline``; greatest first
    """

    logit: float
    baseline: float
    contributions: tuple[Contribution, ...]

    @property
    def of_group(self) -> dict[str, float]:
        """The values by group."""
        return {one.group: one.value for one in self.contributions}


class FusionExplainer:
    """Explains one list by the network that ranked it, in double precision. For one thread.

    Parameters
    ----------
    names : the scalar features that the network reads, in order
    features : (c, len(names)) float32, of the candidates
    items : (c, item_width) float32, what fusion reads of the candidates
    user : (user_width,) float32
    lean : the weight of popularity, see :mod:`models.ranking.newcomers.leaning`
    """

    def __init__(
        self,
        model: FusionModel,
        names: Sequence[str],
        features: Float32,
        items: Float32,
        user: Float32,
        lean: float = 0.0,
    ) -> None:
        self._model = copy.deepcopy(model).cpu().double().eval()
        self._features, self._items, self._user = (np.asarray(a, dtype=np.float64) for a in (features, items, user))
        self._mean = self._features.mean(axis=0), self._items.mean(axis=0)
        self._names = tuple(names)
        self._lean = lean
        self._recent = self._features[:, self._names.index("recent_popularity")]
        self._groups = _groups_of(self._names)
        self._made: dict[int, Fused] = {}

    def logits(self) -> Float64:
        """Return the logit of each candidate, (c,) float64."""
        own = self._of(self._features, self._items)
        return own if not self._lean else (1.0 - self._lean) * own + self._lean * self._recent

    def explain(self, column: int) -> Fused:
        """Return what each group of inputs adds for the candidate in a column."""
        if column not in self._made:
            self._made[column] = self._explain(column)
        return self._made[column]

    def _explain(self, column: int) -> Fused:
        names = [*self._groups, ITEM]
        members = coalitions(len(names))
        owner = np.array([_place(self._groups, feature) for feature in self._names])
        features = np.where(members[:, owner], self._features[column], self._mean[0])
        items = np.where(members[:, -1:], self._items[column], self._mean[1])
        worth = self._of(features, items)
        values = shapley_values(worth)
        found = [
            Contribution(name, float(value), self._inputs(name, column))
            for name, value in zip(names, values, strict=True)
        ]
        fused = self._leant(Fused(float(worth[-1]), float(worth[0]), tuple(found)), column)
        return replace(fused, contributions=tuple(sorted(fused.contributions, key=lambda one: -abs(one.value))))

    def _leant(self, fused: Fused, column: int) -> Fused:
        """Return what popularity makes of a logit of the network."""
        if not self._lean:
            return fused
        own, mean = float(self._recent[column]), float(self._recent.mean())
        value = self._lean * ((own - mean) - (fused.logit - fused.baseline))
        logit, baseline = (
            (1.0 - self._lean) * network + self._lean * popular
            for network, popular in ((fused.logit, own), (fused.baseline, mean))
        )
        added = Contribution(LEANING, value, {"recent_popularity": (own, mean)})
        return Fused(logit, baseline, (*fused.contributions, added))

    def _inputs(self, group: str, column: int) -> dict[str, tuple[float, float]]:
        places = [self._names.index(name) for name in self._groups.get(group, ())]
        own, mean = self._features[column], self._mean[0]
        return {self._names[place]: (float(own[place]), float(mean[place])) for place in places}

    def _of(self, features: Float64, items: Float64) -> Float64:
        with torch.inference_mode():
            logits = self._model(
                torch.from_numpy(features)[None], torch.from_numpy(self._user)[None], torch.from_numpy(items)[None]
            )
        found: Float64 = logits[0].numpy()
        return found


def _groups_of(features: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the groups, each with those of its features that there are."""
    grouped = {name for names in GROUPS.values() for name in names}
    groups = {group: tuple(name for name in names if name in features) for group, names in GROUPS.items()}
    groups[AGAIN] = tuple(name for name in features if name.startswith(AGAIN))
    groups[OTHERS] = tuple(name for name in features if name not in grouped and not name.startswith(AGAIN))
    return {group: names for group, names in groups.items() if names}


def _place(groups: dict[str, tuple[str, ...]], feature: str) -> int:
    return next(place for place, names in enumerate(groups.values()) if feature in names)


@dataclass(frozen=True)
class Calibrated:
    """From logits to probabilities, as serving does it, in double precision.

    Parameters
    ----------
    logits : (c,) float64, those that the softmax takes: of an item without any event since training
        retrieval's share beside the others, else the network's
    log_total : logarithm of the sum of the logits' exponentials
    slope, offset : of the sigmoid
    """

    logits: Float64
    log_total: float
    slope: float
    offset: float

    @property
    def probabilities(self) -> Float64:
        """The probabilities, (c,) float64."""
        found: Float64 = 1.0 / (1.0 + np.exp(-(self.slope * (self.logits - self.log_total) + self.offset)))
        return found


def calibrated(model: FusionModel, logits: Float64, retrieval_shares: Float32, is_unseen: Bool) -> Calibrated:
    """Return the probabilities of candidates and what lies between them and the logits.

    Parameters
    ----------
    logits : (c,) float64, from :meth:`FusionExplainer.logits`
    retrieval_shares : (c,) float32, the feature ``retrieval_share``
    is_unseen : (c,) bool, candidates without any event since training
    """
    taken = logits.copy()
    if is_unseen.any() and not is_unseen.all():
        taken[is_unseen] = retrieval_shares[is_unseen] + np.logaddexp.reduce(logits[~is_unseen])
    slope, offset = model.calibration.tolist()
    return Calibrated(taken, float(np.logaddexp.reduce(taken)), slope, offset)
