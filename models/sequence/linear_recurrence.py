"""A linear recurrent encoder: a complex diagonal recurrence between two linear maps.

After Orvieto et al., Resurrecting Recurrent Neural Networks for Long Sequences, 2023, and Yue et
al., Linear Recurrent Units for Sequential Recommendation, 2023. ``forward`` computes a whole
sequence in parallel, for training. ``last`` computes the newest output alone, for serving.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

#: Magnitudes of the eigenvalues before training: memories of two to a hundred behaviours.
MIN_RADIUS, MAX_RADIUS = 0.4, 0.99
#: Least ``log_decay``: below about -17 the magnitude is 1 in float32, and states would grow without
#: end.
MIN_LOG_DECAY = -12.0


class LinearRecurrence(nn.Module):
    """``h[t] = a * h[t-1] + g * B x[t]``, ``y[t] = Re(C h[t]) + d``; ``a`` complex, ``|a| < 1``.

    Each channel has its own ``a``. Real and imaginary parts lie side by side, (..., 2 * dim): on a
    CPU that is faster than complex tensors.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        squares = torch.rand(dim) * (MAX_RADIUS**2 - MIN_RADIUS**2) + MIN_RADIUS**2
        # |a| = exp(-exp(log_decay)) is always below 1
        self.log_decay = nn.Parameter(torch.log(-0.5 * torch.log(squares)))
        self.log_phase = nn.Parameter(torch.log(torch.rand(dim) * math.pi + 1e-4))
        # inputs of unit variance give states of unit variance
        self.log_gain = nn.Parameter(0.5 * torch.log(1.0 - squares))
        self.read = nn.Linear(dim, 2 * dim)
        self.write = nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output after each step, (n, length, dim) from (n, length, dim).

        States are summed by doubling (Hillis and Steele, Data Parallel Algorithms, 1986): after
        round k each state holds the last ``2 ** k`` inputs, so ``log2(length)`` rounds are enough.
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

    def states(self, x: Tensor) -> Tensor:
        """Return the state after each step, (length, n, dim) complex64 from (n, length, dim).

        One step after the other: without gradients, that takes a tenth of the time of doubling on
        a CPU.
        """
        inputs = torch.complex(*self._input(x)).transpose(0, 1).contiguous()
        decay = torch.complex(*self._power(1))
        states = inputs.clone()
        for t in range(1, len(states)):
            torch.addcmul(inputs[t], states[t - 1], decay, out=states[t])
        return states

    def output(self, states: Tensor) -> Tensor:
        """Return the output of states, (..., dim) from (..., dim) complex64."""
        output: Tensor = self.write(torch.cat([states.real, states.imag], dim=-1))
        return output

    def decay(self) -> tuple[Tensor, Tensor]:
        """Return real and imaginary part of ``a``, (dim,) each."""
        return self._power(1)

    def _input(self, x: Tensor) -> tuple[Tensor, Tensor]:
        real, imaginary = (self.read(x) * self.log_gain.exp().repeat(2)).chunk(2, dim=-1)
        return real, imaginary

    def _power(self, exponent: int) -> tuple[Tensor, Tensor]:
        """Return real and imaginary part of ``a ** exponent``, (dim,)."""
        magnitude = torch.exp(-exponent * self.log_decay.clamp_min(MIN_LOG_DECAY).exp())
        phase = exponent * self.log_phase.exp()
        return magnitude * torch.cos(phase), magnitude * torch.sin(phase)


class RecurrentBlock(nn.Module):
    """The recurrence, then a feed-forward network, each on normalised input and residual."""

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

    def each(self, x: Tensor) -> Tensor:
        """Return what :meth:`forward` returns, faster, without gradients."""
        states = self.recurrence.states(self.recurrence_norm(x))
        return self._mix(x, self.recurrence.output(states.transpose(0, 1)))

    def last(self, x: Tensor, ends: Tensor) -> Tensor:
        """Return what :meth:`forward` returns at one step of each sequence, (n, dim).

        Parameters
        ----------
        ends : (n,) int64, the step of each sequence
        """
        places = torch.arange(len(x), device=x.device)
        states = self.recurrence.states(self.recurrence_norm(x))
        return self._mix(x[places, ends], self.recurrence.output(states[ends, places]))

    def _mix(self, x: Tensor, output: Tensor) -> Tensor:
        x = x + self.dropout(output)
        mixed: Tensor = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return mixed


class LinearRecurrentEncoder(nn.Module):
    """A stack of recurrent blocks."""

    def __init__(self, dim: int, n_layers: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([RecurrentBlock(dim, dropout) for _ in range(n_layers)])

    def forward(self, x: Tensor) -> Tensor:
        """Return the output after each behaviour, (n, length, dim) from (n, length, dim).

        An output depends only on its own behaviour and on earlier ones.
        """
        for block in self.blocks:
            x = block(x)
        return x

    def last(self, x: Tensor, ends: Tensor) -> Tensor:
        """Return the output at one step of each sequence, (n, dim), without gradients.

        Parameters
        ----------
        x : (n, length, dim)
        ends : (n,) int64, the step of each sequence
        """
        *blocks, last = self.blocks
        for block in blocks:
            assert isinstance(block, RecurrentBlock)
            x = block.each(x)
        assert isinstance(last, RecurrentBlock)
        return last.last(x, ends)
