"""Windows and record batches that wait for the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from streams.contract.windows import ListWindow

BatchT = TypeVar("BatchT")
#: Partition and user key.
Key = tuple[int, bytes]


@dataclass(slots=True)
class PendingBatch(Generic[BatchT]):
    """A record batch, and how many windows must be delivered before it is done.

    It is forgotten when its partition is taken away. ``batch`` is None for windows that no record
    batch brought: there is nothing to commit.
    """

    batch: BatchT | None
    remaining: int = 0
    is_forgotten: bool = False


@dataclass(slots=True)
class PendingWindow(Generic[BatchT]):
    """A user's newest window.

    ``owner`` is the batch of the oldest window that this one replaced, else its own batch.
    ``has_list`` says that this window has a provisional list; ``is_removed`` that the user was
    removed since. ``since_s`` is when it became ready, ``scored_s`` when the model was done with
    it. ``is_again`` says that the user has a list of this window already, of the model before.
    """

    partition: int
    key: bytes
    state: ListWindow
    written_ms: int
    owner: PendingBatch[BatchT]
    has_list: bool = False
    is_removed: bool = False
    since_s: float = 0.0
    scored_s: float = 0.0
    is_again: bool = False
