"""Items and users of Gorse onto the topics ``items`` and ``users``, and from them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from streams.contract.records import VERSION, Item, RecordDecoder, User
from streams.errors import RecordError
from streams.formats.gorse_labels import item_fields, user_features
from streams.formats.gorse_rows import COMMENT, gorse_item, gorse_user, item_row, read_time, user_row
from streams.server.gate.problems import Problem
from streams.server.gorse.bodies import ItemBody, ItemPatch, UserBody, UserPatch
from streams.server.lists.records import Kind
from streams.server.parts.server import Server
from streams.server.writing.writes import unknown

#: Most items or users of one request.
MAX_ROWS: Final = 10_000
#: Writes that wait for the broker at once.
AT_ONCE: Final = 100
#: The fields of the contract by those of Gorse that they come from.
OF_GORSE: Final[dict[str, str]] = {
    "item_id": "ItemId", "user_id": "UserId", "title": "Comment", "categories": "Categories", "published_ts": "Timestamp",
    "features": "Labels", "tags": "Labels", "vectors": "Labels",
}  # fmt: skip


async def insert(server: Server, kind: Kind, bodies: Sequence[ItemBody | UserBody]) -> int:
    """Write whole items or users, all or none where one breaks the contract; return how many.

    Of several with one id the last is written.

    Raises
    ------
    Problem
        400 for a row that breaks the contract, with its place.
    """
    if len(bodies) > MAX_ROWS:
        raise Problem(400, "bad-value", f"{len(bodies)} rows, at most {MAX_ROWS}", remedy="send them in parts")
    decoder: Any = RecordDecoder(Item if kind == "items" else User)
    found: dict[str, bytes] = {}
    for place, body in enumerate(bodies):
        try:
            fields = _fields(body)
            record = msgspec.json.encode({"v": VERSION} | fields)
            decoder.decode(record)
        except (RecordError, ValueError) as exc:
            raise refused(kind, place, exc) from None
        entry_id: str = fields["item_id" if kind == "items" else "user_id"]
        found.pop(entry_id, None)
        found[entry_id] = record
    rows = list(found.items())
    for at in range(0, len(rows), AT_ONCE):
        await asyncio.gather(*(server.writes.put(kind, *row) for row in rows[at : at + AT_ONCE]))
    return len(bodies)


async def patch_item(server: Server, item_id: str, patch: ItemPatch) -> None:
    """Change the fields of an item that a patch has."""
    before = msgspec.msgpack.decode(_record(server, "items", item_id))
    changed: dict[str, Any] = {}
    if patch.comment is not None:
        changed["title"] = patch.comment or item_id
    if patch.is_hidden is not None:
        changed["available"] = False if patch.is_hidden else None
    if patch.categories is not None:
        changed |= {"category": None, "categories": patch.categories or None}
    try:
        if patch.timestamp is not None:
            changed["published_ts"] = _published(item_row({"Timestamp": patch.timestamp}))
        if patch.labels is not None:
            fields = item_fields(patch.labels)
            for name in ("features", "vectors"):
                changed[name] = replaced(before.get(name), fields.get(name))
            changed["tags"] = fields.get("tags")
    except (RecordError, ValueError) as exc:
        raise refused("items", 0, exc) from None
    if changed:
        await server.writes.patch("items", item_id, msgspec.json.encode(changed))


async def patch_user(server: Server, user_id: str, patch: UserPatch) -> None:
    """Change the fields of a user that a patch has."""
    before = dict(msgspec.msgpack.decode(_record(server, "users", user_id)).get("features") or {})
    features = dict(before)
    try:
        if patch.labels is not None:
            features = user_features(patch.labels) | ({COMMENT: before[COMMENT]} if COMMENT in before else {})
    except ValueError as exc:
        raise refused("users", 0, exc) from None
    if patch.comment is not None:
        features.pop(COMMENT, None)
        features |= {COMMENT: patch.comment} if patch.comment else {}
    if features != before:
        changed = {"features": replaced(before, features)}
        await server.writes.patch("users", user_id, msgspec.json.encode(changed))


async def change_category(server: Server, item_id: str, category: str, *, is_in: bool) -> None:
    """Put an item into a category, or take it out."""
    categories = item(server, item_id)["Categories"]
    changed = [name for name in categories if name != category] + ([category] if is_in else [])
    await patch_item(server, item_id, ItemPatch(categories=changed))


def item(server: Server, item_id: str) -> dict[str, Any]:
    """Return an item as Gorse has it; raise :class:`Problem` 404 without one."""
    return gorse_item(msgspec.msgpack.decode(_record(server, "items", item_id)))


def user(server: Server, user_id: str) -> dict[str, Any]:
    """Return a user as Gorse has it; raise :class:`Problem` 404 without one."""
    return gorse_user(msgspec.msgpack.decode(_record(server, "users", user_id)) | {"user_id": user_id})


def replaced(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the merge patch that puts an object in the place of another."""
    return {**dict.fromkeys(before or ()), **after} if after else None


def refused(kind: Kind, place: int, exc: Exception) -> Problem:
    """Return the problem of a row that breaks the contract, with the names that Gorse has."""
    field = exc.field if isinstance(exc, RecordError) else "labels"
    first = field.partition(".")[0].partition("[")[0]
    detail = exc.detail if isinstance(exc, RecordError) else str(exc)
    reason = exc.reason if isinstance(exc, RecordError) else "bad-value"
    return Problem(
        400,
        reason,
        f"{kind}[{place}]: {detail}; nothing is written",
        field=OF_GORSE.get(first, first if isinstance(exc, RecordError) else "Labels"),
        remedy="docs/serving/gorse.md says what becomes of each field, and docs/contract its limits",
    )


def _fields(body: ItemBody | UserBody) -> dict[str, Any]:
    row = msgspec.to_builtins(body)
    if isinstance(body, UserBody):
        return user_row(row)
    fields = item_row(row)
    published = _published(fields)
    return {**fields, "published_ts": published} if published is not None else fields


def _published(fields: Mapping[str, Any]) -> int | None:
    raw = fields.get("published_ts")
    return None if raw is None else read_time(raw)


def _record(server: Server, kind: Kind, entry_id: str) -> bytes:
    server.ready.check()
    found = server.writes.record(kind, entry_id)
    if found is None:
        raise unknown(kind, entry_id)
    return found
