"""Reads and copies bytes of arrays in one instruction each, for compiled loops.

Nothing here checks a bound: the caller knows that the bytes are there. An index of NumPy may count
from the end, so each costs a comparison, and Numba copies slices byte by byte.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


def _address(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    return builder.gep(context.make_array(kind)(context, builder, array).data, [at])


@intrinsic
def byte_at(_typing: Any, data: Any, at: Any) -> Any:
    """Return the byte at ``at`` of an array of uint8, as int64."""

    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.load(_address(context, builder, signature.args[0], *args)), ir.IntType(64))

    return types.int64(data, types.int64), write


@intrinsic
def word_at(_typing: Any, data: Any, at: Any) -> Any:
    """Return the 8 bytes from ``at`` on, the most significant first, as int64."""

    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, signature.args[0], *args)
        word = builder.load(builder.bitcast(address, ir.IntType(64).as_pointer()), align=1)
        return builder.bswap(word)

    return types.int64(data, types.int64), write


@intrinsic
def copy(_typing: Any, out: Any, o: Any, data: Any, at: Any, size: Any) -> Any:
    """Copy ``size`` bytes of ``data`` from ``at`` on to ``out`` from ``o`` on."""

    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to = _address(context, builder, signature.args[0], args[0], args[1])
        cgutils.raw_memcpy(builder, to, _address(context, builder, signature.args[2], args[2], args[3]), args[4], 1)
        return context.get_dummy_value()

    return types.void(out, types.int64, data, types.int64, types.int64), write
