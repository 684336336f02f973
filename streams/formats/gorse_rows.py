"""Gorse's users, items and feedback as rows with the contract's fields.

Gorse's export is JSON lines with the same fields as the bodies of its REST API.

References
----------
Gorse 0.5, ``User``, ``Item`` and ``Feedback`` in ``storage/data/database.go``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from streams.errors import RecordError
from streams.formats.gorse_labels import item_fields, item_labels, user_features, user_labels
from streams.formats.topic_fields import time_ms

#: How Go writes the time of a row without one.
NO_TIME: Final = "0001-01-01T00:00:00Z"
#: The feature of a user in which the comment is. No label has this name: see ``gorse_labels``.
COMMENT: Final = "#comment"
_YEAR: Final = re.compile(r"\s*([0-9]{4})-")
_DIGITS: Final = re.compile(r"[0-9]{1,19}")
#: Units of a time in digits, by how many there are.
_UNITS: Final = {10: "s", 13: "ms", 16: "us", 19: "ns"}


def contract_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of feedback, of items or of users with the contract's names.

    Values stay as Gorse has them; a time that Gorse does not have is left out, and so is a time of
    an item before 1970, which the contract cannot hold.

    Raises
    ------
    ValueError
        When the row is none of Gorse's, or its labels are none.
    """
    if "FeedbackType" in row:
        return feedback_fields(row)
    if "ItemId" in row:
        return item_row(row)
    if "UserId" in row:
        return user_row(row)
    raise ValueError("neither FeedbackType nor ItemId nor UserId; is it a row of Gorse's export?")


def feedback_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event. A value of 0 is none: clients of Gorse send it where they have no value."""
    fields = {
        "user_id": row.get("UserId"),
        "item_id": row.get("ItemId"),
        "type": row.get("FeedbackType"),
        "ts": _time(row.get("Timestamp")),
        "value": row.get("Value") or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def item_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item. The comment is its title, or its id where there is none."""
    time = _time(row.get("Timestamp"))
    year = _YEAR.match(time) if isinstance(time, str) else None
    fields = {
        "item_id": row.get("ItemId"),
        "title": row.get("Comment") or row.get("ItemId"),
        "categories": row.get("Categories") or None,
        "available": False if row.get("IsHidden") is True else None,
        "published_ts": None if year is not None and int(year[1]) < 1970 else time,
        **item_fields(row.get("Labels")),
    }
    return {name: value for name, value in fields.items() if value is not None}


def user_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a user: labels and comment are features."""
    features = user_features(row.get("Labels"))
    if row.get("Comment"):
        features[COMMENT] = row["Comment"]
    return {"user_id": row.get("UserId")} | ({"features": features} if features else {})


def gorse_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record of ``items`` as Gorse has it."""
    categories = [item.get("category"), *(item.get("categories") or ())]
    title = item.get("title", "")
    return {
        "ItemId": item["item_id"],
        "IsHidden": item.get("available") is False,
        "Categories": list(dict.fromkeys(name for name in categories if name)),
        "Timestamp": gorse_time(item.get("published_ts")),
        "Labels": item_labels(item.get("features") or {}, item.get("tags") or (), item.get("vectors") or {}),
        "Comment": "" if title == item["item_id"] else title,
    }


def gorse_user(user: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record of ``users`` as Gorse has it."""
    features = dict(user.get("features") or {})
    comment = features.pop(COMMENT, "")
    return {"UserId": user["user_id"], "Labels": user_labels(features), "Comment": comment}


def gorse_time(ts_ms: int | None) -> str:
    """Return a time as Gorse writes it."""
    if ts_ms is None:
        return NO_TIME
    text = datetime.fromtimestamp(ts_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    part = f"{ts_ms % 1000:03d}".rstrip("0")
    return f"{text}.{part}Z" if part else f"{text}Z"


def read_time(raw: str, field: str = "Timestamp") -> int:
    """Return a time in ms: ISO 8601, or digits whose number says the unit, 10 for seconds.

    Raises
    ------
    RecordError
        When it is neither.
    """
    text = raw.strip()
    if _DIGITS.fullmatch(text):
        unit = _UNITS.get(len(text))
        found = None if unit is None else time_ms(int(text), unit, field)
    else:
        found = time_ms(text, "ms", field)
    if not isinstance(found, int):
        raise RecordError("type", field, f"{raw[:40]!r} is no time; write it as 2026-01-31T12:00:00Z")
    return found


def _time(raw: Any) -> Any:
    """Return a time as it is; None for the one that Go writes for none."""
    return None if raw in (None, "") or (isinstance(raw, str) and raw.startswith("0001-01-01T00:00:00")) else raw
