"""The bodies of Gorse's REST API.

References
----------
Gorse 0.5.11, ``server/rest.go`` and ``storage/data/database.go``; PyGorse 0.5.1; gorsejs 0.4.8.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

#: Any JSON value: objects and lists of texts and numbers.
Labels = Any
#: A time in ISO 8601, or digits.
Time = Annotated[str, Meta(max_length=64)]


class Feedback(msgspec.Struct, rename="pascal"):
    """What a user did with an item. ``value`` of 0 is none; a time left out is the server's own."""

    feedback_type: str
    user_id: str
    item_id: str
    value: float | None = None
    timestamp: Time | None = None
    comment: str | None = None


class ItemBody(msgspec.Struct, rename="pascal"):
    """An item. Each insertion is the whole item."""

    item_id: str
    is_hidden: bool | None = None
    categories: list[str] | None = None
    timestamp: Time | None = None
    labels: Labels = None
    comment: str | None = None


class ItemPatch(msgspec.Struct, rename="pascal"):
    """A change of an item; null, or a field left out, changes nothing."""

    is_hidden: bool | None = None
    categories: list[str] | None = None
    timestamp: Time | None = None
    labels: Labels = None
    comment: str | None = None


class UserBody(msgspec.Struct, rename="pascal"):
    """A user. Each insertion is the whole user."""

    user_id: str
    labels: Labels = None
    comment: str | None = None


class UserPatch(msgspec.Struct, rename="pascal"):
    """A change of a user; null, or a field left out, changes nothing."""

    labels: Labels = None
    comment: str | None = None


class Success(msgspec.Struct, rename="pascal"):
    """How many rows a write was about."""

    row_affected: int


class Score(msgspec.Struct, rename="pascal"):
    """An item and its score; the order is that of the list."""

    id: str
    score: float


class ItemPage(msgspec.Struct, rename="pascal"):
    """Items in the order of their ids, and where the next page begins; empty at the end."""

    cursor: str
    items: list[dict[str, Any]]


class UserPage(msgspec.Struct, rename="pascal"):
    """Users in the order of their ids, and where the next page begins; empty at the end."""

    cursor: str
    users: list[dict[str, Any]]


class Health(msgspec.Struct, rename="pascal"):
    """Whether the server can answer. Gorse's two stores are here the topics that it reads."""

    ready: bool
    data_store_error: str | None
    cache_store_error: str | None
    data_store_connected: bool
    cache_store_connected: bool
