"""What the recommender reads of records: windows, behaviours, users' vectors and seen items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from models.base.types import Behaviours
from models.ranking.fallback import UserVectors
from models.rules.repeats import Repeats
from models.rules.row_rules import Rules
from streams.catalogue.seen_index import SeenIndex
from streams.contract.kafka_records import ConsumedRecord
from streams.contract.records import VERSION, UserVector, is_user_key
from streams.contract.windows import BaseWindow, ListWindow, decode_list_window, shown_entries
from streams.errors import RecordError
from streams.settings.record_limits import SEEN_BYTES
from streams.state.damage import PassedOver

#: The answer of :func:`revision_of` for bytes that are not a user vector. It is below all
#: revisions, so that the user's next window gets a list.
DAMAGED: Final = -1

_vector_decoder = msgspec.msgpack.Decoder(UserVector)


@dataclass
class BatchWindows:
    """The content of a batch of ``sequences``.

    Parameters
    ----------
    newest : the newest window per user as ``(key, state, written_ms)``, in offset order
    removed : users with a tombstone in the batch; a newer window of such a user begins a new life
    malformed : records that are not windows; they are passed over
    newer : windows of a newer version; they are passed over
    """

    newest: list[tuple[bytes, ListWindow, int]] = field(default_factory=list)
    removed: set[bytes] = field(default_factory=set)
    malformed: list[PassedOver] = field(default_factory=list)
    newer: list[PassedOver] = field(default_factory=list)


def newest_windows(records: Sequence[ConsumedRecord]) -> BatchWindows:
    """Return the newest windows and the removed users of a batch.

    A record that cannot be read is passed over, and the user's window before it counts. Fence
    records belong to no user.
    """
    found = BatchWindows()
    known: set[bytes] = set()  # users whose newest record is found: those before it no longer count
    for record in reversed(records):
        key = record.key
        if record.value is None:
            if key is not None and is_user_key(key):
                found.removed.add(key)
                known.add(key)
        elif key is None or not is_user_key(key):
            found.malformed.append(PassedOver(record.offset, key, "the key is not a user_id"))
        elif key not in known:
            try:
                found.newest.append((key, decode_list_window(record.value), record.timestamp))
                known.add(key)
            except RecordError as exc:
                passed_over = found.newer if exc.reason == "version" else found.malformed
                passed_over.append(PassedOver(record.offset, key, exc.detail))
    found.newest.reverse()
    return found


def behaviours(state: BaseWindow) -> Behaviours:
    """Return a window's behaviours as the models take them, oldest first."""
    if not state.items:
        return Behaviours()
    ts_ms, _, item_ids, types = zip(*state.items, strict=True)
    return Behaviours(item_ids, types, ts_ms)


def new_items(state: BaseWindow, last_revision: int) -> list[str]:
    """Return, approximately, the items of the behaviours since ``last_revision``.

    A revision is one event, so these are the last ``revision - last_revision`` behaviours.
    """
    n_new = min(state.revision - last_revision, len(state.items))
    return [item.item_id for item in state.items[-n_new:]] if n_new > 0 else []


def left_out(state: BaseWindow, seen: SeenIndex, repeats: Repeats, rules: Rules | None) -> set[str]:
    """Return the items beyond a window's own that no list of its user may hold.

    Times count back from the user's newest event, as ages in windows do.

    Parameters
    ----------
    repeats, rules : which items may come back, and for how long an item that was shown may not
    """
    found = seen.items(state.had(repeats))
    if rules is not None and rules.shown_ms and (shown := state.was_shown()):
        since = state.newest_ts - rules.shown_ms
        marks = (one.to_bytes(SEEN_BYTES, "little") for one, last, _ in shown_entries(shown) if last > since)
        found |= seen.items(b"".join(marks))
    return found


def weights_of_shown(state: BaseWindow, seen: SeenIndex, rules: Rules | None) -> dict[str, float]:
    """Return the factors of the scores of items that were shown and that the user never had.

    Empty where the rules have no decay, or nothing was shown.
    """
    if rules is None or rules.decay == 1.0 or not (shown := state.was_shown()):
        return {}
    had = seen.items(state.had())
    had.update(item.item_id for item in state.items)
    return {
        item_id: rules.decay**times
        for one, _, times in shown_entries(shown)
        for item_id in seen.items(one.to_bytes(SEEN_BYTES, "little")) - had
    }


def stored_vectors(value: bytes | None, artifact: str, dim: int, n_factors: int) -> UserVectors | None:
    """Return a user's stored vectors, or None where this artifact cannot use them.

    Parameters
    ----------
    value : an encoded :class:`~streams.contract.records.UserVector`, or None
    dim, n_factors : widths of the artifact's user vectors and factors
    """
    if value is None:
        return None
    stored = _vector(value)
    if (
        stored is None
        or stored.v != VERSION
        or stored.artifact != artifact
        or (len(stored.vector), len(stored.factors)) != (4 * dim, 4 * n_factors)
    ):
        return None
    vector, factors = np.frombuffer(stored.vector, "<f4"), np.frombuffer(stored.factors, "<f4")
    is_usable = np.isfinite(vector).all() and np.isfinite(factors).all() and vector.any()
    return UserVectors(vector, factors) if is_usable else None


def revision_of(value: bytes | None) -> int:
    """Return the revision of a user vector, 0 for None, :data:`DAMAGED` for other bytes."""
    if value is None:
        return 0
    stored = _vector(value)
    return DAMAGED if stored is None else stored.revision


def _vector(value: bytes) -> UserVector | None:
    """Return a user vector, or None for other bytes: the user's next list replaces them."""
    try:
        return _vector_decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
