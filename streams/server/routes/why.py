"""``GET /v1/users/{user_id}/why/{item_id}``: why an item is in a user's list, or is not."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import FromPath, QueryParameter

from models.ranking.explaining.sentences import Language
from streams.server.gate.callers import needs
from streams.server.gate.problems import bad_value
from streams.server.lists.answers import MAX_N, check_id
from streams.server.parts.server import TheServer
from streams.server.parts.why import Reader, WhyAnswer, WhyQuestion, place_in
from streams.server.routes.pushed_lists import PROBLEMS


@get("/v1/users/{user_id:str}/why/{item_id:str}", operation_id="why", summary="Why an item is in a user's list, or not",
     tags=["lists"], guards=[needs("read")], responses=PROBLEMS)  # fmt: skip
async def why(
    server: TheServer,
    user_id: FromPath[str],
    item_id: FromPath[str],
    reader: Annotated[
        Reader,
        QueryParameter(name="for", description="`engineer`: every number; `user`: a sentence for a user of the shop"),
    ] = "engineer",
    language: Annotated[
        Language | None, QueryParameter(description="of the sentence for a user; `en` without it")
    ] = None,
) -> WhyAnswer:
    """Explain the list that this server would make now of the user's newest window.

    It has as many items as the user's pushed list. ``pushed`` names that list, and the item's place
    in it.
    """
    server.ready.check()
    check_id("user_id", user_id)
    check_id("item_id", item_id)
    if language is not None and reader != "user":
        raise bad_value("language", f"{language}, is for sentences alone", "add for=user, or leave language out")
    pushed = await server.lists.stored(user_id)
    n = 0 if pushed is None else len(pushed.items)
    asked = WhyQuestion(
        user_id, item_id, min(n, MAX_N) or server.settings.recommender.list_size, reader, language or "en"
    )
    found = await server.ranker.why(server.lists.key_of(user_id), asked)
    if pushed is not None:
        found.pushed = place_in(pushed, item_id, with_numbers=reader == "engineer")
    return found
