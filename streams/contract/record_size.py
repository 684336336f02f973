"""The size of a key or value, also when only its beginning was kept."""

from __future__ import annotations


class CutBytes(bytes):
    """The beginning of a key or value that was too large to keep.

    Attributes
    ----------
    size : bytes of the whole
    """

    size: int

    def __new__(cls, beginning: bytes, size: int) -> CutBytes:
        """Return ``beginning``, remembering the size of the whole."""
        cut = super().__new__(cls, beginning)
        cut.size = size
        return cut


def true_size(part: bytes | None) -> int:
    """Return the bytes of a whole key or value; 0 for an absent one."""
    if type(part) is CutBytes:
        return part.size
    return len(part) if part else 0
