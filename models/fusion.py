"""A small network that makes one probability from all features of a candidate item.

The network learns to order a user's candidates (softmax over the list: Cao et al., Learning to
Rank: From Pairwise Approach to Listwise Approach, 2007). Then the sigmoid is fitted to how often
ordered candidates were the next item (Platt, Probabilistic Outputs for Support Vector Machines,
1999), so that a probability of 0.1 is right once in ten times.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from models.base.scalar_features import FEATURES, feature_names

#: Standardised features are cut here: the network was never trained beyond.
MAX_DEVIATIONS: Final = 8.0
BATCH: Final = 64
#: Widths of the projections of user and item, and of the hidden layer.
N_PROJECTED: Final = 8
N_HIDDEN: Final = 32
#: Share of the cases kept from the fit: they choose its best epoch, and the sigmoid is fitted to
#: them.
CALIBRATION_SHARE: Final = 0.2
#: Newton steps of that fit of the sigmoid.
CALIBRATION_STEPS: Final = 30
#: Columns of the features to whose order a linear start may be drawn: retrieval, and what follows.
LINEAR_STARTS: Final = tuple(map(feature_names(()).index, ("retrieval_share", "step")))
#: Ridges of the linear start, how many Newton steps each gets, and the most cases it looks at.
RIDGES: Final = (1_000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0)
LINEAR_STEPS: Final = 8
#: A Newton step that lowers the summed loss by less is the last one.
LINEAR_GAIN: Final = 1e-3
LINEAR_CASES: Final = 3_000
#: A line that is drawn more counts where it is worse by no more standard errors than this.
LINEAR_ERRORS: Final = 0.3


@dataclass(frozen=True)
class FusionData:
    """Candidates of ``n`` users, ``c`` each, padded, and which of them was the next item.

    Parameters
    ----------
    features : (n, c, n_features) float32
    rows : (n, c) int64, rows of ``items``
    valid : (n, c) bool, False for padding
    users : (n, user_width) float32, user vector and user features
    items : (n_items, item_width) float32, item vector and item features
    targets : (n,) int64, the column of the next item, -1 where no candidate is the next item
    """

    features: Tensor
    rows: Tensor
    valid: Tensor
    users: Tensor
    items: Tensor
    targets: Tensor

    def part(self, cases: Tensor) -> FusionData:
        """Return the data of the users at these places, (m,) int64."""
        return FusionData(
            self.features[cases],
            self.rows[cases],
            self.valid[cases],
            self.users[cases],
            self.items,
            self.targets[cases],
        )

    def logits(self, model: FusionModel) -> Tensor:
        """Return the network's logits, (n, c)."""
        logits: Tensor = model(self.features, self.users, nn.functional.embedding(self.rows, self.items))
        return logits


class FusionModel(nn.Module):
    """Scalar features and small projections of user and item, into one logit."""

    feature_mean: Tensor
    feature_scale: Tensor
    calibration: Tensor

    def __init__(self, user_width: int, item_width: int, n_features: int = len(FEATURES)) -> None:
        super().__init__()
        n = n_features
        self.register_buffer("feature_mean", torch.zeros(n))
        # factor of each feature; 0 silences it
        self.register_buffer("feature_scale", torch.ones(n))
        self.register_buffer("calibration", torch.tensor([1.0, 0.0]))
        self.user_projection = nn.Linear(user_width, N_PROJECTED)
        self.item_projection = nn.Linear(item_width, N_PROJECTED)
        self.body = nn.Sequential(
            nn.Linear(n + 3 * N_PROJECTED, N_HIDDEN), nn.GELU(), nn.Dropout(0.1), nn.Linear(N_HIDDEN, 1)
        )
        self.shortcut = nn.Linear(n, 1)  # learns the linear part at once; the network corrects it

    def forward(self, features: Tensor, users: Tensor, items: Tensor) -> Tensor:
        """Return logits, (n, c); they order a user's candidates.

        Parameters
        ----------
        features : (n, c, n_features) float32
        users : (n, user_width) float32
        items : (n, c, item_width) float32
        """
        x = ((features - self.feature_mean) * self.feature_scale).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)
        item = self.item_projection(items)  # [n, c, N_PROJECTED]
        user = self.user_projection(users)[:, None].expand_as(item)
        logits: Tensor = self.body(torch.cat([x, user, item, user * item], dim=2)) + self.shortcut(x)
        return logits.squeeze(2)


def _log_softmax(logits: Tensor, valid: Tensor) -> Tensor:
    """Return the log softmax over the valid candidates, (n, c); very negative elsewhere."""
    masked = logits.masked_fill(~valid, -1e9)
    return torch.log_softmax(masked, dim=1)


def popularity_fusion(user_width: int, item_width: int, n_features: int = len(FEATURES)) -> FusionModel:
    """Return a network that ranks by recent popularity only, for logs too small to fit one."""
    model = FusionModel(user_width, item_width, n_features)
    with torch.no_grad():
        for parameter in (*model.body.parameters(), *model.shortcut.parameters()):
            parameter.zero_()
        model.shortcut.weight[0, FEATURES.index("recent_popularity")] = 1.0
    return model.eval()


def fit_fusion(
    data: FusionData,
    *,
    seed: int,
    epochs: int,
    on_epoch: Callable[[int], None] = lambda _epoch: None,
    blend: int | None = None,
) -> FusionModel:
    """Fit the network, then its sigmoid.

    The cases must be later than the events that the features were fitted on; otherwise the network
    learns to trust memorised scores. Where no case has its next item among the candidates, the
    result ranks by recent popularity.

    Parameters
    ----------
    seed : the same data and seed give the same network
    on_epoch : called with the number of each epoch, from 0
    blend : the column of the blend, where there is one: the linear start is drawn to its order. The
        cases kept are then the last ones, on which a network fails that learnt a passing fashion
    """
    widths = data.users.shape[1], data.items.shape[1], data.features.shape[2]
    if not bool((data.targets >= 0).any()):
        return popularity_fusion(*widths)
    torch.manual_seed(seed)
    model, generator = FusionModel(*widths), torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data.targets), generator=generator)
    order = order if blend is None else torch.arange(len(order)).flip(0)
    n_kept = int(CALIBRATION_SHARE * len(order))
    kept, learnt = data.part(order[:n_kept].sort().values), data.part(order[n_kept:].sort().values)
    if not bool((learnt.targets >= 0).any()) or not bool((kept.targets >= 0).any()):
        kept = learnt = data  # too few cases for a part of their own
    _standardise(model, data.features[data.valid])
    _begin_with_retrieval(model)
    if data.features.shape[2] > len(FEATURES):
        _begin_with_best_line(model, learnt, kept, LINEAR_STARTS if blend is None else (blend,))
    fit_network(model, learnt, kept, epochs, generator, on_epoch)
    _calibrate(model, kept)
    return model


def fit_network(
    model: FusionModel,
    data: FusionData,
    kept: FusionData,
    epochs: int,
    generator: torch.Generator,
    on_epoch: Callable[[int], None],
) -> None:
    """Fit by listwise cross-entropy; keep the weights of the best epoch on the ``kept`` cases."""
    cases = torch.nonzero(data.targets >= 0).flatten()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * -(-len(cases) // BATCH))
    best, best_loss = copy.deepcopy(model.state_dict()), _listwise_loss(model, kept)
    for epoch in range(epochs):
        model.train()
        for batch in torch.split(cases[torch.randperm(len(cases), generator=generator)], BATCH):
            part = data.part(batch)
            loss = nn.functional.nll_loss(_log_softmax(part.logits(model), part.valid), part.targets)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        if (found := _listwise_loss(model, kept)) < best_loss:
            best, best_loss = copy.deepcopy(model.state_dict()), found
        on_epoch(epoch)
    model.load_state_dict(best)
    model.eval()


@torch.no_grad()
def _listwise_loss(model: FusionModel, data: FusionData) -> float:
    model.eval()
    total = 0.0
    cases = torch.nonzero(data.targets >= 0).flatten()
    for batch in torch.split(cases, BATCH):
        part = data.part(batch)
        shares = _log_softmax(part.logits(model), part.valid)
        total += float(nn.functional.nll_loss(shares, part.targets, reduction="sum"))
    return total / max(len(cases), 1)


def _losses(model: FusionModel, data: FusionData) -> Tensor:
    """Return the listwise loss of each case whose next item is a candidate."""
    model.eval()
    found = [torch.zeros(0)]
    for batch in torch.split(torch.nonzero(data.targets >= 0).flatten(), BATCH):
        part = data.part(batch)
        shares = _log_softmax(part.logits(model), part.valid)
        found.append(nn.functional.nll_loss(shares, part.targets, reduction="none"))
    return torch.cat(found)


@torch.no_grad()
def _begin_with_retrieval(model: FusionModel) -> None:
    """Make the network begin with the order of retrieval: a fit is better, or not kept."""
    nn.init.normal_(model.body.get_parameter("3.weight"), std=1e-3)
    model.shortcut.weight[0] = _order_of(model, FEATURES.index("retrieval_share"))


def _order_of(model: FusionModel, column: int) -> Tensor:
    """Return the linear weights whose logit is one feature."""
    weights, scale = torch.zeros_like(model.feature_scale), float(model.feature_scale[column])
    weights[column] = 1.0 / scale if scale else 0.0
    return weights


@torch.no_grad()
def _begin_with_best_line(model: FusionModel, data: FusionData, kept: FusionData, starts: Sequence[int]) -> None:
    """Make the network begin with the best linear order: a conditional logit (McFadden, 1974).

    A few hundred cases move the network's weights too little to learn from zero how often users
    return to an item. A ridge pulls the weights towards the order of one feature, so that few cases
    give an order that is near it. Of several such features and ridges, and of the orders
    themselves, the one counts that is drawn most and not clearly worse on the kept cases than the
    best one (Breiman, Friedman, Olshen and Stone, Classification and Regression Trees, 1984,
    section 3.4.3).
    """
    own = model.shortcut.weight[0]
    part = data.part(torch.nonzero(data.targets >= 0).flatten()[:LINEAR_CASES])
    found: list[tuple[int, Tensor, Tensor]] = []
    for column in starts:
        start = _order_of(model, column).double()
        for place, weights in enumerate((start, *_lines(model, part, start))):
            own.copy_(weights.float())
            found.append((place, own.clone(), _losses(model, kept).double()))
    best = min((losses for _, _, losses in found), key=lambda losses: float(losses.mean()))
    worse = [losses - best for _, _, losses in found]
    near = [
        (place, float(more.mean()), n)
        for n, ((place, _, _), more) in enumerate(zip(found, worse, strict=True))
        if float(more.mean()) <= LINEAR_ERRORS * float(more.std(correction=0)) / len(more) ** 0.5
    ]
    own.copy_(found[min(near)[2]][1])


def _lines(model: FusionModel, data: FusionData, start: Tensor) -> Iterator[Tensor]:
    """Yield the weights with the least loss for each ridge; each search goes on from the last."""
    weights = start.clone()
    for ridge in RIDGES:
        loss, gradient, hessian = _linear_loss(model, data, weights, start, ridge)
        for _ in range(LINEAR_STEPS):
            step = torch.linalg.solve(hessian, gradient)
            for size in (1.0, 0.25, 0.06):
                found = _linear_loss(model, data, weights - size * step, start, ridge)
                if found[0] < loss:
                    weights = weights - size * step
                    break
            else:
                break
            is_near = loss - found[0] < LINEAR_GAIN
            loss, gradient, hessian = found
            if is_near:
                break
        yield weights


def _linear_loss(
    model: FusionModel, data: FusionData, weights: Tensor, start: Tensor, ridge: float
) -> tuple[float, Tensor, Tensor]:
    """Return the listwise loss of a linear order, with a ridge, its gradient and its Hessian."""
    away = weights - start
    loss, gradient = 0.5 * ridge * float(away @ away), ridge * away
    hessian = ridge * torch.eye(len(weights), dtype=torch.float64)
    for cases in torch.split(torch.arange(len(data.targets)), BATCH):
        part = data.part(cases)
        x = ((part.features - model.feature_mean) * model.feature_scale).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS).double()
        shares = _log_softmax(x @ weights, part.valid)
        p, target = shares.exp(), x[torch.arange(len(x)), part.targets]
        mean = torch.einsum("nc,ncf->nf", p, x)
        loss -= float(shares.gather(1, part.targets[:, None]).sum())
        gradient = gradient + (mean - target).sum(dim=0)
        flat = (p.sqrt()[:, :, None] * x).flatten(0, 1)
        hessian = hessian + flat.T @ flat - mean.T @ mean
    return loss, gradient, hessian


@torch.no_grad()
def _standardise(model: FusionModel, features: Tensor) -> None:
    """Store mean and deviation of features, (n, n_features).

    A feature that never varied in training gets scale 0 and never counts.
    """
    is_constant = features.amax(dim=0) == features.amin(dim=0)
    model.feature_mean.copy_(features.mean(dim=0))
    scale = 1.0 / features.std(dim=0, correction=0).clamp_min(1e-6)
    model.feature_scale.copy_(torch.where(is_constant, 0.0, scale))


@torch.no_grad()
def _calibrate(model: FusionModel, data: FusionData) -> None:
    """Fit scale and offset of the sigmoid by Newton's method.

    The loss is the binary cross-entropy over all pairs of user and candidate.
    """
    parts = []
    for batch in torch.split(torch.arange(len(data.targets)), BATCH):
        part = data.part(batch)
        logits = part.logits(model)
        is_next = torch.arange(part.rows.shape[1]) == part.targets[:, None]
        parts.append(torch.stack([_log_softmax(logits, part.valid)[part.valid], is_next[part.valid].float()]))
    shares, labels = torch.cat(parts, dim=1).double()
    if not bool((labels > 0).any()):
        return
    x = torch.stack([shares, torch.ones_like(shares)], dim=1)  # [pairs, 2]
    weights = torch.tensor([1.0, 0.0], dtype=torch.float64)
    # towards the plain softmax: few cases give no steep slope
    ridge = 1e-3 * torch.eye(2, dtype=torch.float64)
    for _ in range(CALIBRATION_STEPS):
        p = torch.sigmoid(x @ weights)
        gradient = x.T @ (p - labels) + ridge @ (weights - torch.tensor([1.0, 0.0], dtype=torch.float64))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + ridge
        weights -= torch.linalg.solve(hessian, gradient)
    # a falling sigmoid would reverse the order
    if bool(torch.isfinite(weights).all()) and float(weights[0]) > 0:
        model.calibration.copy_(weights.float())
