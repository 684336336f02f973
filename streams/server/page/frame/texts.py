"""The page's texts by language, from ``locales/``."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent.parent / "locales"

#: Returns the text of a key, with its ``{names}`` filled in.
Texts = Callable[..., str]


@cache
def locale(language: str) -> dict[str, str]:
    """Return all texts of a language by key."""
    found: dict[str, str] = json.loads((FOLDER / f"{language}.json").read_text("utf-8"))
    return found


def texts_of(language: str) -> Texts:
    """Return the function that gives the texts of a language."""
    known = locale(language)

    def text(key: str, **values: object) -> str:
        return known[key].format(**values) if values else known[key]

    return text


def text_or(language: str, key: str, otherwise: str) -> str:
    """Return a text; ``otherwise`` where the language has none of this key."""
    return locale(language).get(key, otherwise)
