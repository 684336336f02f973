"""The tensors of a safetensors file, read from its header before any array of their size exists."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import BinaryIO, Final

import msgspec

from models.files.plain_files import FileError

#: Most bytes of names, types and shapes: an artifact has fewer than 100 tensors, a large text model
#: some hundreds.
MAX_HEADER_BYTES: Final = 1 << 20
#: Types of an artifact's tensors: safetensors' name to PyTorch's name and bytes per number.
ARTIFACT_DTYPES: Final = {"F32": ("torch.float32", 4), "I32": ("torch.int32", 4), "I64": ("torch.int64", 8)}
#: The same for a text model; quantised models are not read.
ENCODER_DTYPES: Final = ARTIFACT_DTYPES | {
    "F64": ("torch.float64", 8),
    "F16": ("torch.float16", 2),
    "BF16": ("torch.bfloat16", 2),
    "U8": ("torch.uint8", 1),
    "BOOL": ("torch.bool", 1),
}


class TensorSpec(msgspec.Struct):
    """Type and shape of one tensor."""

    dtype: str
    shape: list[int]

    @property
    def n_numbers(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class _Entry(msgspec.Struct):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def read_header(
    file: BinaryIO, size: int, dtypes: Mapping[str, tuple[str, int]] = ARTIFACT_DTYPES
) -> dict[str, TensorSpec]:
    """Return the tensors that a safetensors file declares; the file then stands after the header.

    The format starts with the header's length, 8 bytes little-endian (safetensors, Format).

    Parameters
    ----------
    size : of the file, bytes
    dtypes : the allowed types: safetensors' name to PyTorch's name and bytes per number

    Raises
    ------
    FileError
        When the header is longer than the limit or the file, is not JSON, names another type, or
        its tensors do not fill the file.
    """
    length = int.from_bytes(file.read(8), "little")
    if length > min(MAX_HEADER_BYTES, max(0, size - 8)):
        raise FileError(
            f"not safetensors, a header of {length} bytes, limit {MAX_HEADER_BYTES} and the file's own length"
        )
    try:
        entries = msgspec.json.decode(file.read(length), type=dict[str, msgspec.Raw])
        entries.pop("__metadata__", None)
        tensors = {name: msgspec.json.decode(entry, type=_Entry) for name, entry in entries.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise FileError(f"not safetensors, the header is damaged: {exc}") from exc
    specs, n_bytes = {}, 8 + length
    for name, entry in tensors.items():
        if entry.dtype not in dtypes:
            raise FileError(f"tensor {name} is of type {entry.dtype}, must be one of {', '.join(dtypes)}")
        if any(side < 0 for side in entry.shape):
            raise FileError(f"tensor {name} has the shape {entry.shape}")
        dtype, width = dtypes[entry.dtype]
        specs[name] = TensorSpec(dtype, entry.shape)
        n_bytes += width * specs[name].n_numbers
    if n_bytes != size:
        raise FileError(f"not safetensors, tensors for {n_bytes} bytes in a file of {size}")
    return specs
