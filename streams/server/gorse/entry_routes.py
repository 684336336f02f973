"""The routes of the Gorse door for items and users."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import msgspec
from litestar import delete, get, patch, post, put
from litestar.params import FromPath, FromQuery, JSONBody

from streams.formats.gorse_rows import gorse_item, gorse_user
from streams.server.gate.callers import needs
from streams.server.gate.problems import bad_value
from streams.server.gorse import entries
from streams.server.gorse.absent import check_no_search, check_own_ids
from streams.server.gorse.bodies import ItemBody, ItemPage, ItemPatch, Success, UserBody, UserPage, UserPatch
from streams.server.gorse.recommended import DEFAULT_N, check_range
from streams.server.gorse.routes import READ, TAGS, WRITE
from streams.server.lists.records import Kind
from streams.server.parts.server import Server, TheServer
from streams.server.routes.pushed_lists import PROBLEMS

#: Most items or users of one page.
MAX_PAGE: Final = 1_000
ONE: Final = Success(1)


@post("/item", operation_id="gorseInsertItem", summary="Insert an item", tags=TAGS, guards=WRITE, status_code=200,
      responses=PROBLEMS)  # fmt: skip
async def insert_item(server: TheServer, data: JSONBody[ItemBody]) -> Success:
    """Write the whole item; the answer comes when the broker has it."""
    return Success(await entries.insert(server, "items", [data]))


@post("/items", operation_id="gorseInsertItems", summary="Insert items", tags=TAGS, guards=WRITE, status_code=200,
      responses=PROBLEMS)  # fmt: skip
async def insert_items(server: TheServer, data: JSONBody[list[ItemBody]]) -> Success:
    """Write whole items, all or none where one breaks the contract."""
    return Success(await entries.insert(server, "items", data))


@get("/items", operation_id="gorseGetItems", summary="List items", tags=TAGS, guards=READ, responses=PROBLEMS)
async def get_items(
    server: TheServer, n: FromQuery[int] = DEFAULT_N, cursor: FromQuery[str] = "", q: FromQuery[str] = ""
) -> ItemPage:
    """Return items, hidden ones too, in the order of their ids."""
    check_no_search(q)
    following, records = _page(server, "items", n, cursor)
    return ItemPage(following, [gorse_item(record) for record in records])


@get("/item/{item_id:str}", operation_id="gorseGetItem", summary="An item", tags=TAGS, guards=READ, responses=PROBLEMS)
async def get_item(server: TheServer, item_id: FromPath[str]) -> dict[str, Any]:
    """Return an item, hidden or not."""
    return entries.item(server, item_id)


@patch("/item/{item_id:str}", operation_id="gorsePatchItem", summary="Modify an item", tags=TAGS, guards=WRITE,
       responses=PROBLEMS)  # fmt: skip
async def patch_item(server: TheServer, item_id: FromPath[str], data: JSONBody[ItemPatch]) -> Success:
    """Change the fields that the body has; null changes nothing."""
    await entries.patch_item(server, item_id, data)
    return ONE


@delete("/item/{item_id:str}", operation_id="gorseDeleteItem", summary="Delete an item", tags=TAGS, guards=WRITE,
        status_code=200, responses=PROBLEMS)  # fmt: skip
async def delete_item(server: TheServer, item_id: FromPath[str]) -> Success:
    """Remove an item: no answer has it from now on. What users did with it stays."""
    await server.writes.remove("items", item_id)
    return ONE


@put("/item/{item_id:str}/category/{category:str}", operation_id="gorsePutCategory", tags=TAGS, guards=WRITE,
     summary="Put an item into a category", responses=PROBLEMS)  # fmt: skip
async def put_category(server: TheServer, item_id: FromPath[str], category: FromPath[str]) -> Success:
    """Put an item into one more category."""
    await entries.change_category(server, item_id, category, is_in=True)
    return ONE


@delete("/item/{item_id:str}/category/{category:str}", operation_id="gorseDeleteCategory", tags=TAGS, guards=WRITE,
        summary="Take an item out of a category", status_code=200, responses=PROBLEMS)  # fmt: skip
async def delete_category(server: TheServer, item_id: FromPath[str], category: FromPath[str]) -> Success:
    """Take an item out of a category."""
    await entries.change_category(server, item_id, category, is_in=False)
    return ONE


@post("/user", operation_id="gorseInsertUser", summary="Insert a user", tags=TAGS, guards=WRITE, status_code=200,
      responses=PROBLEMS)  # fmt: skip
async def insert_user(server: TheServer, data: JSONBody[UserBody]) -> Success:
    """Write the whole user; the answer comes when the broker has it."""
    return Success(await entries.insert(server, "users", [data]))


@post("/users", operation_id="gorseInsertUsers", summary="Insert users", tags=TAGS, guards=WRITE, status_code=200,
      responses=PROBLEMS)  # fmt: skip
async def insert_users(server: TheServer, data: JSONBody[list[UserBody]]) -> Success:
    """Write whole users, all or none where one breaks the contract."""
    return Success(await entries.insert(server, "users", data))


@get("/users", operation_id="gorseGetUsers", summary="List users", tags=TAGS, guards=READ, responses=PROBLEMS)
async def get_users(server: TheServer, n: FromQuery[int] = DEFAULT_N, cursor: FromQuery[str] = "") -> UserPage:
    """Return users that were inserted, in the order of their ids."""
    check_own_ids(server)
    following, records = _page(server, "users", n, cursor)
    return UserPage(following, [gorse_user(record) for record in records])


@get("/user/{user_id:str}", operation_id="gorseGetUser", summary="A user", tags=TAGS, guards=READ, responses=PROBLEMS)
async def get_user(server: TheServer, user_id: FromPath[str]) -> dict[str, Any]:
    """Return a user that was inserted."""
    return entries.user(server, user_id)


@patch("/user/{user_id:str}", operation_id="gorsePatchUser", summary="Modify a user", tags=TAGS, guards=WRITE,
       responses=PROBLEMS)  # fmt: skip
async def patch_user(server: TheServer, user_id: FromPath[str], data: JSONBody[UserPatch]) -> Success:
    """Change the fields that the body has; null changes nothing."""
    await entries.patch_user(server, user_id, data)
    return ONE


@delete("/user/{user_id:str}", operation_id="gorseDeleteUser", summary="Forget a user", tags=TAGS,
        guards=[needs("admin")], status_code=200, responses=PROBLEMS)  # fmt: skip
async def delete_user(server: TheServer, user_id: FromPath[str]) -> Success:
    """Ask the workers to erase all that they hold of a user, events included."""
    await server.writes.forget(user_id)
    return ONE


def _page(server: Server, kind: Kind, n: int, cursor: str) -> tuple[str, list[dict[str, Any]]]:
    """Return the cursor of the next page, and the records of this one."""
    check_range(n, 0)
    if n > MAX_PAGE:
        raise bad_value("n", f"{n}, must be at most {MAX_PAGE}", "ask for the next page with Cursor")
    server.ready.check()
    try:
        start = base64.b64decode(cursor, validate=True)
    except (binascii.Error, ValueError):
        raise bad_value("cursor", f"{cursor[:40]!r} is no cursor", "send the Cursor of the page before") from None
    found = server.writes.page(kind, start, n + 1)
    following = base64.b64encode(found[n][0]).decode() if len(found) > n else ""
    return following, [msgspec.msgpack.decode(value) for _, value in found[:n]]


HANDLERS: Final = (
    insert_item, insert_items, get_items, get_item, patch_item, delete_item, put_category, delete_category,
    insert_user, insert_users, get_users, get_user, patch_user, delete_user,
)  # fmt: skip
