"""Matrix factorisation: the sigmoid of a dot product, fitted to implicit feedback; and fold-in.

Training has user and item embeddings, dot product, sigmoid, and binary cross-entropy with sampled
negatives. Fold-in computes a user's factors in closed form from item factors only, so it serves
every user with a window (Hu, Koren and Volinsky, Collaborative Filtering for Implicit Feedback
Datasets, 2008, equation 4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from models.base.types import Bool, Float32, Int64


@dataclass(frozen=True)
class FactorsConfig:
    """Sizes and weights of matrix factorisation.

    Parameters
    ----------
    dim : factors of a user and of an item
    n_negatives : sampled items per interaction
    alpha : confidence that a seen item adds in fold-in
    regularisation : of a user's factors in fold-in
    """

    dim: int = 32
    n_negatives: int = 4
    epochs: int = 12
    learning_rate: float = 5e-3
    batch_size: int = 4_096
    alpha: float = 10.0
    regularisation: float = 1.0


@dataclass(frozen=True)
class ItemFactors:
    """Item factors (n_items, dim) float32 and item biases (n_items,) float32."""

    factors: Float32
    biases: Float32


def fit_factors(
    users: Int64,
    items: Int64,
    n_users: int,
    n_items: int,
    config: FactorsConfig,
    seed: int,
    on_epoch: Callable[[int], None] = lambda _epoch: None,
    weights: Float32 | None = None,
) -> ItemFactors:
    """Fit user and item embeddings by binary cross-entropy, and return those of the items.

    Negatives are drawn uniformly; some of them are positives, which is part of the method. Users'
    factors are not kept: serving folds every user in from the window, so trained and new users are
    treated alike.

    Parameters
    ----------
    users, items : (n,) int64, rows of each interaction
    seed : the same input and seed give the same factors
    on_epoch : called with the number of each epoch, from 0
    weights : (n,) float32, confidence in each interaction: the factor of its positive's loss
    """
    generator = torch.Generator().manual_seed(seed)
    scale = 1.0 / config.dim**0.5
    user_factors = nn.Parameter(torch.randn(n_users, config.dim, generator=generator) * 0.1 * scale)
    item_factors = nn.Parameter(torch.randn(n_items, config.dim, generator=generator) * 0.1 * scale)
    biases = nn.Parameter(torch.zeros(n_items, 1))
    look_up = nn.functional.embedding  # sums its gradient in a fixed order, unlike indexing
    optimizer = torch.optim.Adam([user_factors, item_factors, biases], lr=config.learning_rate)
    loss_of = nn.BCEWithLogitsLoss()
    u, i = torch.from_numpy(users), torch.from_numpy(items)
    confidence = None if weights is None else torch.from_numpy(weights)
    for epoch in range(config.epochs):
        for batch in torch.split(torch.randperm(len(u), generator=generator), config.batch_size):
            negatives = torch.randint(n_items, (len(batch), config.n_negatives), generator=generator)
            candidates = torch.cat([i[batch][:, None], negatives], dim=1)  # [batch, 1 + n_negatives]
            own = look_up(u[batch], user_factors)  # [batch, dim]
            logits = (own[:, None] * look_up(candidates, item_factors)).sum(-1) + look_up(candidates, biases)[..., 0]
            labels = torch.zeros_like(logits)
            labels[:, 0] = 1.0
            if confidence is not None:
                loss_of.weight = torch.ones_like(logits)
                loss_of.weight[:, 0] = confidence[batch]
            loss = loss_of(logits, labels) + 1e-4 * own.square().sum(-1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        on_epoch(epoch)
    return ItemFactors(item_factors.detach().numpy().copy(), biases.detach().numpy()[:, 0].copy())


def gram(factors: Float32) -> Float32:
    """Return the Gram matrix of item factors, (dim, dim) float32; once per set of items."""
    product: Float32 = factors.T @ factors
    return product


def fold_in(
    seen: Float32,
    mask: Bool,
    gram_matrix: Float32,
    *,
    alpha: float,
    regularisation: float,
    weights: Float32 | None = None,
) -> Float32:
    """Return users' factors from the items they have, in closed form.

    Solves ``(G + alpha * Y'Y + regularisation * I) x = (1 + alpha) * Y'1`` per user, with ``Y`` the
    factors of the user's items and ``G`` the Gram matrix of all items. With weights ``w`` it solves
    ``(G + alpha * Y'WY + regularisation * I) x = Y'(1 + alpha * w)``.

    Parameters
    ----------
    seen : (n, length, dim) float32, factors of each user's items
    mask : (n, length) bool, False for padding
    gram_matrix : (dim, dim) float32
    weights : (n, length) float32, confidence in each item; None means 1 for all

    Returns
    -------
    (n, dim) float32
        Zeros for a user without items.
    """
    dim = gram_matrix.shape[0]
    y = seen * mask[..., None]  # [n, length, dim]
    weighted = y if weights is None else y * weights[..., None]
    left = gram_matrix + alpha * np.matmul(weighted.transpose(0, 2, 1), y)  # [n, dim, dim]
    left = left + regularisation * np.eye(dim, dtype=np.float32)
    right = (1.0 + alpha) * y.sum(axis=1) if weights is None else (y + alpha * weighted).sum(axis=1)  # [n, dim]
    return np.linalg.solve(left, right[..., None])[..., 0].astype(np.float32)
