"""Results as JSON has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def as_plain(value: Any) -> Any:
    """Return a value in JSON's own types.

    numpy's values become plain ones, NaN and infinity become None, any other type becomes its text.
    """
    if isinstance(value, Mapping):
        return {str(name): as_plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(each) for each in value]
    if hasattr(value, "tolist"):  # of numpy
        return as_plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
