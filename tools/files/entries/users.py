"""Reads the users of files as the contract's ``User``: their features and follows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from streams.contract.records import User
from streams.errors import RecordError
from streams.formats.values import id_text
from tools.files.cells.lists import SEPARATOR
from tools.files.entries.reader import EntryFiles, Kind, Row
from tools.files.file_options import FileOptions

USER_FIELDS: Final = ("user_id", "features", "follows")


def user_files(
    paths: Sequence[Path], options: FileOptions, *, separator: str = SEPARATOR, prefix: str = ""
) -> EntryFiles[User]:
    """Return files of users.

    ``follows`` lists user ids, see :func:`~tools.files.cells.lists.list_of`. Each id counts once,
    and the user's own id does not count. A file may have a line for each pair of a user and one
    whom the user follows: the lines of a user add up.
    """
    return EntryFiles(_USERS, paths, options, separator, prefix)


def as_fields(users: dict[str, User]) -> dict[str, dict[str, Any]]:
    """Return features and follows of users by id; either may be empty."""
    return {key: {"features": user.features or {}, "follows": user.follows or []} for key, user in users.items()}


def _fields(user_id: str, row: Row) -> dict[str, Any]:
    follows: dict[str, None] = {}
    for raw in row.parts("follows"):
        try:
            follows[id_text("follows", raw)] = None
        except RecordError:
            row.leave_out("follows", "hold no user id", raw)
    follows.pop(user_id, None)
    fields = {"features": row.features(), "follows": list(follows)}
    return {name: value for name, value in fields.items() if value}


def _added(before: dict[str, Any], row: dict[str, Any]) -> dict[str, Any] | None:
    """Return a user with the follows of one more row; None for a row without follows."""
    if "follows" not in row:
        return None
    return {**before, **row, "follows": list(dict.fromkeys([*before.get("follows", ()), *row["follows"]]))}


_USERS: Final = Kind("user", User, USER_FIELDS, ("user_id",), _fields, "follow-separator", _added)
