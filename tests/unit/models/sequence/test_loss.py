"""The losses: the blocked softmax equals the plain one, the sampled one estimates it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from models.sequence import loss as softmax_loss
from models.sequence.loss import full_softmax, sampled_softmax

pytestmark = pytest.mark.model

DIM = 4


def inputs(n: int, n_items: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return states, table and bias with gradients, and targets; float64 shows small errors."""
    generator = torch.Generator().manual_seed(n)
    states, table = (torch.randn(rows, DIM, generator=generator, dtype=dtype) for rows in (n, n_items))
    bias = torch.randn(n_items, generator=generator, dtype=dtype)
    targets = torch.randint(n_items, (n,), generator=generator)
    return states.requires_grad_(), table.requires_grad_(), bias.requires_grad_(), targets


def negatives(seed: int) -> torch.Generator:
    """Return a generator of negatives."""
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("block", [4, 256])
@pytest.mark.parametrize("n", [1, 3, 4, 8, 13])
def test_full_softmax_equals_cross_entropy(monkeypatch: pytest.MonkeyPatch, n: int, block: int) -> None:
    """Value and gradients equal PyTorch's, with full and partial blocks."""
    monkeypatch.setattr(softmax_loss, "BLOCK", block)
    states, table, bias, targets = inputs(n, 7)
    loss = full_softmax(states, table, bias, targets)
    expected = cross_entropy(states @ table.T + bias, targets)
    torch.testing.assert_close(loss, expected, atol=1e-12, rtol=0)
    # A factor: the loss may be one term of a larger one.
    gradients = torch.autograd.grad(3.0 * loss, (states, table, bias))
    wanted = torch.autograd.grad(3.0 * expected, (states, table, bias))
    for name, gradient, correct in zip(("states", "table", "bias"), gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, correct, atol=1e-12, rtol=0, msg=f"gradient of {name}")


def test_full_softmax_takes_states_that_are_not_contiguous() -> None:
    """A view of other memory layout gives the same."""
    states, table, bias, targets = inputs(5, 7)
    turned = states.detach().T.contiguous().T.requires_grad_()
    assert not turned.is_contiguous()
    full_softmax(turned, table, bias, targets).backward()  # type: ignore[no-untyped-call]
    full_softmax(states, table, bias, targets).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(turned.grad, states.grad)


def test_full_softmax_leaves_its_inputs_as_they_are() -> None:
    """The loss writes only into its own buffer."""
    given = inputs(5, 7)
    before = [tensor.detach().clone() for tensor in given]
    full_softmax(*given).backward()  # type: ignore[no-untyped-call]
    for tensor, kept in zip(given, before, strict=True):
        torch.testing.assert_close(tensor.detach(), kept, atol=0, rtol=0)


def test_full_softmax_of_huge_logits_is_finite() -> None:
    """Logits whose exponential overflows give PyTorch's finite loss and gradients."""
    states, table, bias, targets = inputs(5, 7, torch.float32)
    loss = full_softmax(1e4 * states, table, bias, targets)
    torch.testing.assert_close(loss, cross_entropy(1e4 * states @ table.T + bias, targets))
    loss.backward()  # type: ignore[no-untyped-call]
    for tensor in (states, table, bias):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


def test_sampled_softmax_of_all_items_is_near_the_full_one() -> None:
    """With negatives enough to draw each item, losses and gradients agree."""
    states, table, bias, targets = inputs(6, 30)
    loss = sampled_softmax(states, table, bias, targets, 50_000, negatives(0))
    expected = full_softmax(states, table, bias, targets)
    assert abs(float((loss - expected).detach())) < 0.02
    gradients = torch.autograd.grad(loss, (states, table, bias))
    for gradient, correct in zip(gradients, torch.autograd.grad(expected, (states, table, bias)), strict=True):
        torch.testing.assert_close(gradient, correct, atol=0.02, rtol=0)


@pytest.mark.parametrize("n_negatives", [1, 10, 1_000])
def test_a_target_is_never_its_own_negative(n_negatives: int) -> None:
    """Where every item is a target nothing is drawn, and the loss is the full one."""
    states, table, bias, _ = inputs(7, 7)
    targets = torch.arange(7)
    loss = sampled_softmax(states, table, bias, targets, n_negatives, negatives(1))
    torch.testing.assert_close(loss, full_softmax(states, table, bias, targets))


def test_a_drawn_target_is_left_out() -> None:
    """A drawn target is dropped: of two items only the other one is a negative."""
    states, table, bias, _ = (tensor.detach() for tensor in inputs(4, 2))
    targets = torch.zeros(4, dtype=torch.int64)
    loss = sampled_softmax(states, table, bias, targets, 100, negatives(0))
    torch.testing.assert_close(loss, full_softmax(states, table, bias, targets), atol=1e-6, rtol=0)


def test_a_single_item_has_no_loss() -> None:
    """A single item, drawn a hundred times, is no negative of itself."""
    states, table, bias, targets = inputs(3, 1)
    assert float(sampled_softmax(states, table, bias, targets, 100, negatives(0)).detach()) == 0.0


@pytest.mark.parametrize("n_negatives", [100, 300])
def test_sampled_softmax_is_about_unbiased(n_negatives: int) -> None:
    """Over many seeds the mean is the full loss, slightly lower by Jensen's inequality."""
    states, table, bias, targets = (tensor.detach() for tensor in inputs(8, 300))
    states = 0.3 * states
    expected = float(full_softmax(states, table, bias, targets))
    found = [float(sampled_softmax(states, table, bias, targets, n_negatives, negatives(s))) for s in range(200)]
    assert sum(found) / len(found) == pytest.approx(expected, abs=0.03)
    assert min(found) < expected < max(found)


def test_sampled_softmax_is_set_by_its_generator() -> None:
    """The given generator fixes the loss, independently of PyTorch's own."""
    states, table, bias, targets = (tensor.detach() for tensor in inputs(6, 300))
    found = []
    for seed in (3, 3, 4):
        found.append(float(sampled_softmax(states, table, bias, targets, 20, negatives(seed))))
        torch.rand(5)
    assert found[0] == found[1] != found[2]
