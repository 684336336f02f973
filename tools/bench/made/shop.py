"""A shop that never was: a model, its items and users' windows, made from a seed.

Items lie in groups; a user looks at some of them. Vectors, tables and popularity follow the groups,
so that the sources of candidates overlap as those of a real shop do. The weights of the networks
are random: they make no good lists, but cost what trained ones cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch

from models.artifact.artifact import Artifact, make_artifact
from models.base.scalar_features import FEATURES
from models.base.types import Float32, Int64
from models.factors.als import AlsConfig
from models.features.side_features import fit_side_features
from models.fusion import FusionModel
from models.sequence.model import SequenceModel
from models.training.options import PRESETS

T0_MS: Final = 1_600_000_000_000
GROUP_SIZE: Final = 40
N_TABLE: Final = 32  # as training makes them
GROUPS_PER_USER: Final = 4
#: Means and deviations of fusion's features, as trainings find them.
FEATURE_MEAN: Final = {"retrieval_share": -5.0, "retrieval_rank": 4.0, "mf_rank": 4.0, "window_length": 3.0}


@dataclass(frozen=True)
class MadeShop:
    """A model and what it needs.

    Parameters
    ----------
    vectors : (n_items, text_dim) float32, raw text embeddings
    groups : (n_items,) int64, the group of each item
    """

    artifact: Artifact
    vectors: Float32
    groups: Int64


def made_shop(preset: Literal["demo", "best"], n_items: int, seed: int = 1) -> MadeShop:
    """Return a shop of ``n_items`` with a model of a preset's sizes."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    sizes, factors = PRESETS[preset].sequence, PRESETS[preset].factors
    n_groups = -(-n_items // GROUP_SIZE)
    groups = rng.permutation(n_items) % n_groups
    ids = [f"i{row:07}" for row in range(n_items)]

    def latent(width: int) -> Float32:
        centres = rng.standard_normal((n_groups, width), dtype=np.float32)
        own = rng.standard_normal((n_items, width), dtype=np.float32)
        return (centres[groups] + 0.7 * own).astype(np.float32)

    text = latent(sizes.text_dim) / np.float32(sizes.text_dim**0.5)
    popularity = (1.0 + 2_000.0 / (1.0 + rng.permutation(n_items))).astype(np.float32)
    sequence = SequenceModel(sizes, n_items)
    with torch.no_grad():
        sequence.id_embedding.weight.copy_(torch.from_numpy(0.25 * latent(sizes.dim)))
        sequence.text_projection.weight.normal_(std=0.3)
        sequence.item_bias.copy_(torch.from_numpy(0.1 * np.log(popularity)))
    no_rows: list[dict[str, float]] = [{} for _ in range(2)]
    side = fit_side_features(no_rows, np.zeros((2, 0), dtype=np.float32))
    tables = {
        f"{name}.{part}": array
        for name in ("next", "neighbours")
        for part, array in zip(("rows", "weights"), _table(groups, n_groups, rng), strict=True)
    }
    arrays = tables | {
        "mf.factors": 0.15 * latent(factors.dim),
        "mf.biases": np.zeros(n_items, dtype=np.float32),
        "popularity": popularity,
        "recent_popularity": popularity * rng.random(n_items, dtype=np.float32),
        "first_ms": np.full(n_items, T0_MS),
        "whitening.mean": np.zeros(sizes.text_dim, dtype=np.float32),
        "whitening.matrix": np.eye(sizes.text_dim, dtype=np.float32),
    }
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    tensors |= {f"sequence.{name}": value for name, value in sequence.state_dict().items()}
    tensors |= {f"fusion.{name}": value for name, value in _fusion(sizes.dim + 1).state_dict().items()}
    for prefix in ("item_imputer.", "user_imputer."):
        tensors |= {name: torch.from_numpy(array.copy()) for name, array in side.tensors(prefix).items()}
    is_als = isinstance(factors, AlsConfig)
    info = {
        "created_ms": T0_MS, "encoder_name": "made", "encoder_version": "1", "text_version": "1",
        "alpha": 1.0 / factors.unobserved_weight if isinstance(factors, AlsConfig) else factors.alpha,
        "regularisation": 0.1 if is_als else 1.0,
        "trained_from_ms": T0_MS, "trained_to_ms": T0_MS, "n_events": n_items, "n_users": n_items,
        "preset": preset, "seed": seed, "left_out": "none", "epochs": 0, "metrics": {},
        "item_features": side.to_plain(), "user_features": side.to_plain(), "item_ids": ids,
    }  # fmt: skip
    artifact = make_artifact(tensors, sizes, info)
    return MadeShop(artifact, text, groups)


def made_windows(groups: Int64, n: int, length: int, seed: int = 1) -> dict[str, Int64]:
    """Return windows of ``n`` users, each of ``length`` behaviours on items of a few groups.

    Returns
    -------
    dict ``rows`` of items, ``types`` (0 to 2: view, click, purchase) and ``times`` in ms, (n,
    length)
        int64 each
    """
    rng = np.random.default_rng(seed)
    by_group = np.argsort(groups, kind="stable")
    first = np.searchsorted(groups[by_group], np.arange(groups.max() + 2))
    chosen = rng.integers(0, groups.max() + 1, (n, GROUPS_PER_USER))
    group = np.take_along_axis(chosen, rng.integers(0, GROUPS_PER_USER, (n, length)), axis=1)
    # low places of a group are more likely
    place = (rng.random((n, length)) ** 2 * (first[group + 1] - first[group])).astype(np.int64)
    gaps_ms = np.exp(rng.uniform(6, 18, (n, length))).astype(np.int64)
    return {
        "rows": by_group[first[group] + place],
        "types": rng.choice(3, (n, length), p=[0.8, 0.15, 0.05]),
        "times": T0_MS + np.cumsum(gaps_ms, axis=1),
    }


def _table(groups: Int64, n_groups: int, rng: np.random.Generator) -> tuple[Int64, Float32]:
    """Return items that go with each item, as rows and weights: most are of its own group."""
    n_items = len(groups)
    by_group = np.argsort(groups, kind="stable")
    first = np.searchsorted(groups[by_group], np.arange(n_groups + 1))
    sizes = (first[1:] - first[:-1])[groups]
    width = min(N_TABLE, n_items - 1)
    start = (rng.random(n_items) * sizes).astype(np.int64)
    places = (start[:, None] + np.arange(width)) % sizes[:, None]
    rows = by_group[first[groups][:, None] + places]
    others = rng.random(rows.shape) < 0.2
    rows[others] = rng.integers(0, n_items, int(others.sum()))
    rows[rows == np.arange(n_items)[:, None]] = -1
    rows = np.sort(rows, axis=1)
    rows[:, 1:][rows[:, 1:] == rows[:, :-1]] = -1
    weights = -np.sort(-rng.random(rows.shape, dtype=np.float32), axis=1) * np.float32(0.3)
    # what is missing comes last
    order = np.argsort(rows < 0, axis=1, kind="stable")
    rows = np.take_along_axis(rows, order, axis=1)
    return rows, np.where(rows < 0, np.float32(0.0), weights)


def _fusion(width: int) -> FusionModel:
    fusion = FusionModel(width, width)
    with torch.no_grad():
        fusion.feature_mean.copy_(torch.tensor([FEATURE_MEAN.get(name, 0.0) for name in FEATURES]))
    return fusion
