"""Compares what a deployment holds with what it must hold.

Windows must be equal in every byte, lists in every field. A list has the same bits whatever batch
it is made in, so that the tolerances below are for what two processes add up in another order: the
decayed counts of popularity, and a candidate's share among candidates whose rows lie in another
order, because items came in another order. An encoder of texts rounds a text in another way beside
other texts, and so does a GPU a window. Ranks by retrieval and by matrix factorisation, which are
features, do not depend on any order. The rank of a popular item may move by one place, where two
items are equally popular. ``because`` is compared exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from models.metrics.same_lists import is_close, list_difference
from streams.contract.records import Recommendation, RecommendedItem
from streams.contract.windows import WindowItem, WindowState, decode_window
from streams.errors import RecordError
from streams.settings.record_limits import SEEN_BYTES

#: Two scores are equal where they differ by at most this share of the larger one.
SCORE_TOLERANCE: Final = 1e-5
#: Near 0, a source's score may differ by this much, because it is a sum of parts of about 1.
SOURCE_SCORE_TOLERANCE: Final = 1e-6
#: So many ids and characters of a value are shown, so that a difference is one line.
SHOWN_IDS: Final = 3
SHOWN_CHARACTERS: Final = 80

What = Literal["missing", "extra", "wrong"]


@dataclass(frozen=True)
class Difference:
    """One user's window or list that is not as it must be.

    Parameters
    ----------
    why : the first field that differs, with both values
    """

    user_id: str
    what: What
    why: str


def compare_windows(
    found: Mapping[bytes, bytes], expected: Mapping[bytes, bytes], *, with_offsets: bool = True
) -> list[Difference]:
    """Return the differences, in the order of user keys; empty when all windows or lists are right.

    Parameters
    ----------
    found, expected : user key to encoded window
    with_offsets : False ignores ``trigger.offset``, for events that were copied to another topic
    """
    differences = []
    for key in sorted(found.keys() | expected.keys()):
        if key not in found:
            differences.append(_missing(key, f"no window, expected revision {_revision(expected[key])}"))
        elif key not in expected:
            differences.append(_extra(key, f"a window of revision {_revision(found[key])}, expected none"))
        elif found[key] != expected[key]:
            why = _windows_why(found[key], expected[key], with_offsets)
            differences += [_wrong(key, why)] if why else []
    return differences


def compare_lists(found: Mapping[bytes, Recommendation], expected: Mapping[bytes, Recommendation]) -> list[Difference]:
    """Return the differences, in the order of user keys; empty when all windows or lists are right.

    ``produced_ts`` and ``index_generation`` are ignored, and so is ``list_id`` where the expected
    list is degraded. Two items with equal scores, within :data:`SCORE_TOLERANCE`, may have changed
    places, and the last item may be another one with an equal score.

    Parameters
    ----------
    found, expected : user key to the user's newest list
    """
    differences = []
    for key in sorted(found.keys() | expected.keys()):
        if key not in found:
            differences.append(_missing(key, f"no list, expected revision {expected[key].revision}"))
        elif key not in expected:
            differences.append(_extra(key, f"a list of revision {found[key].revision}, expected none"))
        else:
            why = compare_list(found[key], expected[key])
            differences += [_wrong(key, why)] if why else []
    return differences


def _missing(key: bytes, why: str) -> Difference:
    return Difference(_shown_key(key), "missing", why)


def _extra(key: bytes, why: str) -> Difference:
    return Difference(_shown_key(key), "extra", why)


def _wrong(key: bytes, why: str) -> Difference:
    return Difference(_shown_key(key), "wrong", why)


def _shown_key(key: bytes) -> str:
    return key.decode("utf-8", "replace")


def _revision(value: bytes) -> str:
    try:
        return str(decode_window(value).revision)
    except RecordError:
        return "unknown (it does not decode)"


def _windows_why(found: bytes, expected: bytes, with_offsets: bool) -> str:
    """Return the first field that differs; an empty text where only ignored fields differ."""
    expected_state = decode_window(expected)
    try:
        found_state = decode_window(found)
    except RecordError as exc:
        return f"does not decode: {exc}"
    if not with_offsets:
        found_state.trigger = found_state.trigger._replace(offset=expected_state.trigger.offset)
    why = _first_difference(_window_fields(found_state, expected_state))
    return why or (f"{len(found)} bytes unlike the {len(expected)} expected, all fields equal" if with_offsets else "")


def _window_fields(found: WindowState, expected: WindowState) -> Iterator[tuple[str, Any, Any]]:
    """Yield name and both values of each field, the most telling ones first.

    ``runs`` come as pairs, because their order counts.
    """
    yield "v", found.v, expected.v
    yield "revision", found.revision, expected.revision
    yield from _item_fields(found.items, expected.items)
    for name in ("trigger", "newest_ts", "recent", "floor"):
        yield name, getattr(found, name), getattr(expected, name)
    yield "seen", _marks(found.seen), _marks(expected.seen)
    yield "hidden", _marks(found.hidden), _marks(expected.hidden)
    yield "passed", found.passed, expected.passed
    yield "runs", list(found.runs.items()), list(expected.runs.items())


def _marks(seen: bytes) -> list[str]:
    return [seen[start : start + SEEN_BYTES].hex() for start in range(0, len(seen), SEEN_BYTES)]


def _item_fields(found: Sequence[WindowItem], expected: Sequence[WindowItem]) -> Iterator[tuple[str, Any, Any]]:
    ids, expected_ids = [item.event_id for item in found], [item.event_id for item in expected]
    yield "events missing", [], sorted(set(expected_ids) - set(ids))
    yield "events extra", sorted(set(ids) - set(expected_ids)), []
    yield "order of events", ids, expected_ids
    yield from ((f"event {e.event_id}", tuple(f), tuple(e)) for f, e in zip(found, expected, strict=True))


def _first_difference(fields: Iterable[tuple[str, Any, Any]]) -> str:
    """Return the first field whose values differ, with both; an empty text where none does."""
    for name, found, expected in fields:
        if found == expected:
            continue
        if name == "events missing":
            return f"{name}: {_some(expected)}"
        if name == "events extra":
            return f"{name}: {_some(found)}"
        if isinstance(found, list) and isinstance(expected, list):
            return _first_unlike(name, found, expected)
        return f"{name} {_cut(found)}, expected {_cut(expected)}"
    return ""


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
    return ", ".join(ids[:SHOWN_IDS]) + more


def _first_unlike(name: str, found: Sequence[Any], expected: Sequence[Any]) -> str:
    """Return the first position where two lists differ."""
    for place, (one, other) in enumerate(zip(found, expected, strict=False)):
        if one != other:
            return f"{name}: entry {place} {_cut(one)}, expected {_cut(other)}"
    return f"{name}: {len(found)} entries, expected {len(expected)}"


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}... ({len(text)} characters)"


def compare_list(found: Recommendation, expected: Recommendation) -> str:
    """Return the first field of a list that differs, as :func:`compare_lists`; ``""`` for none."""
    names = ["v", "user_id", "revision", "event_id", "offset", "event_ts", "artifact", "degraded"]
    names += ["users_offset", "rules", "missing"]
    if expected.degraded == "none" and not found.model_order:  # the oracle knows no announcement
        names.append("list_id")
    if not expected.event_id:
        names.remove("event_ts")  # when the user's record was written
    why = _first_difference((name, getattr(found, name), getattr(expected, name)) for name in names)
    return why or _items_why(found.items, expected.items)


def _items_why(found: Sequence[RecommendedItem], expected: Sequence[RecommendedItem]) -> str:
    if why := list_difference(_scored(found), _scored(expected), SCORE_TOLERANCE):
        return why
    expected_of = {item.item_id: item for item in expected}
    for rank, item in enumerate(found, 1):
        twin = expected_of.get(item.item_id)
        if twin is not None and (why := _item_why(item, twin)):
            return f"item {rank} {item.item_id}: {why}"
    return ""


def _scored(items: Sequence[RecommendedItem]) -> list[tuple[str, float]]:
    return [(item.item_id, item.score) for item in items]


def _item_why(found: RecommendedItem, expected: RecommendedItem) -> str:
    if found.because != expected.because:
        return f"because {found.because}, expected {expected.because}"
    if found.sources.keys() != expected.sources.keys():
        return f"sources {', '.join(found.sources)}, expected {', '.join(expected.sources)}"
    for name, place in expected.sources.items():
        rank, score = found.sources[name]
        if abs(rank - place.rank) > (name == "popular") or not is_close(
            score, place.score, SCORE_TOLERANCE, SOURCE_SCORE_TOLERANCE
        ):
            return f"source {name} #{rank} {score:.9g}, expected #{place.rank} {place.score:.9g}"
    return ""
