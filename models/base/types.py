"""Names that all models share.

``item_id`` and ``user_id`` are external ids. A *row* is an index into the arrays of one artifact or
catalogue.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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


def weights_of(kinds: WindowTypes) -> Float32:
    """Return the weight of each type, (n_types,) float32."""
    return np.array([one.weight for one in kinds.types], dtype=np.float32)


def positives_of(kinds: WindowTypes) -> Bool:
    """Return which types are positive, (n_types,) bool."""
    return np.array([one.positive for one in kinds.types], dtype=np.bool_)
