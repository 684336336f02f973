"""The linear recurrence: parallel, looped and stepwise forms agree and stay bounded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from models.sequence.linear_recurrence import LinearRecurrence, LinearRecurrentEncoder

pytestmark = pytest.mark.model

DIM = 6


def recurrence(seed: int = 0) -> LinearRecurrence:
    """Return a recurrence with weights large enough that every input matters."""
    torch.manual_seed(seed)
    made = LinearRecurrence(DIM)
    for layer in (made.read, made.write):
        torch.nn.init.normal_(layer.weight, std=0.5)
        torch.nn.init.normal_(layer.bias, std=0.5)
    return made


def encoder(n_layers: int = 2) -> LinearRecurrentEncoder:
    """Return an encoder in evaluation mode, its dropout off."""
    torch.manual_seed(1)
    return LinearRecurrentEncoder(DIM, n_layers, dropout=0.5).eval()


def sequences(length: int, n: int = 3) -> Tensor:
    """Return random inputs, (n, length, DIM)."""
    return torch.randn(n, length, DIM, generator=torch.Generator().manual_seed(length))


def in_a_loop(model: LinearRecurrence, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the outputs of one step after the other, and the last state, from the formula.

    Parameters
    ----------
    state : (n, DIM) complex, before the first input; zeros unless given
    """
    decay = torch.complex(*model.decay())
    state = torch.zeros(len(x), DIM, dtype=torch.complex64) if state is None else state
    outputs = []
    for t in range(x.shape[1]):
        real, imaginary = (model.read(x[:, t]) * model.log_gain.exp().repeat(2)).chunk(2, dim=-1)
        state = decay * state + torch.complex(real, imaginary)
        outputs.append(model.write(torch.cat([state.real, state.imag], dim=-1)))
    return torch.stack(outputs, dim=1), state


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 33])
def test_the_parallel_form_is_the_formula(length: int) -> None:
    """``h[t] = a h[t-1] + g B x[t]``, ``y[t] = Re(C h[t]) + d``, in complex numbers."""
    model, x = recurrence(), sequences(length)
    weights = {name: value.detach().double().numpy() for name, value in model.named_parameters()}
    a = np.exp(-np.exp(weights["log_decay"]) + 1j * np.exp(weights["log_phase"]))
    b = weights["read.weight"][:DIM] + 1j * weights["read.weight"][DIM:]
    b_bias = weights["read.bias"][:DIM] + 1j * weights["read.bias"][DIM:]
    c = weights["write.weight"][:, :DIM] - 1j * weights["write.weight"][:, DIM:]
    h = np.zeros((len(x), DIM), dtype=np.complex128)
    expected = []
    for t in range(length):
        h = a * h + np.exp(weights["log_gain"]) * (x[:, t].double().numpy() @ b.T + b_bias)
        expected.append((h @ c.T).real + weights["write.bias"])
    with torch.inference_mode():
        np.testing.assert_allclose(model(x).numpy(), np.stack(expected, axis=1), atol=1e-5, rtol=0)


def test_the_gradients_are_those_of_the_loop() -> None:
    """The parallel form has the gradients of the loop."""
    model, x = recurrence(), sequences(9)
    weight = torch.linspace(-0.5, 1.0, 9)[:, None]
    parallel = torch.autograd.grad((model(x) * weight).sum(), list(model.parameters()))
    looped = torch.autograd.grad((in_a_loop(model, x)[0] * weight).sum(), list(model.parameters()))
    for (name, _), one, other in zip(model.named_parameters(), parallel, looped, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4, msg=f"gradient of {name}")
        assert other.abs().max() > 1e-3, name


def test_outputs_look_back_only() -> None:
    """A behaviour changes its own and later outputs, never earlier ones."""
    model, x = encoder(), sequences(8)
    changed = x.clone()
    changed[:, 4] *= -1.0
    with torch.inference_mode():
        difference = (model(changed) - model(x)).abs().amax(dim=(0, 2))
    assert difference[:4].max() == 0.0
    assert difference[4:].min() > 1e-4


@pytest.mark.parametrize("log_phase", [-9.0, 0.0, 1.1])
@pytest.mark.parametrize("log_decay", [-12.0, -6.0, -1.0, 0.0, 3.0, 20.0])
def test_a_state_shrinks_whatever_the_parameters(log_decay: float, log_phase: float) -> None:
    """Without input each channel's state gets smaller: every eigenvalue is below 1 in magnitude."""
    model = recurrence()
    with torch.no_grad():
        model.log_decay.fill_(log_decay)
        model.log_phase.fill_(log_phase)
        model.read.bias.zero_()
        _, state = in_a_loop(model, torch.zeros(1, 1, DIM), torch.full((1, DIM), 1 + 1j))
    assert (state.abs() < 2**0.5).all()


@pytest.mark.parametrize("log_decay", [-8.0, None])
def test_a_long_constant_input_stays_bounded(log_decay: float | None) -> None:
    """The sum of a geometric series bounds the state, even with eigenvalues near 1."""
    model = recurrence()
    with torch.no_grad():
        if log_decay is not None:
            model.log_decay.fill_(log_decay)
        x = torch.ones(1, 4_000, DIM)
        outputs = model(x)
        magnitude = torch.exp(-model.log_decay.exp())
        entering = (model.read(x[0, 0]).abs() * model.log_gain.exp().repeat(2)).view(2, DIM).sum(dim=0)
        bound = (entering / (1.0 - magnitude)).repeat(2) @ model.write.weight.abs().T + model.write.bias.abs()
    assert outputs.isfinite().all()
    assert (outputs[0].abs() <= bound).all()


def test_new_parameters_give_memories_of_a_few_to_a_hundred() -> None:
    """Before training the magnitudes lie between the two radii."""
    torch.manual_seed(0)
    with torch.no_grad():
        magnitudes = torch.exp(-LinearRecurrence(500).log_decay.exp())
    assert 0.39 < magnitudes.min() < 0.5
    assert 0.95 < magnitudes.max() < 0.991


@pytest.mark.parametrize("length", [1, 2, 3, 33])
@pytest.mark.parametrize("n_layers", [1, 3])
def test_the_newest_output_alone_is_that_of_the_parallel_form(n_layers: int, length: int) -> None:
    """Padding behind a sequence's end changes nothing."""
    model, x = encoder(n_layers), sequences(length, n=4)
    ends = torch.tensor([length - 1, 0, length // 2, length - 1])
    with torch.inference_mode():
        expected = model(x)[torch.arange(4), ends]
        np.testing.assert_allclose(model.last(x, ends).numpy(), expected.numpy(), atol=1e-5, rtol=0)
        x[1, 1:], x[2, length // 2 + 1 :] = 1e3, -1e3
        np.testing.assert_allclose(model.last(x, ends).numpy(), expected.numpy(), atol=1e-5, rtol=0)
