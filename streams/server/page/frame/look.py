"""In which language and colours a visitor sees the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

LANGUAGES: Final[dict[str, str]] = {"en": "English", "zh": "中文"}
THEMES: Final = ("auto", "light", "dark")
#: The language tag of the document: it chooses the glyphs of Chinese characters.
TAGS: Final[dict[str, str]] = {"en": "en", "zh": "zh-Hans"}
LANGUAGE_NAME: Final = "language"
THEME_NAME: Final = "theme"
#: The cookies have the names of the parameters behind this.
COOKIE_PREFIX: Final = "headrace-"
MAX_ACCEPTED: Final = 20


class Look(NamedTuple):
    """A visitor's language and theme; ``auto`` follows the visitor's system."""

    language: str
    theme: str

    @property
    def tag(self) -> str:
        """The language tag of the document."""
        return TAGS[self.language]


def look_of(query: Mapping[str, str], cookies: Mapping[str, str], accept_language: str) -> Look:
    """Return what a visitor chose: by a link just now, else before, else in the browser."""
    language = _chosen(LANGUAGE_NAME, LANGUAGES, query, cookies) or accepted(accept_language)
    return Look(language, _chosen(THEME_NAME, THEMES, query, cookies) or "auto")


def _chosen(
    name: str, allowed: Mapping[str, str] | tuple[str, ...], query: Mapping[str, str], cookies: Mapping[str, str]
) -> str:
    for value in (query.get(name), cookies.get(COOKIE_PREFIX + name)):
        if value in allowed:
            return str(value)
    return ""


def accepted(header: str) -> str:
    """Return the language of a header ``Accept-Language`` that the page has; else English."""
    best, best_weight = "en", 0.0
    for part in header.split(",")[:MAX_ACCEPTED]:
        tag, _, parameter = part.strip().partition(";")
        language = tag.strip().lower().partition("-")[0]
        weight = _weight(parameter)
        if language in LANGUAGES and weight > best_weight:
            best, best_weight = language, weight
    return best


def _weight(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(1.0, max(0.0, float(value)))
    except ValueError:
        return 0.0
