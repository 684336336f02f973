"""Reads the users of a file: their features and follows, as fields of the contract's ``User``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from streams.errors import InputError
from tools.files.file_options import FileOptions, shown_paths
from tools.files.item_reader import feature_columns, id_value, list_value, read_features
from tools.files.raw_rows import raw_rows

USER_FIELDS: Final = ("user_id", "features", "follows")


def read_users(paths: Sequence[Path], options: FileOptions) -> dict[str, dict[str, Any]]:
    """Return the users of some files by id, each with ``features`` and ``follows``, which may be empty.

    ``features`` maps names to numbers or texts, see :func:`~tools.files.item_reader.read_features`.
    ``follows`` lists user ids: the file has a list, or a text that is cut at ``|``. Each id counts
    once, and the user's own id does not count. Of two entries with one id the last one counts.

    Parameters
    ----------
    options : in its columns, ``features.NAME`` names a feature. For MovieLens-100K's ``u.user``:
        ``user_id=0,features.age=1,features.gender=2,features.occupation=3``

    Raises
    ------
    InputError
        When a file cannot be read, lacks the column of the ids or a named column, or has no
        users.
    """
    users: dict[str, dict[str, Any]] = {}
    names = (*USER_FIELDS, *feature_columns(options.columns_map()))
    for _file, _line, values in raw_rows(paths, options, names, ("user_id",)):
        if isinstance(values, str):
            continue
        raws = dict(zip(names, values, strict=True))
        user_id = id_value(raws["user_id"])
        if user_id:
            follows = dict.fromkeys(list_value(raws["follows"]))
            follows.pop(user_id, None)
            users[user_id] = {"features": read_features(raws), "follows": list(follows)}
    if not users:
        raise InputError(
            f"{shown_paths(paths)}: no users; map the columns with user_id=NAME,features.age=NAME,follows=NAME"
        )
    return users
