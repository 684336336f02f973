"""One probability per candidate from everything that is known about it: a small network that ends in a sigmoid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

#: The scalar features of a candidate, in order; ``models.recommend`` computes them, in training as in serving.
FEATURES: Final = (
    "retrieval_score",  # user vector . item vector
    "retrieval_rank",  # log of its rank by that score
    "mf_logit",  # user factors . item factors + bias
    "mf_rank",
    "next_score",  # weighted share of followers of the newest behaviours (next-item counts)
    "recent_popularity",  # log share, decayed
    "popularity",  # log share in training
    "similarity",  # greatest cosine to an item of the window
    "text_similarity",  # cosine of its text to the mean text of the window
    "is_new",  # 1 when training never saw the item
    "window_length",  # log of the number of behaviours
)


class FusionModel(nn.Module):
    """Scalar features, and small projections of user and item vectors, into one logit."""

    def __init__(self, dim: int, projected: int = 8, hidden: int = 32) -> None:
        super().__init__()
        self.feature_norm = nn.BatchNorm1d(len(FEATURES))
        self.user_projection = nn.Linear(dim, projected)
        self.item_projection = nn.Linear(dim, projected)
        self.body = nn.Sequential(
            nn.Linear(len(FEATURES) + 2 * projected, hidden), nn.GELU(), nn.Dropout(0.1), nn.Linear(hidden, 1)
        )
        self.shortcut = nn.Linear(len(FEATURES), 1)  # the linear part is learnt at once; the network corrects it

    def forward(self, features: Tensor, user: Tensor, item: Tensor) -> Tensor:
        """Return logits, (n,); their sigmoid is the probability.

        Parameters
        ----------
        features : (n, len(FEATURES)) float32
        user, item : (n, dim) float32
        """
        x = self.feature_norm(features)
        joined = torch.cat([x, self.user_projection(user), self.item_projection(item)], dim=1)
        return (self.body(joined) + self.shortcut(x)).squeeze(1)  # type: ignore[no-any-return]


def popularity_fusion(dim: int) -> FusionModel:
    """Return a network that ranks by recent popularity alone, for logs too small to fit one."""
    model = FusionModel(dim)
    with torch.no_grad():
        for parameter in (*model.body.parameters(), *model.shortcut.parameters()):
            parameter.zero_()
        model.shortcut.weight[0, FEATURES.index("recent_popularity")] = 1.0
    return model.eval()


def fit_fusion(
    features: Tensor,
    users: Tensor,
    items: Tensor,
    labels: Tensor,
    *,
    seed: int,
    epochs: int,
    on_epoch: Callable[[int], None] = lambda _epoch: None,
) -> FusionModel:
    """Fit the network by binary cross-entropy.

    The rows must come from a time after the training of what made the features, or it learns to trust memorised scores.

    Parameters
    ----------
    features : (n, len(FEATURES)) float32
    users, items : (n, dim) float32
    labels : (n,) float32, 1 where the candidate was the next item
    """
    torch.manual_seed(seed)
    model = FusionModel(users.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    loss_of = nn.BCEWithLogitsLoss()
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        model.train()
        for batch in torch.split(torch.randperm(len(labels), generator=generator), 4_096):
            if len(batch) < 2:  # batch normalisation needs two rows
                continue
            loss = loss_of(model(features[batch], users[batch], items[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        on_epoch(epoch)
    _silence(model, features.amax(dim=0) == features.amin(dim=0))
    return model.eval()


@torch.no_grad()
def _silence(model: FusionModel, constant: Tensor) -> None:
    """Take away the say of features that never varied in training, (len(FEATURES),) bool.

    Their variance is about 0 and their weights are untrained, so another value in serving would outweigh everything else.
    """
    for weight in (model.body.get_parameter("0.weight"), model.shortcut.weight):
        weight[:, : len(FEATURES)][:, constant] = 0.0
