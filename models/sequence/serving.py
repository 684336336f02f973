"""The linear recurrence without gradients, compiled: user vectors of windows on a processor.

It computes what ``models.sequence.model.SequenceModel`` does with whole windows, and nothing of
their padding. The last layer's output is needed at the newest behaviour only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from models.base.compiled import compiled, gelu
from models.base.types import Float32
from models.sequence.linear_recurrence import LinearRecurrentEncoder
from models.sequence.model import SequenceModel
from models.sequence.packing import PackedWindows

#: As PyTorch's LayerNorm has it.
EPSILON: Final = np.float32(1e-5)


@dataclass(frozen=True)
class _Layers:
    """The weights of all blocks, the first axis for the block.

    Parameters
    ----------
    norms : (blocks, 4, dim) float32, weight and bias of the norm before the recurrence, then before
        the feed-forward network
    read : (blocks, dim, 2 * dim), with the gain in it; real parts first
    read_bias : (blocks, 2 * dim)
    decay : (blocks, 2, dim), real and imaginary
    write, write_bias, widen, widen_bias, narrow, narrow_bias : of the linear maps, (in, out)
    """

    norms: Float32
    read: Float32
    read_bias: Float32
    decay: Float32
    write: Float32
    write_bias: Float32
    widen: Float32
    widen_bias: Float32
    narrow: Float32
    narrow_bias: Float32


class ServedSequence:
    """User vectors from a sequence model on a processor. For one thread at a time."""

    def __init__(self, model: SequenceModel) -> None:
        self._model = model
        self._is_on_cpu = model.item_bias.device.type == "cpu"
        self._is_compiled = isinstance(model.encoder, LinearRecurrentEncoder) and self._is_on_cpu
        if self._is_compiled:
            with torch.inference_mode():
                self._layers = _layers(model)
                self._embeddings = (
                    _array(model.type_embedding.weight),
                    _array(model.gap_embedding.weight),
                    _norm(model.input_norm),
                    _norm(model.norm),
                )

    def user_vectors(self, packed: PackedWindows, items: Float32) -> Float32:
        """Return a vector and a last entry of 1 per window, (n, dim + 1) float32; zeros for none.

        On a processor a window's vector has the same bits whatever the other windows are.

        Parameters
        ----------
        items : (n_rows, at least dim) float32, the vectors that the windows' rows refer to
        """
        dim = self._model.config.dim
        vectors = np.zeros((len(packed.lengths), dim + 1), dtype=np.float32)
        vectors[:, -1] = 1.0
        if not self._is_compiled:
            if self._is_on_cpu:
                for i in range(len(vectors)):
                    vectors[i, :-1] = self._model.user_vectors(packed.one(i), items[:, :dim])[0]
            else:
                vectors[:, :-1] = self._model.user_vectors(packed, items[:, :dim])
            return vectors
        layers = self._layers
        _encode(
            items, packed.rows, packed.types, packed.gaps, packed.lengths, *self._embeddings,
            layers.norms, layers.read, layers.read_bias, layers.decay, layers.write, layers.write_bias,
            layers.widen, layers.widen_bias, layers.narrow, layers.narrow_bias, vectors,
        )  # fmt: skip
        return vectors


def _layers(model: SequenceModel) -> _Layers:
    blocks: Any = model.encoder.blocks
    gains = [block.recurrence.log_gain.exp().repeat(2) for block in blocks]
    powers = [torch.stack(block.recurrence.decay()) for block in blocks]
    first = [block.recurrence for block in blocks]
    wide = [block.feed_forward[0] for block in blocks]
    narrow = [block.feed_forward[3] for block in blocks]
    return _Layers(
        norms=np.stack([np.concatenate([_norm(b.recurrence_norm), _norm(b.feed_forward_norm)]) for b in blocks]),
        read=_stacked([(r.read.weight * g[:, None]).T for r, g in zip(first, gains, strict=True)]),
        read_bias=_stacked([r.read.bias * g for r, g in zip(first, gains, strict=True)]),
        decay=_stacked(powers),
        write=_stacked([r.write.weight.T for r in first]),
        write_bias=_stacked([r.write.bias for r in first]),
        widen=_stacked([linear.weight.T for linear in wide]),
        widen_bias=_stacked([linear.bias for linear in wide]),
        narrow=_stacked([linear.weight.T for linear in narrow]),
        narrow_bias=_stacked([linear.bias for linear in narrow]),
    )


def _array(tensor: Any) -> Float32:
    array: Float32 = np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=np.float32)
    return array


def _stacked(tensors: list[Any]) -> Float32:
    return np.stack([_array(tensor) for tensor in tensors])


def _norm(norm: Any) -> Float32:
    """Return weight and bias, (2, dim)."""
    return _stacked([norm.weight, norm.bias])


@compiled
def _normalise(x: Any, norm: Any, out: Any) -> None:
    """Write the layer norm of x, (dim,), to out."""
    dim = len(x)
    mean = np.float32(0.0)
    for j in range(dim):
        mean += x[j]
    mean /= np.float32(dim)
    variance = np.float32(0.0)
    for j in range(dim):
        variance += (x[j] - mean) * (x[j] - mean)
    scale = np.float32(1.0) / np.sqrt(variance / np.float32(dim) + EPSILON)
    for j in range(dim):
        out[j] = (x[j] - mean) * scale * norm[0, j] + norm[1, j]


@compiled
def _recur(u: Any, bias: Any, decay: Any) -> None:
    """Replace the inputs of one window, (length, 2 * dim), by the states after each of them."""
    dim = decay.shape[1]
    for j in range(dim):
        u[0, j] += bias[j]
        u[0, dim + j] += bias[dim + j]
    for t in range(1, len(u)):
        for j in range(dim):
            real, imaginary = u[t - 1, j], u[t - 1, dim + j]
            u[t, j] += bias[j] + decay[0, j] * real - decay[1, j] * imaginary
            u[t, dim + j] += bias[dim + j] + decay[0, j] * imaginary + decay[1, j] * real


@compiled
def _mix(
    x: Any, z: Any, h: Any, o: Any, norm: Any, bias: Any, widen: Any, widen_bias: Any, narrow: Any, nb: Any
) -> None:
    """Add to x, (m, dim), the recurrence's output o and its bias, then the feed-forward network's.

    Parameters
    ----------
    z, o : (m, dim), h : (m, 4 * dim); overwritten
    """
    m, dim = x.shape
    for i in range(m):
        for j in range(dim):
            x[i, j] += o[i, j] + bias[j]
        _normalise(x[i], norm, z[i])
    np.dot(z, widen, h)
    for i in range(m):
        for j in range(4 * dim):
            h[i, j] += widen_bias[j]
        gelu(h[i])
    np.dot(h, narrow, o)
    for i in range(m):
        for j in range(dim):
            x[i, j] += o[i, j] + nb[j]


@compiled
def _encode(
    items: Any, rows: Any, types: Any, gaps: Any, lengths: Any,
    type_vectors: Any, gap_vectors: Any, input_norm: Any, output_norm: Any,
    norms: Any, read: Any, read_bias: Any, decay: Any, write: Any, write_bias: Any,
    widen: Any, widen_bias: Any, narrow: Any, narrow_bias: Any, vectors: Any,
) -> None:  # fmt: skip
    """Write the user vectors of windows.

    Each window has products of its own: a product of several windows would round a row in another
    way for another number of rows.
    """
    dim, n_blocks, most = type_vectors.shape[1], len(read), rows.shape[1]
    x_buffer, z_buffer = np.empty(most * dim, np.float32), np.empty(most * dim, np.float32)
    u_buffer, o_buffer = np.empty(most * 2 * dim, np.float32), np.empty(most * dim, np.float32)
    h_buffer = np.empty(most * 4 * dim, np.float32)
    for i in range(len(lengths)):
        m = lengths[i]
        if m == 0:
            continue
        x, z = x_buffer[: m * dim].reshape(m, dim), z_buffer[: m * dim].reshape(m, dim)
        u, o = u_buffer[: m * 2 * dim].reshape(m, 2 * dim), o_buffer[: m * dim].reshape(m, dim)
        h = h_buffer[: m * 4 * dim].reshape(m, 4 * dim)
        for t in range(m):
            row, kind, gap = rows[i, t], types[i, t], gaps[i, t]
            for j in range(dim):
                z[t, j] = items[row, j] + type_vectors[kind, j] + gap_vectors[gap, j]
            _normalise(z[t], input_norm, x[t])
        for b in range(n_blocks):
            for t in range(m):
                _normalise(x[t], norms[b, :2], z[t])
            np.dot(z, read[b], u)
            _recur(u, read_bias[b], decay[b])
            if b == n_blocks - 1:  # from here on only the newest behaviour counts
                x, u, z, h, o = x[m - 1 :], u[m - 1 :], z[:1], h[:1], o[:1]
            np.dot(u, write[b], o)
            _mix(x, z, h, o, norms[b, 2:], write_bias[b], widen[b], widen_bias[b], narrow[b], narrow_bias[b])
        _normalise(x[0], output_norm, vectors[i, :dim])
