"""Fits fusion, and where items may come back first how much each expert of its blend counts.

Expectation maximisation of a mixture whose parts are given (deleted interpolation: Jelinek and
Mercer, Interpolated Estimation of Markov Source Parameters from Sparse Data, 1980), on cases that
the experts were not fitted to. The likelihood has one maximum, and a dozen weights need no more
than a few hundred cases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
import torch

from models.base.experts import EXPERTS, blend_weights
from models.base.types import Float32, Float64, Int64
from models.features.blend import shares_of, with_blend
from models.fusion import BATCH as STEP_CASES
from models.fusion import FusionData, FusionModel, fit_fusion

#: Where items may come back, fusion has more to learn: so many steps, in at most so many epochs.
LEAST_STEPS: Final = 400
MOST_EPOCHS: Final = 60
#: Cases whose features are copied at once.
CHUNK: Final = 256
#: Steps of the search; the weights then no longer move in their third digit.
STEPS: Final = 200
#: Cases that each expert is taken to have told best beside those that were counted: no weight falls
#: to 0 for want of cases.
PSEUDO_CASES: Final = 1.0
#: An expert with less is left out: it costs as much to compute as one that counts.
LEAST_WEIGHT: Final = 0.004
#: The expert that always stays: it keeps the blend of a candidate that no other names above 0.
STAYS: Final = "even"


Progress = Callable[[int, int], None]


def fit_fusion_alone(data: FusionData, seed: int, epochs: int, on_progress: Progress) -> tuple[FusionModel, None]:
    """Return the network of an artifact whose lists never repeat; it has no blend."""
    return fit_fusion(data, seed=seed, epochs=epochs, on_epoch=lambda done: on_progress(done + 1, epochs)), None


def fit_with_blend(
    data: FusionData, seed: int, epochs: int, on_progress: Progress
) -> tuple[FusionModel, dict[str, float] | None]:
    """Return the network, and the weights of the blend, to whose order its linear start is drawn.

    Parameters
    ----------
    data : without the blend, in time order
    epochs : at least; few cases get more
    on_progress : called with the number of epochs done, and of all
    """
    blend = fit_blend(data)
    if blend is None:
        return fit_fusion_alone(data, seed, epochs, on_progress)
    data, n_batches = blended(data, blend), -(-int((data.targets >= 0).sum()) // STEP_CASES)
    epochs = max(epochs, min(MOST_EPOCHS, LEAST_STEPS // n_batches))
    last = data.features.shape[2] - 1
    network = fit_fusion(
        data, seed=seed, epochs=epochs, on_epoch=lambda done: on_progress(done + 1, epochs), blend=last
    )
    return network, blend


def fit_blend(data: FusionData) -> dict[str, float] | None:
    """Return the weight of each expert by name, None where no candidate is a next item.

    The weights sum to 1; experts that hardly count are left out.
    """
    found = [np.zeros((0, len(EXPERTS)), dtype=np.float32)]
    for cases in torch.split(torch.nonzero(data.targets >= 0).flatten(), CHUNK):
        planes, counts = _planes(data, cases)
        found.append(shares_of(counts, planes, data.targets[cases].numpy()))
    shares = np.concatenate(found)
    if not len(shares):
        return None
    weights = _mixture(shares.astype(np.float64))
    kept = {
        name: float(weight)
        for name, weight in zip(EXPERTS, weights, strict=True)
        if weight >= LEAST_WEIGHT or name == STAYS
    }
    return {name: weight / sum(kept.values()) for name, weight in kept.items()}


def blended(data: FusionData, blend: dict[str, float]) -> FusionData:
    """Return the cases with the blend as their last feature."""
    n, c, n_features = data.features.shape
    features = torch.empty((n, c, n_features + 1))
    for cases in torch.split(torch.arange(n), CHUNK):
        planes = with_blend(*_planes(data, cases), blend_weights(blend))
        features[cases] = torch.from_numpy(planes).transpose(1, 2)
    return replace(data, features=features)


def _planes(data: FusionData, cases: torch.Tensor) -> tuple[Float32, Int64]:
    """Return the features of cases as serving has them, and how many candidates each case has."""
    planes = data.features[cases].transpose(1, 2).contiguous().numpy()
    return planes, data.valid[cases].sum(dim=1).numpy()


def _mixture(shares: Float64) -> Float64:
    """Return the weights under which the next items are likeliest, (n_experts,) float64.

    Parameters
    ----------
    shares : (n, n_experts), what each expert gave the next item
    """
    weights = np.full(shares.shape[1], 1.0 / shares.shape[1])
    for _ in range(STEPS):
        parts = weights * shares
        parts /= np.maximum(parts.sum(axis=1, keepdims=True), 1e-300)
        weights = parts.sum(axis=0) + PSEUDO_CASES
        weights /= weights.sum()
    return weights
