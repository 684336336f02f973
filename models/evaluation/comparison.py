"""Compares the served pipeline with the other models of an evaluation, on the same cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from models.base.types import Int64
from models.metrics.bootstrap import mean_interval
from models.metrics.mcnemar import mcnemar
from models.metrics.ranking import values_of_ranks

#: Questions in one moving average of a curve, and the most points of a curve.
CURVE_WIDTH: Final = 1_000
CURVE_POINTS: Final = 200


def leads(ours: Int64, theirs: Mapping[str, Int64], users: Int64, k: int, seed: int) -> dict[str, dict[str, Any]]:
    """Return by model how far NDCG of ours lies above its own: the mean and its 95 % interval.

    The differences are taken case by case, and the bootstrap draws whole users.

    Parameters
    ----------
    ours, theirs : (n,) the rank of each case's target, from 1
    users : (n,) the user of each case
    k : where NDCG is cut
    """
    key = f"ndcg@{k}"
    own = values_of_ranks(ours, k)[key]
    found = {}
    for name, ranks in theirs.items():
        gain = own - values_of_ranks(ranks, k)[key]
        ends = list(mean_interval(gain, seed=seed, clusters=users))
        found[name] = {f"{key}_lead": float(gain.mean()), f"{key}_lead_ci": ends}
    return found


def hit_tests(ours: Int64, theirs: Mapping[str, Int64], k: int) -> dict[str, dict[str, float]]:
    """Return McNemar's test of the pipeline against each other model.

    By model: on how many questions only the pipeline hit, only the model hit, and the p-value.

    Parameters
    ----------
    ours, theirs : (n,) the rank of each case's target, from 1
    k : length of a list
    """
    tests = {name: mcnemar(ours <= k, ranks <= k) for name, ranks in theirs.items()}
    return {
        name: {"only_pipeline": test.only_first, "only_model": test.only_second, "p_value": test.p_value}
        for name, test in tests.items()
    }


def moving_hit_rate(ranks: Int64, k: int) -> list[list[float]]:
    """Return the moving average of the hit rate: the number of questions, and the share of hits.

    Parameters
    ----------
    ranks : (n,) the rank of each question's target, from 1, in the order of the questions
    k : length of a list
    """
    hits = ranks <= k
    width = min(CURVE_WIDTH, len(hits))
    means = np.convolve(hits, np.full(width, 1.0 / width), mode="valid")
    step = max(1, len(means) // CURVE_POINTS)
    return [[float(i + width), float(means[i])] for i in range(0, len(means), step)]
