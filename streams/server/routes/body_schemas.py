"""How the OpenAPI document shows bodies: with the schemas of the contract's structs.

Handlers of writes read the bytes themselves, so that each record of a body is refused by itself.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema

from streams.contract.records import Event, Item, User
from streams.server.writing.bodies import MAX_EVENTS


class PlainSchema(Schema):
    """A JSON schema that is there already."""

    def __init__(self, plain: dict[str, Any]) -> None:
        super().__init__()
        self.plain = plain

    def to_schema(self) -> dict[str, Any]:
        """Return the schema as it was given."""
        return self.plain


def record_schema(struct: type[msgspec.Struct], optional: Collection[str]) -> dict[str, Any]:
    """Return the schema of a record, some of whose fields a body may leave out."""
    _, found = msgspec.json.schema_components([struct])
    schema = dict(found[struct.__name__])
    schema["required"] = [name for name in schema["required"] if name not in optional]
    return schema


def body_of(schema: dict[str, Any], media_type: str = "application/json") -> RequestBody:
    """Return a body of this schema."""
    return RequestBody(required=True, content={media_type: OpenAPIMediaType(schema=PlainSchema(schema))})


@dataclass
class EventsOperation(Operation):
    """Takes one event or many."""

    def __post_init__(self) -> None:
        event = record_schema(Event, ("v", "event_id", "ts"))
        many = {"type": "array", "items": event, "minItems": 1, "maxItems": MAX_EVENTS}
        self.request_body = body_of({"oneOf": [event, many]})
        # 400 is also the answer to a body that holds no events, which is a problem as elsewhere
        answers: Any = self.responses
        answers["400"].content |= answers["401"].content


@dataclass
class ItemOperation(Operation):
    """Takes the whole record of an item."""

    def __post_init__(self) -> None:
        self.request_body = body_of(record_schema(Item, ("v", "item_id")))


@dataclass
class UserOperation(Operation):
    """Takes the whole record of a user."""

    def __post_init__(self) -> None:
        self.request_body = body_of(record_schema(User, ("v", "user_id")))


@dataclass
class PatchOperation(Operation):
    """Takes a JSON merge patch."""

    def __post_init__(self) -> None:
        self.request_body = body_of({"type": "object"}, "application/merge-patch+json")
