"""Python's search for cycles, which a large load does without."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the search for cycles inside the block.

    A load makes millions of objects and no cycles of them: a twelfth of its time would be for the
    search. What else runs meanwhile may leave cycles, which are found afterwards.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
