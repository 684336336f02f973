"""Fits the sequence model: next item at every position, full softmax over all items.

Rows are looked up with ``embedding``, whose gradient is summed in a fixed order; that of indexing is not, with several threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.sequence import NO_GAP, SequenceConfig, SequenceModel, gap_bucket
from models.types import Float32, Int64


@dataclass(frozen=True)
class SequenceTraining:
    """How the sequence model is fitted.

    Parameters
    ----------
    refit_epochs : when going on from fitted weights, on a log that has grown
    id_dropout : share of items whose id part is left out of a step, so that text alone learns to carry an item
    """

    epochs: int = 16
    refit_epochs: int = 6
    batch_size: int = 64
    learning_rate: float = 2e-3
    id_dropout: float = 0.1
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class SequenceFit:
    """The fitted weights by name, and the epochs that were run."""

    state: dict[str, Tensor]
    epochs: int


def fit_sequence(
    users: Int64,
    items: Int64,
    types: Int64,
    ts_ms: Int64,
    text: Float32,
    config: SequenceConfig,
    training: SequenceTraining,
    *,
    seed: int,
    device: str,
    minutes: float | None,
    start: SequenceFit | None = None,
    on_epoch: Callable[[int, int], None],
) -> SequenceFit:
    """Fit the model to a log in time order.

    Parameters
    ----------
    users, items, types, ts_ms : (n,) int64
    text : (n_items, text_dim) float32, whitened; also says how many items there are
    minutes : no epoch is started after this time
    start : weights to go on from, so that vectors keep their meaning for what was fitted on them
    on_epoch : called with the epochs done and the total
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    text_tensor = torch.from_numpy(_pad_columns(text, config.text_dim)).to(device)
    model = SequenceModel(config, len(text)).to(device)
    epochs = training.epochs if start is None else training.refit_epochs
    if start is not None:
        model.load_state_dict(start.state)
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.learning_rate, total_steps=epochs + 1, pct_start=0.2
    )
    loss_of = nn.CrossEntropyLoss(ignore_index=-1, label_smoothing=training.label_smoothing)
    order = np.argsort(users, kind="stable")
    histories = np.split(order, np.flatnonzero(np.diff(users[order])) + 1)
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    epoch = 0
    for epoch in range(1, epochs + 1):
        model.train()
        chunks = _chunks(histories, config.max_length, rng)
        for batch in _batches(chunks, training.batch_size, rng):
            arrays = (torch.from_numpy(a).to(device) for a in _pad(batch, items, types, ts_ms))
            rows, kinds, gaps, targets = arrays
            keep = (torch.rand(len(text), 1, device=device) >= training.id_dropout).float()
            table = model.item_table(text_tensor, keep)
            states = model(nn.functional.embedding(rows, table), kinds, gaps)[targets >= 0]
            logits = states @ table.T + model.item_bias
            loss = loss_of(logits, targets[targets >= 0])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        schedule.step()
        on_epoch(epoch, epochs)
        if deadline is not None and time.monotonic() > deadline:
            break
    return SequenceFit({name: value.detach().cpu().clone() for name, value in model.state_dict().items()}, epoch)


def _pad_columns(text: Float32, width: int) -> Float32:
    """Widen with zero columns where whitening found fewer dimensions than asked for."""
    missing = max(0, width - text.shape[1])
    return np.pad(text, ((0, 0), (0, missing))).astype(np.float32)


def _chunks(histories: list[Int64], length: int, rng: np.random.Generator) -> list[Int64]:
    """Cut histories into chunks of ``length`` steps (``length + 1`` events), from a random start, so that cuts move."""
    chunks = []
    for history in histories:
        offset = int(rng.integers(length)) if len(history) > length + 1 else 0
        starts = [0, *range(offset, len(history) - 1, length)] if offset else range(0, len(history) - 1, length)
        chunks += [history[start : start + length + 1] for start in starts]
    return [chunk for chunk in chunks if len(chunk) > 1]


def _batches(chunks: list[Int64], size: int, rng: np.random.Generator) -> Iterator[list[Int64]]:
    """Yield shuffled batches of chunks of like length, which saves padding."""
    order = sorted(rng.permutation(len(chunks)).tolist(), key=lambda i: len(chunks[i]))
    starts = list(range(0, len(order), size))
    for j in rng.permutation(len(starts)).tolist():
        yield [chunks[i] for i in order[starts[j] : starts[j] + size]]


def _pad(chunks: list[Int64], items: Int64, types: Int64, ts_ms: Int64) -> tuple[Int64, Int64, Int64, Int64]:
    """Return rows, types, gaps and targets of chunks, each (n, length) int64; targets are -1 where there is padding."""
    length = max(len(chunk) for chunk in chunks) - 1
    rows, kinds, gaps = (np.zeros((len(chunks), length), dtype=np.int64) for _ in range(3))
    targets = np.full((len(chunks), length), -1, dtype=np.int64)
    for i, chunk in enumerate(chunks):
        n = len(chunk) - 1
        rows[i, :n] = items[chunk[:-1]]
        kinds[i, :n] = types[chunk[:-1]]
        gaps[i, 0] = NO_GAP
        gaps[i, 1:n] = gap_bucket(np.diff(ts_ms[chunk[:-1]]))
        targets[i, :n] = items[chunk[1:]]
    return rows, kinds, gaps, targets
