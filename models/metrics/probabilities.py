"""How good probabilities are: decisions at a threshold, order, error and calibration of a sigmoid's outputs.

Everywhere ``probabilities`` is (n,) of float in [0, 1] and ``labels`` is (n,) of bool or of 0 and 1, in the same order. Anything else
raises a ValueError: lengths that differ, nothing at all, NaN, a value outside, another label.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.types import AnyArray

Float64 = NDArray[np.float64]
Binning = Literal["width", "mass"]

#: Bins of the calibration error, as in Guo et al. 2017.
N_BINS: Final = 15
#: Nearest that the log loss lets a probability come to 0 or 1, so that one sure mistake costs 34.5 nats and not infinity.
_LOG_LOSS_FLOOR: Final = 1e-15


def summarize_probabilities(
    probabilities: AnyArray, labels: AnyArray, threshold: float = 0.5, n_bins: int = N_BINS
) -> dict[str, Any]:
    """Return everything that a report says of a sigmoid; each value has its own function here.

    Returns
    -------
    ``n``, ``positive_share``, ``threshold``, ``accuracy``, ``precision``, ``recall``, ``f1``, ``mse``, ``rmse``, ``log_loss``, ``auc``
    (None where there is one class only), ``ece`` (bins of equal width), ``ece_mass`` (bins of equal count) and ``reliability``, the
    rows of :func:`reliability_curve` with bins of equal width. All are plain Python values, ready for JSON.
    """
    p, y = _checked(probabilities, labels)
    mse = mean_squared_error(p, y)
    return {
        "n": len(p),
        "positive_share": float(y.mean()),
        "threshold": float(threshold),
        **at_threshold(p, y, threshold),
        "mse": mse,
        "rmse": float(np.sqrt(mse)),
        "log_loss": log_loss(p, y),
        "auc": auc(p, y),
        "ece": expected_calibration_error(p, y, n_bins, "width"),
        "ece_mass": expected_calibration_error(p, y, n_bins, "mass"),
        "reliability": [[mean, share, int(count)] for mean, share, count in reliability_curve(p, y, n_bins).tolist()],
    }


def at_threshold(probabilities: AnyArray, labels: AnyArray, threshold: float = 0.5) -> dict[str, float]:
    """Return accuracy, precision, recall and F1 of the decision ``probability >= threshold``.

    With true and false positives and negatives: ``accuracy = (tp + tn) / n``, ``precision = tp / (tp + fp)``,
    ``recall = tp / (tp + fn)``, ``f1 = 2 tp / (2 tp + fp + fn)`` (van Rijsbergen, Information Retrieval, 1979). Where a
    denominator is 0, nothing was found that could have been: the value is 0.

    >>> at_threshold(np.array([0.9, 0.6, 0.4, 0.1]), np.array([1, 0, 1, 0]))
    {'accuracy': 0.5, 'precision': 0.5, 'recall': 0.5, 'f1': 0.5}
    """
    p, y = _checked(probabilities, labels)
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold={threshold}: must be from 0 to 1, as the probabilities are")
    chosen, positive = p >= threshold, y == 1.0
    tp, fp, fn = (int(part.sum()) for part in (chosen & positive, chosen & ~positive, ~chosen & positive))
    return {
        "accuracy": 1.0 - (fp + fn) / len(p),
        "precision": tp / max(tp + fp, 1),
        "recall": tp / max(tp + fn, 1),
        "f1": 2.0 * tp / max(2 * tp + fp + fn, 1),
    }


def mean_squared_error(probabilities: AnyArray, labels: AnyArray) -> float:
    """Return the mean squared distance of probability and label (Brier, Verification of Forecasts in Terms of Probability, 1950).

    >>> mean_squared_error(np.array([1.0, 0.5]), np.array([1, 0]))
    0.125
    """
    p, y = _checked(probabilities, labels)
    return float(((p - y) ** 2).mean())


def log_loss(probabilities: AnyArray, labels: AnyArray) -> float:
    """Return the mean negative log likelihood of the labels, in nats; probabilities are kept 1e-15 away from 0 and 1.

    ``-mean(y log p + (1 - y) log(1 - p))`` (Good, Rational Decisions, 1952).

    >>> round(log_loss(np.array([0.5, 0.5]), np.array([1, 0])), 4)
    0.6931
    """
    p, y = _checked(probabilities, labels)
    of_truth = np.where(y == 1.0, p, 1.0 - p)
    return float(-np.log(np.clip(of_truth, _LOG_LOSS_FLOOR, 1.0)).mean())


def auc(probabilities: AnyArray, labels: AnyArray) -> float | None:
    """Return the chance that a positive has a higher probability than a negative, a tie counting a half.

    From the sum of the positives' ranks, with tied values at their mean rank: ``(sum - n1 (n1 + 1) / 2) / (n1 n0)`` (Hanley and
    McNeil, The Meaning and Use of the Area under a Receiver Operating Characteristic Curve, 1982). With one class only there is
    no pair to order: the result is None.

    >>> auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([0, 0, 1, 1]))
    0.875
    """
    p, y = _checked(probabilities, labels)
    n1 = int(y.sum())
    n0 = len(y) - n1
    if not n1 or not n0:
        return None
    _, level, counts = np.unique(p, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_ranks = last - (counts - 1) / 2.0  # of each distinct value, from 1
    return float((mean_ranks[level] @ y - n1 * (n1 + 1) / 2.0) / (n1 * n0))


def reliability_curve(
    probabilities: AnyArray, labels: AnyArray, n_bins: int = N_BINS, bins: Binning = "width"
) -> Float64:
    """Return what was predicted and what happened, bin by bin (Niculescu-Mizil and Caruana, Predicting Good Probabilities, 2005).

    Parameters
    ----------
    bins : ``width``, [0, 1] in equal parts, each with its lower edge, the last with both; or ``mass``, as equal counts as ties
        allow: equal probabilities always share a bin, so the order of the cases changes nothing

    Returns
    -------
    (n_filled, 3) float64, ascending: mean probability, observed share of positives, count. Empty bins are left out.

    Examples
    --------
    >>> reliability_curve(np.array([0.1, 0.3, 0.75, 0.75]), np.array([0, 1, 1, 0]), 2).tolist()
    [[0.2, 0.5, 2.0], [0.75, 0.5, 2.0]]
    """
    p, y = _checked(probabilities, labels)
    if n_bins < 1:
        raise ValueError(f"n_bins={n_bins}: must be at least 1")
    if bins == "width":
        inner = np.linspace(0.0, 1.0, n_bins + 1)[1:-1]
        place = np.searchsorted(inner, p, side="right")
    else:
        inner = np.quantile(p, np.arange(1, n_bins) / n_bins, method="inverted_cdf")  # values that occur
        place = np.searchsorted(inner, p, side="left")
    counts = np.bincount(place, minlength=n_bins)
    filled = counts > 0
    sums = np.stack([np.bincount(place, weights=values, minlength=n_bins) for values in (p, y)])
    return np.column_stack([*(sums[:, filled] / counts[filled]), counts[filled]])


def expected_calibration_error(
    probabilities: AnyArray, labels: AnyArray, n_bins: int = N_BINS, bins: Binning = "width"
) -> float:
    """Return how far predicted probabilities are from observed shares, averaged over the cases of all bins.

    ``sum over bins of count / n * |mean probability - observed share|`` over :func:`reliability_curve` (Pakdaman Naeini, Cooper and
    Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning, 2015). As there, it is of the probability of the
    positive class; Guo et al. (On Calibration of Modern Neural Networks, 2017) take the predicted class's. Bins of equal width can
    hold nearly all cases in one bin where positives are rare; bins of equal mass (Nixon et al., Measuring Calibration in Deep
    Learning, 2019) cannot.

    >>> round(expected_calibration_error(np.array([0.1, 0.3, 0.75, 0.75]), np.array([0, 1, 1, 0]), 2), 4)
    0.275
    """
    mean, share, count = reliability_curve(probabilities, labels, n_bins, bins).T
    return float((np.abs(mean - share) * count).sum() / count.sum())


def _checked(probabilities: AnyArray, labels: AnyArray) -> tuple[Float64, Float64]:
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape:
        raise ValueError(f"probabilities of shape {p.shape}, labels {y.shape}: need (n,) for both, one label per case")
    if not len(p):
        raise ValueError("probabilities: none given; at least one case is needed")
    if not (p.min() >= 0.0 and p.max() <= 1.0):  # so written, NaN fails too
        raise ValueError(
            f"probabilities from {p.min():g} to {p.max():g}: must be from 0 to 1 and not NaN; give sigmoids, not logits"
        )
    if not np.isin(y, (0.0, 1.0)).all():
        raise ValueError(f"labels from {y.min():g} to {y.max():g}: each must be 0 or 1")
    return p, y
