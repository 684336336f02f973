"""Words that all models share. ``item_id`` is external, a *row* is an index into one artifact's or catalogue's arrays."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.vocabulary import EVENT_TYPES

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int8 = NDArray[np.int8]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
AnyArray = NDArray[Any]

TYPE_INDEX: Final[dict[str, int]] = {name: i for i, name in enumerate(EVENT_TYPES)}


class Behaviour(NamedTuple):
    """One thing that a user did, with its event time in milliseconds since 1970, UTC."""

    item_id: str
    type: str
    ts_ms: int
