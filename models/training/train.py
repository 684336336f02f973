"""From a log to an artifact.

The parts (sequence model, matrix factorisation, item-to-item tables) are fitted to the first slice
of the log. Fusion is fitted to a later slice, where scores are not memorised. The third slice
validates: it stops the sequence model and measures. Then the parts are fitted to the whole log. The
sequence model continues from its weights, so that its vectors keep the meaning that fusion learnt,
and fusion stays as it is.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch

from models.artifact.artifact import Artifact, make_artifact
from models.base.event_types import DEFAULT_TYPES
from models.base.observer import Observer
from models.base.scalar_features import feature_names
from models.factors.als import AlsConfig, fit_als
from models.factors.item_neighbours import item_neighbours
from models.factors.matrix_factorisation import FactorsConfig, ItemFactors, fit_factors
from models.features.imputation import STRATEGIES
from models.features.side_features import SideFeatures, fit_side_features
from models.fusion import FusionModel, popularity_fusion
from models.interactions import Interactions, next_item_counts, no_next_items, sample_positions
from models.popularity import DecayedCounts
from models.ranking.catalogue import Catalogue, build_catalogue
from models.ranking.golden import add_golden
from models.ranking.newcomers.histories import FoldIn
from models.sequence.checkpoint import Checkpoint
from models.sequence.fit import FitControl, SequenceData, SequenceFit, fit_sequence
from models.sequence.untrained import popularity_sequence
from models.sequence.validation import Validator
from models.text.whitening import fit_whitening
from models.training.blend_fit import fit_fusion_alone, fit_with_blend
from models.training.fusion_cases import collect, measure, questions
from models.training.leaning import best_until, hidden_users
from models.training.log_slices import cut
from models.training.newcomer_weights import About, Learnt, learn_newcomers
from models.training.options import NO_TEXT, PRESETS, Preset, TextSource, TrainingData, TrainingOptions
from models.training.parts import Parts

__all__ = ["NO_TEXT", "PRESETS", "Preset", "TextSource", "TrainingData", "TrainingOptions", "check_size", "train"]

MIN_EVENTS: Final = 100
N_NEIGHBOURS: Final = 32
N_VALIDATION: Final = 5_000
#: Where items may come back, fusion has more to learn: so many questions, as far as a log has them.
LEAST_QUESTIONS: Final = 1_500
#: Share of the given minutes for the first fit; the final fit continues from it.
FIRST_FIT_SHARE: Final = 0.85
#: Regularisation of fold-in with factors of iALS: little, relative to the Gram matrix of all items.
ALS_FOLD_IN_REGULARISATION: Final = 1.0


def check_size(log: Interactions) -> None:
    """Raise ValueError for a log that is too small to be cut into slices."""
    n_events = len(log.wishes())
    if n_events < MIN_EVENTS or len(log.item_ids) < 2:
        raise ValueError(
            f"log too small: number of {'' if n_events == len(log) else 'positive '}events {n_events}, of items {len(log.item_ids)}; "
            f"training needs at least {MIN_EVENTS} events of 2 items"
        )


def train(data: TrainingData, options: TrainingOptions, observer: Observer = Observer()) -> Artifact:  # noqa: B008 (frozen)
    """Train an artifact.

    The same data, options and machine give the same artifact, except for its creation time.

    Raises
    ------
    ValueError
        When the log is too small to cut into slices, or an option is unknown.
    """
    return _Training(data, options, observer).run()


class _Training:
    """One training: the state that its steps share."""

    def __init__(self, data: TrainingData, options: TrainingOptions, observer: Observer) -> None:
        log = data.log
        check_size(log)
        if not options.is_ordered and (options.cut != "last" or options.imputation == "time"):
            raise ValueError("a log without times: it cannot be cut by time, and no feature imputed by time")
        if options.imputation not in STRATEGIES:
            raise ValueError(f"imputation {options.imputation!r}: must be one of {', '.join(STRATEGIES)}")
        self._data, self._options, self._observer = data, options, observer
        self._preset = PRESETS[options.preset]
        least = 0 if options.repeats.is_never else LEAST_QUESTIONS
        self._slices = cut(log, options.cut, options.seed, least)
        dim = next((len(v) for v in data.vectors.values()), 1)
        nothing = np.zeros(dim, dtype=np.float32)
        self._raw = np.stack([data.vectors.get(item_id, nothing) for item_id in log.item_ids]).astype(np.float32)
        self._whitening = fit_whitening(self._raw, self._preset.sequence.text_dim)
        self._text = self._whitening.apply(self._raw)
        self._item_features, self._user_features = self._fit_side_features()
        self._blend: dict[str, float] | None = None

    def run(self) -> Artifact:
        """Fit the parts, then fusion, then the parts again."""
        log, slices = self._data.log, self._slices
        early = self._fit_parts(log.where(slices.fit), "first fit")
        own = self._preset.sequence.dim + 1
        names = feature_names(None if self._options.repeats.is_never else log.kinds.names)
        untaught = popularity_fusion(own + self._user_features.width, own + self._item_features.width, len(names))
        plain = self._artifact(early, untaught, {})
        fusion, self._blend = self._fit_fusion(plain)
        validated = self._artifact(early, fusion, {})
        positions = sample_positions(log, slices.validation.tolist(), 2_000, self._options.seed)
        metrics = measure(validated, self._questions(validated, positions))
        for name, value in metrics.items():
            self._observer.on_scalar(f"validation/{name}", value, early.sequence.epochs)
        late = self._fit_parts(log, "final fit", early.sequence)
        n_epochs = early.sequence.epochs + late.sequence.epochs
        late = replace(late, sequence=replace(late.sequence, epochs=n_epochs))
        final = self._artifact(late, fusion, metrics, self._learn_newcomers(late.factors), self._learn_leaning(fusion))
        vectors = dict(zip(log.item_ids, self._raw, strict=True))
        return add_golden(final, log, vectors, self._data.item_features)

    def _learn_newcomers(self, factors: ItemFactors) -> Learnt | None:
        data, preset = self._data, self._preset
        if not (data.user_features or data.follows):
            return None
        alpha, regularisation = _fold_in_weights(preset.factors)
        return learn_newcomers(
            data.log,
            About(self._user_features, data.user_features, data.follows),
            FoldIn(alpha, regularisation, preset.sequence.max_length),
            lambda log: self._fit_factors(log.wishes(), "newcomers"),
            factors,
            self._options.seed,
        )

    def _learn_leaning(self, fusion: FusionModel) -> float:
        """Return until how many events lists lean on popularity.

        A log with times teaches fusion from short windows too, as they were.
        """
        log, options = self._data.log, self._options
        hidden = np.zeros(0, dtype=np.int64) if options.is_ordered else hidden_users(log, options.seed)
        if not len(hidden):
            return 0.0
        parts = self._fit_parts(log.where(~np.isin(log.users, hidden)), "few events")
        artifact = self._artifact(parts, fusion, {})
        return best_until(artifact, self._catalogue(artifact), log, hidden, options.seed)

    def _fit_side_features(self) -> tuple[SideFeatures, SideFeatures]:
        """Fit the features of the items and users of the first slice only."""
        log, fit = self._data.log, self._slices.fit
        items, users = np.unique(log.items[fit]), np.unique(log.users[fit])
        first_ms = log.where(fit).first_ms_of_items()
        item_rows = [self._data.item_features.get(log.item_ids[i], {}) for i in items]
        user_rows = [self._data.user_features.get(log.user_ids[u], {}) for u in users]
        strategy = self._options.imputation
        of_items = fit_side_features(item_rows, self._text[items], strategy, first_ms[items])
        no_text = np.zeros((len(users), 0), dtype=np.float32)
        # users have neither text nor a time of their own: strategies that need them use the mean
        # instead
        return of_items, fit_side_features(user_rows, no_text, "mean" if strategy in ("time", "model") else strategy)

    def _fit_parts(self, log: Interactions, what: str, start: SequenceFit | None = None) -> Parts:
        preset, options, on_progress = self._preset, self._options, self._observer.on_progress
        n_items = len(log.item_ids)

        def on_epoch(done: int, total: int, loss: float, score: float | None) -> None:
            on_progress(f"{what}: sequence model", done, total)
            self._observer.on_scalar(f"{what}/loss", loss, done)
            if score is not None:
                self._observer.on_scalar(f"{what}/validation ndcg@10", score, done)

        share = FIRST_FIT_SHARE if start is None else 1 - FIRST_FIT_SHARE
        control = FitControl(
            minutes=None if options.minutes is None else options.minutes * share,
            start=start,
            validate=self._validator(log) if start is None else None,
            checkpoint=self._checkpoint(what, start),
            on_epoch=on_epoch,
            on_step=lambda done, total: on_progress(f"{what}: sequence model", done, total),
        )
        wishes = log.wishes()
        popularity = np.bincount(wishes.items, weights=wishes.weights, minlength=n_items).astype(np.float32)
        if options.is_ordered:
            sequence = fit_sequence(
                SequenceData(
                    log.users, log.items, log.types, log.ts_ms, self._text,
                    n_types=len(log.kinds.types), is_target=None if log.kinds.is_all_positive else log.is_positive,
                ),
                preset.sequence, preset.sequence_training, seed=options.seed, device=options.device, control=control,
            )  # fmt: skip
            following = next_item_counts(wishes.users, wishes.items, n_items, weights=wishes.weights)
        else:
            sequence = popularity_sequence(preset.sequence, popularity, len(log.kinds.types))
            following = no_next_items(n_items)
        factors = self._fit_factors(wishes, what)
        counts = DecayedCounts()
        wishes.count_by(counts.add)
        to_ms = int(log.ts_ms[-1])
        return Parts(
            sequence,
            factors,
            following,
            item_neighbours(wishes.users, wishes.items, n_items, min(N_NEIGHBOURS, n_items), weights=wishes.weights),
            popularity,
            counts.scores(log.item_ids, to_ms),
            wishes.first_ms_of_items(),
            to_ms,
        )

    def _fit_factors(self, log: Interactions, what: str) -> ItemFactors:
        config, n_users, n_items = self._preset.factors, len(log.user_ids), len(log.item_ids)
        seed, on_progress = self._options.seed, self._observer.on_progress
        if isinstance(config, FactorsConfig):
            return fit_factors(
                log.users, log.items, n_users, n_items, config, seed,
                lambda epoch: on_progress(f"{what}: factors", epoch + 1, config.epochs), log.weights,
            )  # fmt: skip
        found = fit_als(
            log.users, log.items, n_users, n_items, config, seed,
            lambda sweep: on_progress(f"{what}: factors", sweep + 1, config.n_sweeps), log.weights,
        )  # fmt: skip
        return ItemFactors(found.items, np.zeros(n_items, dtype=np.float32))

    def _validator(self, fitted: Interactions) -> Validator | None:
        positions = sample_positions(self._data.log, self._slices.validation.tolist(), N_VALIDATION, self._options.seed)
        if not positions:
            return None
        options = self._options
        return Validator(self._data.log, positions, fitted, self._text, self._preset.sequence, options.repeats)

    def _checkpoint(self, what: str, start: SequenceFit | None) -> Checkpoint | None:
        log, options = self._data.log, self._options
        if options.checkpoints is None:
            return None
        chosen: tuple[object, ...] = (what, self._preset, options.seed, options.cut, options.minutes)
        chosen = chosen if options.repeats.is_never else (*chosen, options.repeats)
        digest = hashlib.sha256(repr(chosen).encode())
        for array in (log.users, log.items, log.types, log.ts_ms, self._text):
            digest.update(np.ascontiguousarray(array).tobytes())
        if log.kinds != DEFAULT_TYPES.window_types:
            digest.update(repr(log.kinds).encode())
            digest.update(b"" if log.weights is None else log.weights.tobytes())
        for _name, value in sorted(start.state.items()) if start is not None else ():
            digest.update(value.numpy().tobytes())
        return Checkpoint(options.checkpoints / f"{what.replace(' ', '-')}.safetensors", digest.hexdigest())

    def _catalogue(self, artifact: Artifact) -> Catalogue:
        items = {item_id: self._raw[row] for row, item_id in enumerate(self._data.log.item_ids)}
        return build_catalogue(artifact, items, generation=0, features=self._data.item_features)

    def _questions(self, artifact: Artifact, positions: list[int]) -> Any:
        max_length, data = self._preset.sequence.max_length, self._data
        shown = self._catalogue(artifact)
        return questions(shown, data.log, positions, max_length, data.user_features, self._options.repeats)

    def _fit_fusion(self, artifact: Artifact) -> tuple[FusionModel, dict[str, float] | None]:
        """Return the network, and where items may come back the weights of its blend."""
        preset, options, on_progress = self._preset, self._options, self._observer.on_progress
        positions = sample_positions(self._data.log, self._slices.fusion.tolist(), preset.n_fusion_events, options.seed)
        data = collect(
            artifact,
            self._questions(artifact, positions),
            lambda done: on_progress("fusion: candidates", done, len(positions)),
        )
        if data is None:
            return artifact.fusion, None
        fit = fit_fusion_alone if options.repeats.is_never else fit_with_blend
        return fit(data, options.seed, preset.fusion_epochs, lambda done, of: on_progress("fusion", done, of))

    def _artifact(
        self,
        parts: Parts,
        fusion: FusionModel,
        metrics: dict[str, float],
        newcomers: Learnt | None = None,
        leans_until: float = 0.0,
    ) -> Artifact:
        tensors = parts.tensors(fusion, self._whitening)
        for side, prefix in ((self._item_features, "item_imputer."), (self._user_features, "user_imputer.")):
            tensors |= {name: torch.from_numpy(array) for name, array in side.tensors(prefix).items()}
        info = self._info(parts, metrics)
        if newcomers is not None:
            info["newcomers"] = newcomers.weights
            tensors |= {name: torch.from_numpy(array) for name, array in newcomers.tensors().items()}
        if leans_until:
            info["leans_until"] = leans_until
        return make_artifact(tensors, self._preset.sequence, info, self._options.device)

    def _info(self, parts: Parts, metrics: dict[str, float]) -> dict[str, Any]:
        log, options = self._data.log, self._options
        alpha, regularisation = _fold_in_weights(self._preset.factors)
        source = self._data.source if self._raw.any() else NO_TEXT
        info = {
            "created_ms": int(time.time() * 1000),
            "encoder_name": source.encoder_name,
            "encoder_version": source.encoder_version,
            "encoder_sha256": source.encoder_sha256,
            "text_version": source.text_version,
            "alpha": alpha,
            "regularisation": regularisation,
            "trained_from_ms": int(log.ts_ms[0]),
            "trained_to_ms": parts.to_ms,
            "n_events": len(log),
            "n_users": len(log.user_ids),
            "preset": options.preset,
            "seed": options.seed,
            "left_out": options.left_out,
            "epochs": parts.sequence.epochs,
            "metrics": metrics,
            "item_features": self._item_features.to_plain(),
            "user_features": self._user_features.to_plain(),
            "item_ids": list(log.item_ids),
        }
        if log.kinds != DEFAULT_TYPES.window_types:
            info["event_types"] = list(log.kinds.types)
        if self._blend is not None:
            info["blend"] = self._blend
        return info if options.repeats.is_never else info | {"repeats": options.repeats.as_plain()}


def _fold_in_weights(config: FactorsConfig | AlsConfig) -> tuple[float, float]:
    """Return alpha and regularisation of the fold-in for these factors."""
    if isinstance(config, AlsConfig):
        return 1.0 / config.unobserved_weight, ALS_FOLD_IN_REGULARISATION
    return config.alpha, config.regularisation
