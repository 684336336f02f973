"""Names that all models share.

``item_id`` and ``user_id`` are external ids. A *row* is an index into the arrays of one artifact or
catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from models.base.event_types import WindowTypes

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
AnyArray = NDArray[Any]


class Behaviour(NamedTuple):
    """One action of a user on an item; ``ts_ms`` is its event time, in ms since 1970, UTC.

    ``type`` is a name in windows (:class:`models.base.event_types.WindowTypes`).
    """

    item_id: str
    type: str
    ts_ms: int


class Behaviours(Sequence[Behaviour]):
    """A window's behaviours in columns, oldest first: an object for each would cost more to make
    than the models need to read it.

    Parameters
    ----------
    item_ids, types, ts_ms : of each behaviour, as in :class:`Behaviour`
    """

    __slots__ = ("item_ids", "ts_ms", "types")

    def __init__(self, item_ids: Sequence[str] = (), types: Sequence[str] = (), ts_ms: Sequence[int] = ()) -> None:
        self.item_ids = item_ids
        self.types = types
        self.ts_ms = ts_ms

    @classmethod
    def of(cls, behaviours: Sequence[Behaviour]) -> Behaviours:
        """Return behaviours in columns."""
        return behaviours if isinstance(behaviours, Behaviours) else cls.of_rows(behaviours)

    @classmethod
    def of_rows(cls, rows: Iterable[tuple[str, str, int]]) -> Behaviours:
        """Return the columns of rows ``(item_id, type, ts_ms)``."""
        columns = tuple(zip(*rows, strict=True))
        return cls(*columns)

    def __len__(self) -> int:
        return len(self.item_ids)

    @overload
    def __getitem__(self, index: int) -> Behaviour: ...
    @overload
    def __getitem__(self, index: slice) -> Behaviours: ...
    def __getitem__(self, index: int | slice) -> Behaviour | Behaviours:
        item_ids, types, ts_ms = self.item_ids[index], self.types[index], self.ts_ms[index]
        return Behaviours(item_ids, types, ts_ms) if isinstance(index, slice) else Behaviour(item_ids, types, ts_ms)  # type: ignore[arg-type]


def weights_of(kinds: WindowTypes) -> Float32:
    """Return the weight of each type, (n_types,) float32."""
    return np.array([one.weight for one in kinds.types], dtype=np.float32)


def positives_of(kinds: WindowTypes) -> Bool:
    """Return which types are positive, (n_types,) bool."""
    return np.array([one.positive for one in kinds.types], dtype=np.bool_)
