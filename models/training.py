"""From a log to an artifact.

The parts (sequence model, matrix factorisation, next-item counts) are fitted to the early part of the log; fusion to a later
slice, where its inputs are honest; the last slice measures. Then the parts are fitted to everything, the sequence model going on
from its weights so that its vectors keep the meaning that fusion knows, and fusion is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from models.artifact import Artifact, make_artifact
from models.candidates import gather
from models.catalogue import Catalogue, build_catalogue
from models.cold_start import DecayedCounts
from models.factors import FactorsConfig, ItemFactors, fit_factors
from models.fusion import FusionModel, fit_fusion, popularity_fusion
from models.interactions import Interactions, next_item_counts, sample_positions, windows_before
from models.metrics import summarize
from models.recommend import Pipeline
from models.sequence import SequenceConfig
from models.sequence_training import SequenceFit, SequenceTraining, fit_sequence
from models.types import Float32, Int64
from models.whitening import fit_whitening

Progress = Callable[[str, int, int], None]
#: Shares of the log's events: the parts are fitted to the first, fusion to the second, the rest measures.
FIT_SHARE: Final = 0.80
FUSION_SHARE: Final = 0.15
MIN_EVENTS: Final = 100


@dataclass(frozen=True)
class TrainingOptions:
    """How to train. ``minutes`` bounds the fitting of the sequence model, by epochs that are started."""

    preset: Literal["demo", "best"] = "demo"
    seed: int = 1
    device: str = "cpu"
    minutes: float | None = None


@dataclass(frozen=True)
class TextSource:
    """What made the text embeddings; kept in the artifact, which refuses any other."""

    encoder_name: str
    encoder_version: str
    text_version: str


@dataclass(frozen=True)
class Preset:
    """Sizes of a training."""

    sequence: SequenceConfig
    sequence_training: SequenceTraining
    factors: FactorsConfig
    n_fusion_events: int
    fusion_epochs: int


PRESETS: Final = {
    "demo": Preset(SequenceConfig(), SequenceTraining(epochs=16), FactorsConfig(), 3_000, 8),
    "best": Preset(
        SequenceConfig(dim=128, text_dim=128, n_layers=2),
        SequenceTraining(epochs=100, refit_epochs=30),
        FactorsConfig(dim=64, epochs=30),
        10_000,
        20,
    ),
}


@dataclass(frozen=True)
class _Parts:
    """Everything but fusion."""

    sequence: SequenceFit
    factors: ItemFactors
    next_rows: Int64
    next_weights: Float32
    popularity: Float32
    recent_popularity: Float32
    to_ms: int


def train(
    log: Interactions,
    vectors: Mapping[str, Float32],
    source: TextSource,
    options: TrainingOptions,
    on_progress: Progress = lambda _what, _done, _total: None,
) -> Artifact:
    """Train an artifact. The same log, vectors, options and machine give the same artifact (but for its creation time).

    Parameters
    ----------
    vectors : item id to raw text embedding, (d_text,) float32; items without one get zeros
    on_progress : called with what is being done, how much of it is done, and the total

    Raises
    ------
    ValueError
        When the log is too small to cut into slices.
    """
    if len(log) < MIN_EVENTS or len(log.item_ids) < 2:
        raise ValueError(
            f"the log has {len(log)} events of {len(log.item_ids)} items: at least {MIN_EVENTS} of 2 are needed"
        )
    preset = PRESETS[options.preset]
    dim = next((len(v) for v in vectors.values()), 1)
    raw = np.stack([vectors.get(item_id, np.zeros(dim, dtype=np.float32)) for item_id in log.item_ids]).astype(
        np.float32
    )
    whitening = fit_whitening(raw, preset.sequence.text_dim)
    text = whitening.apply(raw)
    n_fit = int(FIT_SHARE * len(log))
    n_fusion = int((FIT_SHARE + FUSION_SHARE) * len(log))
    items = {item_id: raw[row] for row, item_id in enumerate(log.item_ids)}

    def artifact(parts: _Parts, fusion: FusionModel, metrics: dict[str, float], n_events: int) -> Artifact:
        tensors = _tensors(parts, fusion) | {
            "whitening.mean": torch.from_numpy(whitening.mean),
            "whitening.matrix": torch.from_numpy(whitening.matrix),
        }
        info = _info(log.part(0, n_events), source, options, preset, parts, metrics)
        return make_artifact(tensors, preset.sequence, info, options.device)

    early = _fit_parts(log.part(0, n_fit), text, preset, options, on_progress, "first fit")
    plain = artifact(early, popularity_fusion(preset.sequence.dim + 1), {}, n_fit)
    catalogue = build_catalogue(plain, items, generation=0)
    fusion = _fit_fusion(plain, catalogue, log, range(n_fit, n_fusion), preset, options, on_progress)
    metrics = _measure(artifact(early, fusion, {}, n_fit), catalogue, log, range(n_fusion, len(log)), options.seed)
    late = _fit_parts(log, text, preset, options, on_progress, "final fit", early.sequence)
    return artifact(late, fusion, metrics, len(log))


def _fit_parts(
    log: Interactions,
    text: Float32,
    preset: Preset,
    options: TrainingOptions,
    on_progress: Progress,
    what: str,
    start: SequenceFit | None = None,
) -> _Parts:
    n_items = len(log.item_ids)
    sequence = fit_sequence(
        log.users, log.items, log.types, log.ts_ms, text, preset.sequence, preset.sequence_training,
        seed=options.seed, device=options.device, minutes=options.minutes, start=start,
        on_epoch=lambda done, total: on_progress(f"{what}: sequence model", done, total),
    )  # fmt: skip
    factors = fit_factors(
        log.users, log.items, len(log.user_ids), n_items, preset.factors, options.seed,
        lambda epoch: on_progress(f"{what}: factors", epoch + 1, preset.factors.epochs),
    )  # fmt: skip
    next_rows, next_weights = next_item_counts(log.users, log.items, n_items)
    counts = DecayedCounts()
    counts.add_all((log.item_ids[item], int(ts)) for item, ts in zip(log.items, log.ts_ms, strict=True))
    to_ms = int(log.ts_ms[-1])
    popularity = np.bincount(log.items, minlength=n_items).astype(np.float32)
    return _Parts(sequence, factors, next_rows, next_weights, popularity, counts.scores(log.item_ids, to_ms), to_ms)


def _fit_fusion(
    artifact: Artifact,
    catalogue: Catalogue,
    log: Interactions,
    positions: range,
    preset: Preset,
    options: TrainingOptions,
    on_progress: Progress,
) -> FusionModel:
    """Fit fusion on candidates of events that the parts have not seen; popularity is that of the moment, as in serving."""
    chosen = sample_positions(log, positions, preset.n_fusion_events, options.seed)
    windows, seen, targets = windows_before(log, chosen, preset.sequence.max_length)
    counts = DecayedCounts()
    next_position = 0
    features, users, items, labels = [], [], [], []
    for start in range(0, len(chosen), 64):
        stop = min(start + 64, len(chosen))
        while next_position < chosen[start]:
            counts.add(log.item_ids[log.items[next_position]], int(log.ts_ms[next_position]))
            next_position += 1
        now = catalogue.with_popularity(counts.scores(catalogue.item_ids, int(log.ts_ms[chosen[start]])))
        found = gather(artifact, now, windows[start:stop], seen[start:stop], 100)
        target_rows = np.array([now.row_of[item] for item in targets[start:stop]])
        labels.append((found.rows == target_rows[:, None])[found.valid])
        features.append(found.features[found.valid])
        users.append(np.repeat(found.user_vectors, found.valid.sum(axis=1), axis=0))
        items.append(catalogue.vectors[found.rows[found.valid]])
        on_progress("fusion: candidates", stop, len(chosen))
    if not labels or not np.concatenate(labels).any():
        return popularity_fusion(preset.sequence.dim + 1)
    return fit_fusion(
        _stack(features), _stack(users), _stack(items), _stack(labels),
        seed=options.seed, epochs=preset.fusion_epochs,
        on_epoch=lambda epoch: on_progress("fusion", epoch + 1, preset.fusion_epochs),
    )  # fmt: skip


def _stack(parts: list[Any]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.float32))


def _measure(
    artifact: Artifact, catalogue: Catalogue, log: Interactions, positions: range, seed: int
) -> dict[str, float]:
    """Return hit rate, NDCG and MRR of the pipeline on the last slice, in test-then-learn order, beside recent popularity's."""
    chosen = sample_positions(log, positions, 2_000, seed)
    if not chosen:
        return {}
    windows, seen, targets = windows_before(log, chosen, artifact.sequence.config.max_length)
    counts = DecayedCounts()
    next_position = 0
    pipeline = Pipeline(artifact, k=10)
    ranks: list[int] = []
    popular_ranks: list[int] = []
    for start in range(0, len(chosen), 64):
        while next_position < chosen[start]:
            counts.add(log.item_ids[log.items[next_position]], int(log.ts_ms[next_position]))
            next_position += 1
        now = catalogue.with_popularity(counts.scores(catalogue.item_ids, int(log.ts_ms[chosen[start]])))
        batch = slice(start, start + 64)
        for ranked, target in zip(pipeline.recommend(now, windows[batch], seen[batch]), targets[batch], strict=True):
            ranks.append(_rank([item.item_id for item in ranked.items], target))
        for had, target in zip(seen[batch], targets[batch], strict=True):
            popular = [now.item_ids[r] for r in now.popular_rows[: 10 + len(had)] if now.item_ids[r] not in had]
            popular_ranks.append(_rank(popular[:10], target))
    ours, theirs = summarize(np.array(ranks)), summarize(np.array(popular_ranks))
    return ours | {f"recent_popularity_{name}": value for name, value in theirs.items()} | {"n": float(len(ranks))}


def _rank(listed: list[str], target: str) -> int:
    """Return the target's rank from 1; one past the list where it is missing, so far that no cut-off reaches it."""
    return listed.index(target) + 1 if target in listed else 1_000_000


def _tensors(parts: _Parts, fusion: FusionModel) -> dict[str, Tensor]:
    tensors = {f"sequence.{name}": value for name, value in parts.sequence.state.items()}
    tensors |= {f"fusion.{name}": value for name, value in fusion.state_dict().items()}
    arrays = {
        "mf.factors": parts.factors.factors,
        "mf.biases": parts.factors.biases,
        "next.rows": parts.next_rows.astype(np.int32),
        "next.weights": parts.next_weights,
        "popularity": parts.popularity,
        "recent_popularity": parts.recent_popularity,
    }
    return tensors | {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def _info(
    log: Interactions,
    source: TextSource,
    options: TrainingOptions,
    preset: Preset,
    parts: _Parts,
    metrics: dict[str, float],
) -> dict[str, Any]:
    return {
        "created_ms": int(time.time() * 1000),
        "encoder_name": source.encoder_name,
        "encoder_version": source.encoder_version,
        "text_version": source.text_version,
        "alpha": preset.factors.alpha,
        "regularisation": preset.factors.regularisation,
        "trained_from_ms": int(log.ts_ms[0]),
        "trained_to_ms": parts.to_ms,
        "n_events": len(log),
        "n_users": len(np.unique(log.users)),
        "preset": options.preset,
        "seed": options.seed,
        "epochs": parts.sequence.epochs,
        "metrics": metrics,
        "item_ids": list(log.item_ids),
    }
