"""Loops compiled by Numba, and kept on the disk, so that no request waits for a compiler.

A compiled loop holds no interpreter lock. Numba keeps it beside its module, or in the user's cache
folder where that cannot be written; it compiles again for another processor, and after a change of
the module. It does not see that a loop of another module changed, which is compiled into this one:
:func:`compiled` does.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import numba
import numpy as np

Loop = TypeVar("Loop", bound=Callable[..., Any])

#: When each module with loops last changed, or a module whose loops it calls.
_CHANGED: Final[dict[Path, float]] = {}
#: What the compiler may do with floats: reorder sums, fuse, divide by a reciprocal. NaN and
#: infinity keep their meaning.
_FLOATS: Final = {"reassoc", "contract", "arcp", "nsz"}


def compiled(loop: Loop) -> Loop:
    """Compile a function over arrays at its first call, or load it from the disk."""
    _forget_older(loop)
    done: Loop = numba.njit(cache=True, nogil=True, fastmath=_FLOATS, error_model="numpy")(loop)
    return done


def _forget_older(loop: Callable[..., Any]) -> None:
    """Remove what is kept of a loop if a module of loops that it calls is newer."""
    path = Path(loop.__code__.co_filename)
    called = [each.__module__ for each in loop.__globals__.values() if type(each).__module__.startswith("numba.")]
    files = {Path(str(sys.modules[name].__file__)) for name in called if name in sys.modules} | {path}
    with contextlib.suppress(OSError):  # where nothing can be removed, nothing was written either
        newest = _CHANGED[path] = max(_CHANGED.get(file, file.stat().st_mtime) for file in files)
        for kept in (path.parent / "__pycache__").glob(f"{path.stem}.{loop.__qualname__}-*.nbi"):
            if kept.stat().st_mtime < newest:
                kept.unlink()


@compiled
def row_products(x: Any, matrix: Any) -> Any:
    """Return the product of each row with a matrix, (n, m) float32.

    Each row is computed by itself, so that it has the same bits whatever the other rows are. A
    product of all rows at once rounds a row in another way for another number of rows.

    Parameters
    ----------
    x : (n, d) float32
    matrix : (d, m) float32
    """
    y = np.zeros((len(x), matrix.shape[1]), np.float32)
    for i in range(len(x)):
        for k in range(len(matrix)):
            for j in range(matrix.shape[1]):
                y[i, j] += x[i, k] * matrix[k, j]
    return y


@compiled
def gelu(x: Any) -> None:
    """Replace x, (n,) float32, by ``x * (1 + erf(x / sqrt(2))) / 2``.

    The error function is ``z * p(z^2) / q(z^2)``, with ``p`` and ``q`` of degree 5 fitted to it on
    0 to 4, beyond which it is 1 in float32. Its error stays below 5e-7.
    """
    one = np.float32(1.0)
    for i in range(len(x)):
        z = min(max(x[i] * np.float32(0.70710678), np.float32(-4.0)), np.float32(4.0))
        t = z * z
        p = np.float32(1.9748554223e-06) * t + np.float32(2.8803496388e-04)
        p = ((p * t + np.float32(4.0034139529e-03)) * t + np.float32(5.3466770798e-02)) * t
        p = (p + np.float32(1.9624371827e-01)) * t + np.float32(1.1283789873)
        q = np.float32(3.7480785977e-05) * t + np.float32(1.2163009960e-03)
        q = ((q * t + np.float32(1.5443962999e-02)) * t + np.float32(1.1647424102e-01)) * t
        q = (q + np.float32(5.0724762678e-01)) * t + one
        x[i] = np.float32(0.5) * x[i] * (one + z * p / q)
