"""Fits the sequence model: the next item at every position, softmax over all items or a sample.

Rows are looked up with ``embedding``, which sums its gradient in a fixed order. Indexing does not
when several threads compute.
"""

from __future__ import annotations

import ctypes
import math
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from models.base.event_types import DEFAULT_TYPES
from models.base.types import Bool, Float32, Int64
from models.sequence.batches import batches_of, chunks_of, padded_steps
from models.sequence.checkpoint import Checkpoint
from models.sequence.loss import full_softmax, sampled_softmax
from models.sequence.model import SequenceConfig, SequenceModel

#: Share of the training in which the learning rate rises to its full value; then it falls to 0
#: along a cosine.
WARM_UP_SHARE: Final = 0.05
#: glibc's numbers for two settings: blocks taken by mmap, and free memory above which the heap
#: shrinks.
_M_MMAP_MAX, _M_TRIM_THRESHOLD = -4, -1


@dataclass(frozen=True)
class SequenceTraining:
    """How the sequence model is fitted.

    Parameters
    ----------
    epochs, refit_epochs : at most; ``refit_epochs`` applies when the fit continues from fitted
        weights on a longer log
    learning_rate, refit_learning_rate : the highest value
    id_dropout : share of items whose own embedding is dropped in a step, so that text alone learns
        to represent an item
    n_negatives : items sampled for the softmax; None for all items
    patience : training stops after this many epochs without a better validation score
    """

    epochs: int = 16
    refit_epochs: int = 6
    batch_size: int = 64
    learning_rate: float = 2e-3
    refit_learning_rate: float = 5e-4
    id_dropout: float = 0.1
    weight_decay: float = 1e-2
    n_negatives: int | None = None
    patience: int = 6


@dataclass(frozen=True)
class SequenceFit:
    """A finished fit.

    Parameters
    ----------
    state : the weights by name
    epochs : the epoch that the weights are from
    losses, scores : (epoch, loss) and (epoch, validation score) of all epochs
    """

    state: dict[str, Tensor]
    epochs: int
    losses: list[tuple[int, float]] = field(default_factory=list)
    scores: list[tuple[int, float]] = field(default_factory=list)


@dataclass(frozen=True)
class SequenceData:
    """Events in time order, and the items' texts.

    Parameters
    ----------
    users, items, types, ts_ms : (n,) int64
    text : (n_items, text_dim) float32, whitened; its length is the number of items
    n_types : rows of the type embedding
    is_target : (n,) bool, the events that the model learns to predict; None means all
    """

    users: Int64
    items: Int64
    types: Int64
    ts_ms: Int64
    text: Float32
    n_types: int = len(DEFAULT_TYPES.window_types.types)
    is_target: Bool | None = None


@dataclass(frozen=True)
class FitControl:
    """What bounds and observes a fit.

    Parameters
    ----------
    minutes : the learning rate falls to 0 within this time, and no batch starts after it; an epoch
        that it cuts short is the last one. One batch is fitted in any case
    start : weights to continue from, so that vectors keep their meaning for the models fitted on
        them
    validate : returns the score, greater is better, that chooses the best epoch; without it the
        last epoch is kept
    checkpoint : written after each epoch; the fit continues from one that exists
    on_epoch : called with the epochs done, their total, the mean loss and the validation score
    on_step : called after each batch but an epoch's last, with the epochs done, which have a
        fraction, and their total
    """

    minutes: float | None = None
    start: SequenceFit | None = None
    validate: Callable[[SequenceModel], float] | None = None
    checkpoint: Checkpoint | None = None
    on_epoch: Callable[[int, int, float, float | None], None] = lambda _done, _total, _loss, _score: None
    on_step: Callable[[float, int], None] = lambda _done, _total: None

    def __post_init__(self) -> None:
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes={self.minutes}: must be above 0; None for no bound")


def fit_sequence(
    data: SequenceData,
    config: SequenceConfig,
    training: SequenceTraining,
    *,
    seed: int,
    device: str,
    control: FitControl,
) -> SequenceFit:
    """Fit the model to a log.

    The same input, seed and machine give the same weights, unless ``minutes`` cuts the fit short.

    Raises
    ------
    ValueError
        When the loss is not finite.
    """
    return _Fit(data, config, training, seed, device, control).run()


class _Fit:
    """One fit: the state that a checkpoint keeps, and the loop over epochs."""

    def __init__(
        self,
        data: SequenceData,
        config: SequenceConfig,
        training: SequenceTraining,
        seed: int,
        device: str,
        control: FitControl,
    ) -> None:
        _keep_freed_memory()
        torch.manual_seed(seed)
        self._data, self._config, self._training, self._control, self._device = data, config, training, control, device
        self._rng = np.random.default_rng(seed)
        self._generator = torch.Generator().manual_seed(seed)
        self._text = torch.from_numpy(_pad_columns(data.text, config.text_dim)).to(device)
        self._model = SequenceModel(config, len(data.text), data.n_types).to(device)
        is_refit = control.start is not None
        if control.start is not None:
            self._model.load_state_dict(control.start.state)
        self._epochs = training.refit_epochs if is_refit else training.epochs
        self._rate = training.refit_learning_rate if is_refit else training.learning_rate
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self._model.parameters() if p.ndim > 1], "weight_decay": training.weight_decay},
            {"params": [p for p in self._model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=self._rate)
        order = np.argsort(data.users, kind="stable")
        self._histories = np.split(order, np.flatnonzero(np.diff(data.users[order])) + 1) if len(order) else []
        self._done, self._seconds, self._started = 0, 0.0, time.monotonic()
        self._losses: list[tuple[int, float]] = []
        self._scores: list[tuple[int, float]] = []
        self._best = self._weights()

    def run(self) -> SequenceFit:
        """Run the remaining epochs."""
        self._restore()
        while self._done < self._epochs and not self._is_over():
            self._started = time.monotonic()
            loss = self._epoch()
            self._done += 1
            self._losses.append((self._done, loss))
            score = self._judge()
            self._seconds = self._elapsed_s()
            self._save()
            self._control.on_epoch(self._done, self._epochs, loss, score)
        return SequenceFit(self._best, self._best_epoch(), self._losses, self._scores)

    def _elapsed_s(self) -> float:
        """Return the seconds of the epochs done and of the present one."""
        return self._seconds + time.monotonic() - self._started

    def _time_share(self) -> float:
        """Return which share of the allowed time is over; 0 without a bound."""
        minutes = self._control.minutes
        return 0.0 if minutes is None else self._elapsed_s() / (60 * minutes)

    def _is_over(self) -> bool:
        minutes = self._control.minutes
        is_late = minutes is not None and self._seconds > 60 * minutes
        return is_late or bool(self._scores) and self._done - self._best_epoch() >= self._training.patience

    def _best_epoch(self) -> int:
        return max(self._scores, key=lambda pair: (pair[1], -pair[0]))[0] if self._scores else self._done

    def _judge(self) -> float | None:
        """Validate, and keep these weights if they are the best so far or nothing validates."""
        if self._control.validate is None:
            self._best = self._weights()
            return None
        self._model.eval()
        score = self._control.validate(self._model)
        self._scores.append((self._done, score))
        if self._best_epoch() == self._done:
            self._best = self._weights()
        return score

    def _epoch(self) -> float:
        """Go once through all chunks and return the mean loss."""
        self._model.train()
        data, total, n = self._data, 0.0, 0
        chunks = chunks_of(self._histories, self._config.max_length, self._rng)
        if data.is_target is not None:
            chunks = [chunk for chunk in chunks if data.is_target[chunk[1:]].any()]
        steps_of = partial(padded_steps, items=data.items, types=data.types, ts_ms=data.ts_ms, is_target=data.is_target)
        batches = list(batches_of(chunks, self._training.batch_size, self._rng))
        for j, batch in enumerate(batches):
            time_share = self._time_share()
            if time_share > 1.0 and j:
                break
            share = max((self._done + j / len(batches)) / self._epochs, time_share)
            for group in self._optimizer.param_groups:
                group["lr"] = self._rate * learning_rate_share(share)
            rows, types, gaps, targets = (torch.from_numpy(a).to(self._device) for a in steps_of(batch))
            loss = self._loss(rows, types, gaps, targets)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
            self._optimizer.step()
            n_targets = int((targets >= 0).sum())
            total, n = total + float(loss.detach()) * n_targets, n + n_targets
            if j + 1 < len(batches):  # on_epoch tells of the last one
                self._control.on_step(self._done + (j + 1) / len(batches), self._epochs)
        if not math.isfinite(total):
            raise ValueError(
                f"training diverged in epoch {self._done + 1}: the loss is {total}; lower the learning rate"
            )
        return total / max(n, 1)

    def _loss(self, rows: Tensor, types: Tensor, gaps: Tensor, targets: Tensor) -> Tensor:
        keep = None
        if self._training.id_dropout:
            drawn = torch.rand(len(self._data.text), 1, generator=self._generator)
            keep = (drawn >= self._training.id_dropout).float().to(self._device)
        table = self._model.item_table(self._text, keep)
        states = self._model(nn.functional.embedding(rows, table), types, gaps)[targets >= 0]
        wanted = targets[targets >= 0]
        if self._training.n_negatives is None:
            return full_softmax(states, table, self._model.item_bias, wanted)
        n_negatives = self._training.n_negatives
        return sampled_softmax(states, table, self._model.item_bias, wanted, n_negatives, self._generator)

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self._model.state_dict().items()}

    def _save(self) -> None:
        if self._control.checkpoint is None:
            return
        tensors = {f"model.{name}": value for name, value in self._weights().items()}
        tensors |= {f"best.{name}": value for name, value in self._best.items()}
        for i, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{name}": value for name, value in state.items()}
        tensors |= {"generator": self._generator.get_state(), "torch": torch.get_rng_state()}
        if self._device == "cuda":
            tensors["cuda"] = torch.cuda.get_rng_state()
        state = {
            "done": self._done, "seconds": self._seconds, "losses": self._losses, "scores": self._scores,
            "rng": self._rng.bit_generator.state,
        }  # fmt: skip
        self._control.checkpoint.save(tensors, state)

    def _restore(self) -> None:
        found = self._control.checkpoint.load() if self._control.checkpoint is not None else None
        if found is None:
            return
        tensors, state = found
        self._model.load_state_dict(_with_prefix(tensors, "model."))
        self._best = _with_prefix(tensors, "best.")
        by_parameter: dict[int, dict[str, Tensor]] = {}
        for name, value in _with_prefix(tensors, "optimizer.").items():
            number, field_name = name.split(".", 1)
            by_parameter.setdefault(int(number), {})[field_name] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": by_parameter, "param_groups": groups})
        self._generator.set_state(tensors["generator"])
        torch.set_rng_state(tensors["torch"])
        if "cuda" in tensors:
            torch.cuda.set_rng_state(tensors["cuda"])
        self._rng.bit_generator.state = state["rng"]
        self._done, self._seconds = int(state["done"]), float(state["seconds"])
        self._losses = [(int(e), float(v)) for e, v in state["losses"]]
        self._scores = [(int(e), float(v)) for e, v in state["scores"]]


def learning_rate_share(share: float) -> float:
    """Return the share of the highest learning rate after ``share`` of the training.

    It rises in a line during the warm-up and then falls along a cosine.
    """
    if share < WARM_UP_SHARE:
        return 0.02 + 0.98 * share / WARM_UP_SHARE
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (share - WARM_UP_SHARE) / (1.0 - WARM_UP_SHARE)))


def _keep_freed_memory() -> None:
    """Make glibc keep freed blocks for the next step.

    Returning tens of megabytes to the system and asking for them again takes half of an epoch's
    time.
    """
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            libc = ctypes.CDLL(None)
            libc.mallopt(_M_MMAP_MAX, 0)
            libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _pad_columns(text: Float32, width: int) -> Float32:
    """Add zero columns where whitening found fewer dimensions than ``width``."""
    missing = max(0, width - text.shape[1])
    return np.pad(text, ((0, 0), (0, missing))).astype(np.float32)
