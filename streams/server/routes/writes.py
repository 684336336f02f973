"""``POST /v1/events``, and reading and changing the records of items and users."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Request, Response, delete, get, patch, post, put
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath

from streams.contract.records import Item, User
from streams.server.gate.callers import needs
from streams.server.lists.records import Kind
from streams.server.parts.server import TheServer
from streams.server.routes.body_schemas import EventsOperation, ItemOperation, PatchOperation, UserOperation
from streams.server.routes.pushed_lists import PROBLEMS
from streams.server.writing.bodies import EventsResult
from streams.server.writing.writes import Forgotten, unknown

WRITE: Final = [needs("write")]
Asked = Request[Any, Any, Any]
EVENT_ANSWERS: Final = {
    **PROBLEMS,
    207: ResponseSpec(EventsResult, description="some events break the contract"),
    400: ResponseSpec(EventsResult, description="every event breaks the contract"),
}
ITEM: Final = "/v1/items/{item_id:str}"
USER: Final = "/v1/users/{user_id:str}"


@post(
    "/v1/events",
    operation_id="postEvents",
    summary="Send one event or many",
    tags=["events"],
    guards=WRITE,
    status_code=200,
    responses=EVENT_ANSWERS,
    operation_class=EventsOperation,
)
async def post_events(request: Asked, server: TheServer) -> Response[EventsResult]:
    """Check events by the contract, and write them; the answer comes when the broker has them.

    200 says that all were taken, 207 that some were refused, 400 that all were. Each refused event
    is named by its index, with reason and field. A repeat with the same ``event_id`` does no harm.
    """
    found = await server.writes.events(await request.body())
    status = 200 if not found.rejected else 207 if found.accepted else 400
    return Response(found, status_code=status)


@put(ITEM, operation_id="putItem", summary="Put an item", tags=["items"], guards=WRITE, status_code=204,
     responses=PROBLEMS, operation_class=ItemOperation)  # fmt: skip
async def put_item(request: Asked, server: TheServer, item_id: FromPath[str]) -> None:
    """Write the whole record of an item into the catalogue."""
    await server.writes.put("items", item_id, await request.body())


@patch(ITEM, operation_id="patchItem", summary="Change an item", tags=["items"], guards=WRITE, status_code=204,
       responses=PROBLEMS, operation_class=PatchOperation)  # fmt: skip
async def patch_item(request: Asked, server: TheServer, item_id: FromPath[str]) -> None:
    """Change fields of an item; null removes a field (RFC 7396)."""
    server.ready.check()
    await server.writes.patch("items", item_id, await request.body())


@delete(ITEM, operation_id="deleteItem", summary="Withdraw an item", tags=["items"], guards=WRITE, responses=PROBLEMS)
async def delete_item(server: TheServer, item_id: FromPath[str]) -> None:
    """Remove an item from the catalogue: no answer has it from now on."""
    await server.writes.remove("items", item_id)


@get(ITEM, operation_id="getItem", summary="The record of an item", tags=["items"], guards=[needs("read")],
     responses=PROBLEMS)  # fmt: skip
async def get_item(server: TheServer, item_id: FromPath[str]) -> Item:
    """Return the newest record of an item, shown or not."""
    return msgspec.msgpack.decode(_known(server, "items", item_id), type=Item)


@put(USER, operation_id="putUser", summary="Put a user", tags=["users"], guards=WRITE, status_code=204,
     responses=PROBLEMS, operation_class=UserOperation)  # fmt: skip
async def put_user(request: Asked, server: TheServer, user_id: FromPath[str]) -> None:
    """Write features and follows of a user. A user without events has a first list soon after."""
    await server.writes.put("users", user_id, await request.body())


@patch(USER, operation_id="patchUser", summary="Change a user", tags=["users"], guards=WRITE, status_code=204,
       responses=PROBLEMS, operation_class=PatchOperation)  # fmt: skip
async def patch_user(request: Asked, server: TheServer, user_id: FromPath[str]) -> None:
    """Change features and follows of a user; null removes a field (RFC 7396)."""
    server.ready.check()
    await server.writes.patch("users", user_id, await request.body())


@delete(USER, operation_id="forgetUser", summary="Forget a user", tags=["users"], guards=[needs("admin")],
        status_code=202, responses=PROBLEMS)  # fmt: skip
async def forget_user(server: TheServer, user_id: FromPath[str]) -> Forgotten:
    """Ask the workers to erase all that they hold of a user.

    They answer on the topic ``receipts`` under ``request_id``. Follows of other users, and rebuild
    runs, are the work of ``headrace forget``.
    """
    return await server.writes.forget(user_id)


@get(USER, operation_id="getUser", summary="The record of a user", tags=["users"], guards=[needs("read")],
     responses=PROBLEMS)  # fmt: skip
async def get_user(server: TheServer, user_id: FromPath[str]) -> User:
    """Return features and follows of a user.

    With pseudonyms, the ids of followed users are pseudonyms.
    """
    found = msgspec.msgpack.decode(_known(server, "users", user_id), type=User)
    found.user_id = user_id
    return found


def _known(server: TheServer, kind: Kind, entry_id: str) -> bytes:
    server.ready.check()
    value = server.writes.record(kind, entry_id)
    if value is None:
        raise unknown(kind, entry_id)
    return value


HANDLERS: Final = (
    post_events, put_item, patch_item, delete_item, get_item, put_user, patch_user, forget_user, get_user,
)  # fmt: skip
