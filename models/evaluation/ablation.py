"""What each source and each feature adds: the lists without it, fusion not fitted again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch

from models.artifact.artifact import Artifact
from models.base.experts import without
from models.base.scalar_features import BLEND, FEATURES, STEP_FEATURES
from models.base.types import Bool, Float32, Int64
from models.features.blend import fill_blend
from models.features.columns import Row
from models.metrics.bootstrap import difference_interval
from models.metrics.ranking import MISSED, summarize, values_of_ranks
from models.ranking.candidates import Candidates, user_side
from models.ranking.catalogue import Catalogue

#: Cases that are ranked: enough for an interval of a few thousandths.
MAX_CASES: Final = 5_000
K: Final = 10
#: Removing a source removes these features too.
FEATURES_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "retrieval": ("retrieval_score", "retrieval_share", "retrieval_rank", "similarity"),
    "mf": ("mf_logit", "mf_rank"),
    "next": ("next_share", "next_score"),
    "neighbours": ("neighbour_score",),
    "popular": ("recent_popularity", "popularity"),
}


class Ablation:
    """Collects the rank of the target with and without each part, over a seeded sample."""

    def __init__(self, artifact: Artifact, n_cases: int, seed: int) -> None:
        self._artifact, self._names = artifact, artifact.manifest.features
        steps = tuple(name for name in self._names if name in STEP_FEATURES)
        own = tuple(name for name in self._names[len(FEATURES) :] if name not in (*STEP_FEATURES, BLEND))
        following = (*FEATURES_OF["next"], *steps)
        self._features_of = {**FEATURES_OF, "next": following, "again": own} if own else FEATURES_OF
        self._chosen = np.zeros(n_cases, dtype=np.bool_)
        self._chosen[np.random.default_rng(seed).permutation(n_cases)[:MAX_CASES]] = True
        self._ranks: dict[str, list[Int64]] = {}

    def add(self, cases: slice, catalogue: Catalogue, found: Candidates, users: list[Row], is_target: Bool) -> None:
        """Rank a batch of cases in every variant.

        Parameters
        ----------
        is_target : (n, c) bool, which candidate is the next item
        """
        chosen = np.flatnonzero(self._chosen[cases])
        if not len(chosen):
            return
        side = user_side(self._artifact, found.user_vectors, users)[chosen]
        features, valid, wanted = found.features[chosen], found.valid[chosen], is_target[chosen]
        items = catalogue.side_of(found.rows[chosen])
        self._add("nothing", self._logits(features, side, items), valid, wanted)
        for name in self._names:
            self._add(f"feature {name}", self._logits(self._without(features, (name,)), side, items), valid, wanted)
        brought = {name: by[chosen] for name, by in found.given.items()}
        for source, names in self._features_of.items():
            others = np.any([by for name, by in brought.items() if name != source], axis=0)
            silenced = self._without(features, names)
            self._blend_again(silenced, found.counts[chosen], source)
            logits = self._logits(silenced, side, items)
            self._add(f"source {source}", logits, valid & others, wanted)
        for what, user, item in (("user vector and features", 0.0, 1.0), ("item vector and features", 1.0, 0.0)):
            self._add(what, self._logits(features, side * user, items * item), valid, wanted)

    def summary(self) -> dict[str, dict[str, Any]]:
        """Return the metrics without each part; empty without cases.

        Returns
        -------
        dict By the name of the removed part: hit rate, NDCG and MRR at 10, and the 95 % interval of
            the change of NDCG.
        """
        if not self._ranks:
            return {}
        ranks = {name: np.concatenate(parts) for name, parts in self._ranks.items()}
        whole = values_of_ranks(ranks["nothing"], K)["ndcg@10"]
        result: dict[str, dict[str, Any]] = {}
        for name, found in ranks.items():
            values = values_of_ranks(found, K)["ndcg@10"]
            low, high = difference_interval(values, whole, seed=1)
            result[name] = summarize(found, K) | {"ndcg@10_change_ci": [low, high]}
        return result

    def _without(self, features: Float32, names: tuple[str, ...]) -> Float32:
        """Return features in which these ones have their mean of training, which says nothing."""
        silenced = features.copy()
        for name in names:
            column = self._names.index(name)
            silenced[..., column] = float(self._artifact.fusion.feature_mean[column])
        return silenced

    def _blend_again(self, features: Float32, counts: Int64, source: str) -> None:
        """Write the blend of the experts that do not stand on a source to its feature."""
        if self._artifact.blend is not None:
            planes = np.ascontiguousarray(features.transpose(0, 2, 1))
            fill_blend(planes, counts, without(self._artifact.blend, source))
            features[..., -1] = planes[:, -1]

    def _logits(self, features: Float32, side: Float32, items: Float32) -> Float32:
        device = self._artifact.device
        with torch.inference_mode():
            logits = self._artifact.fusion(
                torch.from_numpy(features).to(device),
                torch.from_numpy(side).to(device),
                torch.from_numpy(items).to(device),
            )
        found: Float32 = logits.cpu().numpy()
        return found

    def _add(self, name: str, logits: Float32, valid: Bool, is_target: Bool) -> None:
        scores = np.where(valid, logits, -np.inf)
        own = np.max(np.where(is_target & valid, scores, -np.inf), axis=1)
        ranks = np.where(np.isfinite(own), (scores >= own[:, None]).sum(axis=1), MISSED)
        self._ranks.setdefault(name, []).append(ranks)
