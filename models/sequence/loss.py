"""Next-item losses: softmax over the whole catalogue, or over a sample of it.

The loss matters more than the architecture (Klenitskiy and Vasilev, Turning Dross Into Gold Loss,
2023), and over the whole catalogue it takes most of the time. A plain implementation allocates
positions times items several times. Here a block of positions goes forward and backward at once
through one buffer that fits into the processor's cache, which is four to six times faster on a CPU.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

#: Positions of one block: with some ten thousand items its logits take about ten megabytes.
BLOCK: Final = 256


class _FullSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, table: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        n = len(states)
        states = states.contiguous()
        d_states, d_table, d_bias = torch.empty_like(states), torch.zeros_like(table), torch.zeros_like(bias)
        buffer = states.new_empty(min(BLOCK, n), len(table))
        total = states.new_zeros(())
        for start in range(0, n, BLOCK):
            x, target = states[start : start + BLOCK], targets[start : start + BLOCK]
            own = torch.arange(len(x), device=x.device)
            logits = torch.addmm(bias, x, table.T, out=buffer[: len(x)])
            of_target = logits[own, target].clone()
            greatest = logits.amax(dim=1, keepdim=True)
            sums = logits.sub_(greatest).exp_().sum(dim=1, keepdim=True)
            total += (sums.log() + greatest).sum() - of_target.sum()
            errors = logits.div_(sums * n)  # the gradient: (softmax - one hot) / n
            errors[own, target] -= 1.0 / n
            torch.mm(errors, table, out=d_states[start : start + BLOCK])
            d_table.addmm_(errors.T, x)
            d_bias += errors.sum(dim=0)
        ctx.save_for_backward(d_states, d_table, d_bias)
        return total / n

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (grad,) = grad_outputs
        d_states, d_table, d_bias = ctx.saved_tensors
        return d_states * grad, d_table * grad, d_bias * grad, None


def full_softmax(states: Tensor, table: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of the next item over all items, a scalar.

    Parameters
    ----------
    states : (n, dim) float32, n at least 1
    table : (n_items, dim) float32
    bias : (n_items,) float32
    targets : (n,) int64, rows of ``table``
    """
    loss: Tensor = _FullSoftmax.apply(states, table, bias, targets)  # type: ignore[no-untyped-call]
    return loss


def sampled_softmax(
    states: Tensor, table: Tensor, bias: Tensor, targets: Tensor, n_negatives: int, generator: torch.Generator
) -> Tensor:
    """Return the mean cross-entropy over the batch's targets and uniform negatives, a scalar.

    For catalogues too large for :func:`full_softmax`; parameters as there. Sampled items have their
    logits raised by the logarithm of one over their sampling rate, so that the loss estimates the
    full softmax (Bengio and Senecal, Adaptive Importance Sampling to Accelerate Training of a
    Neural Probabilistic Language Model, 2008). A sampled item that is a target is dropped.
    """
    n_items = len(table)
    own, place = torch.unique(targets, return_inverse=True)
    sampled = torch.randint(n_items, (n_negatives,), generator=generator).to(targets.device)
    sampled = sampled[~torch.isin(sampled, own)]
    rows = torch.cat([own, sampled])
    logits = states @ nn.functional.embedding(rows, table).T + bias[rows]
    correction = torch.zeros(len(rows), device=states.device)
    if len(sampled):
        correction[len(own) :] = torch.log(torch.tensor((n_items - len(own)) / len(sampled)))
    return nn.functional.cross_entropy(logits + correction, place)
