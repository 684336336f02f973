"""Our metrics equal those of torchmetrics on random data.

The data have no ties at the cut-off.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

from models.metrics.probabilities import summarize_probabilities
from models.metrics.ranking import hit_at_k, ndcg_at_k, ranks_of_targets, summarize
from models.metrics.sets import list_metrics

pytestmark = pytest.mark.model

N_CASES, N_ITEMS = 60, 40
TOLERANCE = 1e-6


def made(name: str, **options: Any) -> Any:
    """Return a metric such as ``retrieval.RetrievalMRR``.

    The import of torchmetrics takes seconds, so only these tests do it.
    """
    module, _, metric = name.partition(".")
    return getattr(import_module(f"torchmetrics.{module}"), metric)(**options)


def of_lists(metric: Any, scores: Any, relevant: Any) -> float:
    """Return a retrieval metric of torchmetrics.

    ``scores`` and ``relevant`` have the shape (n_cases, n_items).
    """
    case = torch.arange(len(scores)).repeat_interleave(scores.shape[1])
    value = metric(torch.from_numpy(scores).flatten(), torch.from_numpy(relevant).flatten(), indexes=case)
    return float(value)


def random_scores(seed: int) -> Any:
    """Return scores without ties, (N_CASES, N_ITEMS) float64.

    They are above 0, because torchmetrics does not count an item of score 0.
    """
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(N_ITEMS) + 1.0 for _ in range(N_CASES)])


@pytest.mark.parametrize("k", [1, 5, 10, N_ITEMS])
@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("hr", "retrieval.RetrievalHitRate"),
        ("ndcg", "retrieval.RetrievalNormalizedDCG"),
        ("mrr", "retrieval.RetrievalMRR"),
        ("hr", "retrieval.RetrievalRecall"),
    ],
    ids=["hit rate", "ndcg", "mrr", "recall of one target"],
)
def test_ranking_of_one_target(name: str, metric: str, k: int) -> None:
    """Scores to ranks to means: the whole way from a model's output to the reported number."""
    scores = random_scores(k)
    targets = np.random.default_rng(1).integers(0, N_ITEMS, N_CASES)
    relevant = np.arange(N_ITEMS) == targets[:, None]
    ours = summarize(ranks_of_targets(scores, targets), k)[f"{name}@{k}"]
    assert 0.0 < ours
    assert ours == pytest.approx(of_lists(made(metric, top_k=k), scores, relevant), abs=TOLERANCE)


@pytest.mark.parametrize(
    ("ours", "metric"),
    [(hit_at_k, "retrieval.RetrievalHitRate"), (ndcg_at_k, "retrieval.RetrievalNormalizedDCG")],
    ids=["hit", "ndcg"],
)
def test_lists_of_one_target(ours: Any, metric: str) -> None:
    """The metrics of a list of ids are the same."""
    scores = random_scores(2)
    targets = np.random.default_rng(2).integers(0, N_ITEMS, N_CASES)
    lists = [[str(item) for item in row] for row in np.argsort(-scores, axis=1)]
    mean = np.mean([ours(one, str(target), 10) for one, target in zip(lists, targets, strict=True)])
    relevant = np.arange(N_ITEMS) == targets[:, None]
    assert mean == pytest.approx(of_lists(made(metric, top_k=10), scores, relevant), abs=TOLERANCE)


@pytest.mark.parametrize("k", [1, 10])
def test_recall_of_sets(k: int) -> None:
    """Recall with none to many relevant items per case; cases with none are left out."""
    scores = random_scores(3)
    relevant = np.random.default_rng(3).random((N_CASES, N_ITEMS)) < 0.05
    assert 0 < (relevant.sum(axis=1) == 0).sum() < N_CASES
    ours = list_metrics(scores.astype(np.float32), relevant, k)[f"recall@{k}"]
    peer = made("retrieval.RetrievalRecall", top_k=k, empty_target_action="skip")
    assert ours == pytest.approx(of_lists(peer, scores, relevant), abs=TOLERANCE)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("name", "metric", "options"),
    [
        ("accuracy", "classification.BinaryAccuracy", {"threshold": 0.4}),
        ("precision", "classification.BinaryPrecision", {"threshold": 0.4}),
        ("recall", "classification.BinaryRecall", {"threshold": 0.4}),
        ("f1", "classification.BinaryF1Score", {"threshold": 0.4}),
        ("mse", "regression.MeanSquaredError", {}),
        ("rmse", "regression.MeanSquaredError", {"squared": False}),
        ("auc", "classification.BinaryAUROC", {}),
        ("ece", "classification.BinaryCalibrationError", {"n_bins": 15, "norm": "l1"}),
    ],
)
def test_probabilities(name: str, metric: str, options: dict[str, Any], seed: int) -> None:
    """Skewed probabilities that are better than chance on rare positives.

    The threshold is not the default.
    """
    rng = np.random.default_rng(seed)
    p = rng.random(500) ** 2
    y = (rng.random(500) < 0.2 + 0.5 * p).astype(np.int64)
    peer = made(metric, **options).set_dtype(torch.float64)
    theirs = float(peer(torch.from_numpy(p), torch.from_numpy(y)))
    assert 0.0 < theirs < 1.0
    assert summarize_probabilities(p, y, 0.4)[name] == pytest.approx(theirs, abs=TOLERANCE)
