"""Words that models and records share; ``streams.contract.records`` takes them from here.

Models may not import the contract, and commands that import the contract must not load NumPy. So
this module imports neither.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

#: What a user did with an item, by the default table of :mod:`models.base.event_types`.
EventType = Literal["click", "view", "purchase"]
EVENT_TYPES: Final[tuple[EventType, ...]] = get_args(EventType)

#: What a list was made without: nothing; a new user vector; the sequence model; all but popularity;
#: events, so that features and follows stand for them.
Degraded = Literal["none", "stale-vector", "mf-only", "popular", "newcomer"]
