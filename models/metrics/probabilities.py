"""How good a sigmoid's probabilities are: decisions at a threshold, order, error and calibration.

In every function ``probabilities`` is (n,) of float in [0, 1], and ``labels`` is (n,) of bool or of
0 and 1 in the same order. Anything else raises a ValueError: lengths that differ, no case at all,
NaN, a probability outside [0, 1], another label.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import sklearn.metrics
from numpy.typing import NDArray

from models.base.types import AnyArray

Float64 = NDArray[np.float64]
Binning = Literal["width", "mass"]

#: Bins of the calibration error, as in Guo et al. 2017.
N_BINS: Final = 15
#: The log loss takes no smaller probability of what happened, so that one sure mistake costs 34.5
#: nats instead of infinity.
_LOG_LOSS_FLOOR: Final = 1e-15


def summarize_probabilities(probabilities: AnyArray, labels: AnyArray, threshold: float = 0.5) -> dict[str, Any]:
    """Return every metric that a report shows of a sigmoid.

    Parameters
    ----------
    threshold : probability from which a case counts as chosen, see :func:`at_threshold`

    Returns
    -------
    dict Plain Python values, ready for JSON: ``n`` cases, ``positive_share``, ``threshold``; the
        four values of :func:`at_threshold`; ``mse``, the mean squared difference of probability and
        label (Brier, Verification of Forecasts Expressed in Terms of Probability, 1950), and
        ``rmse``, its root; ``log_loss``; ``auc`` (None where there is one class only); ``ece`` with
        bins of equal width and ``ece_mass`` with bins of equal count; ``reliability``, the rows of
        :func:`reliability_curve` with bins of equal width.
    """
    p, y = _checked(probabilities, labels)
    mse = float(sklearn.metrics.mean_squared_error(y, p))
    return {
        "n": len(p),
        "positive_share": float(y.mean()),
        "threshold": float(threshold),
        **at_threshold(p, y, threshold),
        "mse": mse,
        "rmse": float(np.sqrt(mse)),
        "log_loss": log_loss(p, y),
        "auc": auc(p, y),
        "ece": expected_calibration_error(p, y),
        "ece_mass": expected_calibration_error(p, y, bins="mass"),
        "reliability": [[mean, share, int(count)] for mean, share, count in reliability_curve(p, y).tolist()],
    }


def at_threshold(probabilities: AnyArray, labels: AnyArray, threshold: float = 0.5) -> dict[str, float]:
    """Return accuracy, precision, recall and F1 of the decision ``probability >= threshold``.

    With true and false positives and negatives: ``accuracy = (tp + tn) / n``,
    ``precision = tp / (tp + fp)``, ``recall = tp / (tp + fn)``,
    ``f1 = 2 tp / (2 tp + fp + fn)`` (van Rijsbergen, Information Retrieval, 1979). A value whose
    denominator is 0 is 0.

    Raises
    ------
    ValueError
        When the threshold is not from 0 to 1; see also the module's docstring.

    Examples
    --------
    >>> at_threshold(np.array([0.9, 0.6, 0.4, 0.1]), np.array([1, 0, 1, 0]))
    {'accuracy': 0.5, 'precision': 0.5, 'recall': 0.5, 'f1': 0.5}
    """
    p, y = _checked(probabilities, labels)
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold={threshold}: must be from 0 to 1, as the probabilities are")
    chosen = p >= threshold
    precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(
        y, chosen, average="binary", zero_division=0.0
    )
    accuracy = sklearn.metrics.accuracy_score(y, chosen)
    values = {"accuracy": accuracy, "precision": precision, "recall": recall, "f1": f1}
    return {name: float(value) for name, value in values.items()}


def log_loss(probabilities: AnyArray, labels: AnyArray) -> float:
    """Return the mean negative log likelihood of the labels, in nats.

    ``-mean(y log p + (1 - y) log(1 - p))`` (Good, Rational Decisions, 1952), where a probability
    below 1e-15 counts as 1e-15.

    Examples
    --------
    >>> round(log_loss(np.array([0.5, 0.5]), np.array([1, 0])), 4)
    0.6931
    """
    p, y = _checked(probabilities, labels)
    of_classes = np.clip(np.column_stack([1.0 - p, p]), _LOG_LOSS_FLOOR, 1.0)  # [n, 2]
    return float(sklearn.metrics.log_loss(y, of_classes, labels=[0.0, 1.0]))


def auc(probabilities: AnyArray, labels: AnyArray) -> float | None:
    """Return the chance that a positive has a higher probability than a negative; a tie is a half.

    The area under the receiver operating characteristic curve (Hanley and McNeil, The Meaning and
    Use of the Area under a Receiver Operating Characteristic Curve, 1982). None where all labels
    are equal, because there is no pair to order.

    Examples
    --------
    >>> auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([0, 0, 1, 1]))
    0.875
    """
    p, y = _checked(probabilities, labels)
    return float(sklearn.metrics.roc_auc_score(y, p)) if 0.0 < y.mean() < 1.0 else None


def reliability_curve(
    probabilities: AnyArray, labels: AnyArray, n_bins: int = N_BINS, bins: Binning = "width"
) -> Float64:
    """Return the mean probability and the observed share of positives, bin by bin.

    Parameters
    ----------
    bins : ``width`` cuts [0, 1] into equal parts, each with its lower edge, the last with both
        edges; ``mass`` cuts the cases into equal counts, as far as ties allow: equal probabilities
        always share a bin, so the order of the cases changes nothing

    Returns
    -------
    (n_filled, 3) float64
        By rising probability: mean probability, observed share of positives, count. Empty bins are
        left out.

    Raises
    ------
    ValueError
        When ``n_bins`` is below 1; see also the module's docstring.

    References
    ----------
    Niculescu-Mizil and Caruana, Predicting Good Probabilities with Supervised Learning, 2005.

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
        # values that occur
        inner = np.quantile(p, np.arange(1, n_bins) / n_bins, method="inverted_cdf")
        place = np.searchsorted(inner, p, side="left")
    counts = np.bincount(place, minlength=n_bins)
    filled = counts > 0
    sums = np.stack([np.bincount(place, weights=values, minlength=n_bins) for values in (p, y)])
    return np.column_stack([*(sums[:, filled] / counts[filled]), counts[filled]])


def expected_calibration_error(
    probabilities: AnyArray, labels: AnyArray, n_bins: int = N_BINS, bins: Binning = "width"
) -> float:
    """Return the distance of predicted probabilities from observed shares, averaged over the cases.

    ``sum over bins of count / n * |mean probability - observed share|`` over
    :func:`reliability_curve`. The probability is that of the positive class, as in Pakdaman Naeini
    et al.; Guo et al. take that of the predicted class. Where positives are rare, bins of equal
    width can put nearly all cases into one bin; bins of equal mass cannot.

    References
    ----------
    Pakdaman Naeini, Cooper and Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian
    Binning, 2015; Guo et al., On Calibration of Modern Neural Networks, 2017; bins of equal mass:
    Nixon et al., Measuring Calibration in Deep Learning, 2019.

    Examples
    --------
    >>> p, y = np.array([0.1, 0.3, 0.75, 0.75]), np.array([0, 1, 1, 0])
    >>> round(expected_calibration_error(p, y, 2), 4)
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
    if not (p.min() >= 0.0 and p.max() <= 1.0):  # written so that NaN fails too
        raise ValueError(
            f"probabilities from {p.min():g} to {p.max():g}: must be from 0 to 1 and not NaN; give sigmoids, not logits"
        )
    if not np.isin(y, (0.0, 1.0)).all():
        raise ValueError(f"labels from {y.min():g} to {y.max():g}: each must be 0 or 1")
    return p, y
