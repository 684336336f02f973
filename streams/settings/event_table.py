"""The setting ``event_types``: a table as text, read and checked once."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, Final

from models.base.event_types import DEFAULT_TYPES, EventTypes, TableError, event_types
from streams.errors import SettingsError
from streams.settings.check import PREFIX

_REMEDY: Final = f"set [event_types] in headrace.toml, or JSON in {PREFIX}EVENT_TYPES"


@lru_cache(maxsize=8)
def read_table(text: str) -> EventTypes:
    """Return the checked table in a text of JSON.

    Raises
    ------
    SettingsError
        For a text that is not JSON, a name that comes twice, or a table that
        :func:`models.base.event_types.event_types` refuses.
    """
    try:
        return event_types(json.loads(text, object_pairs_hook=_once))
    except TableError as exc:
        raise SettingsError(f"{exc}; {_REMEDY}") from None
    except (ValueError, RecursionError) as exc:
        raise SettingsError(f"event_types={text[:80]!r} must be a table in JSON ({exc}); {_REMEDY}") from None


def table_text(types: EventTypes) -> str:
    """Return a table as text; equal tables have equal texts."""
    return json.dumps(types.as_plain(), ensure_ascii=False)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise TableError(f".{twice}", twice, "named once")
    return found


DEFAULT_TABLE: Final = table_text(DEFAULT_TYPES)
