"""Names that all models share.

``item_id`` and ``user_id`` are external ids. A *row* is an index into the arrays of one artifact or
catalogue.
"""

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
    """One action of a user on an item; ``ts_ms`` is its event time, in ms since 1970, UTC."""

    item_id: str
    type: str
    ts_ms: int
