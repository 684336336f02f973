"""A linear recurrent encoder: a complex diagonal recurrence between two linear maps, trained in parallel, served step by step.

After Orvieto et al., Resurrecting Recurrent Neural Networks for Long Sequences, 2023, and Yue et al., Linear Recurrent Units for
Sequential Recommendation, 2023. The state after a behaviour is all that is kept of what came before, so one more behaviour costs
the same whatever the length of the sequence.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

#: Magnitudes of the eigenvalues at the beginning: memories of two to a hundred behaviours.
MIN_RADIUS, MAX_RADIUS = 0.4, 0.99
#: Of ``log_decay``: below about -17 the magnitude is 1 in float32, and states would grow without end.
MIN_LOG_DECAY = -12.0


class LinearRecurrence(nn.Module):
    """``h[t] = a * h[t-1] + g * B x[t]``, ``y[t] = Re(C h[t]) + d``, with ``a`` complex, ``|a| < 1``, one per channel.

    Real and imaginary parts are kept side by side, (…, 2 * dim): on a CPU that is faster than complex tensors.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        squares = torch.rand(dim) * (MAX_RADIUS**2 - MIN_RADIUS**2) + MIN_RADIUS**2
        self.log_decay = nn.Parameter(
            torch.log(-0.5 * torch.log(squares))
        )  # |a| = exp(-exp(log_decay)) is below 1 always
        self.log_phase = nn.Parameter(torch.log(torch.rand(dim) * math.pi + 1e-4))
        self.log_gain = nn.Parameter(
            0.5 * torch.log(1.0 - squares)
        )  # inputs of unit variance give states of unit variance
        self.read = nn.Linear(dim, 2 * dim)
        self.write = nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output after each step, (n, length, dim) from (n, length, dim).

        States are summed by doubling (Hillis and Steele, Data Parallel Algorithms, 1986): after the k-th round each holds the
        last ``2 ** k`` inputs, so ``log2(length)`` rounds are enough.
        """
        real, imaginary = self._input(x)
        reach = 1
        while reach < x.shape[1]:
            a_real, a_imaginary = self._power(reach)
            before_real = nn.functional.pad(real[:, :-reach], (0, 0, reach, 0))
            before_imaginary = nn.functional.pad(imaginary[:, :-reach], (0, 0, reach, 0))
            real, imaginary = (
                real + a_real * before_real - a_imaginary * before_imaginary,
                imaginary + a_real * before_imaginary + a_imaginary * before_real,
            )
            reach *= 2
        output: Tensor = self.write(torch.cat([real, imaginary], dim=-1))
        return output

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output (n, dim) and the new state (n, 2 * dim) after one more input ``x`` (n, dim)."""
        real, imaginary = self._input(x)
        before_real, before_imaginary = state.chunk(2, dim=-1)
        a_real, a_imaginary = self._power(1)
        real = real + a_real * before_real - a_imaginary * before_imaginary
        imaginary = imaginary + a_real * before_imaginary + a_imaginary * before_real
        new = torch.cat([real, imaginary], dim=-1)
        output: Tensor = self.write(new)
        return output, new

    def _input(self, x: Tensor) -> tuple[Tensor, Tensor]:
        real, imaginary = (self.read(x) * self.log_gain.exp().repeat(2)).chunk(2, dim=-1)
        return real, imaginary

    def _power(self, exponent: int) -> tuple[Tensor, Tensor]:
        """Return real and imaginary part of ``a ** exponent``, (dim,)."""
        magnitude = torch.exp(-exponent * self.log_decay.clamp_min(MIN_LOG_DECAY).exp())
        phase = exponent * self.log_phase.exp()
        return magnitude * torch.cos(phase), magnitude * torch.sin(phase)


class RecurrentBlock(nn.Module):
    """The recurrence, then a feed-forward network, each with a residual connection and normalised input."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.recurrence = LinearRecurrence(dim)
        self.recurrence_norm = nn.LayerNorm(dim)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * dim, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, length, dim) from (n, length, dim)."""
        return self._mix(x, self.recurrence(self.recurrence_norm(x)))

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return output (n, dim) and new state (n, 2 * dim) after one more input (n, dim)."""
        output, state = self.recurrence.step(self.recurrence_norm(x), state)
        return self._mix(x, output), state

    def _mix(self, x: Tensor, output: Tensor) -> Tensor:
        x = x + self.dropout(output)
        mixed: Tensor = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return mixed


class LinearRecurrentEncoder(nn.Module):
    """A stack of recurrent blocks."""

    def __init__(self, dim: int, n_layers: int, dropout: float) -> None:
        super().__init__()
        self.dim = dim
        self.blocks = nn.ModuleList([RecurrentBlock(dim, dropout) for _ in range(n_layers)])

    def forward(self, x: Tensor) -> Tensor:
        """Return the output after each behaviour, (n, length, dim) from (n, length, dim); each looks back only."""
        for block in self.blocks:
            x = block(x)
        return x

    def initial_state(self, n: int) -> list[Tensor]:
        """Return the state of ``n`` sequences before their first behaviour: one (n, 2 * dim) per block."""
        device = next(self.parameters()).device
        return [torch.zeros(n, 2 * self.dim, device=device) for _ in self.blocks]

    def step(self, x: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return the output (n, dim) and the new states after one more behaviour ``x`` (n, dim); O(1) in what came before."""
        new = []
        for block, state in zip(self.blocks, states, strict=True):
            assert isinstance(block, RecurrentBlock)
            x, state = block.step(x, state)
            new.append(state)
        return x, new
