"""An answer for a user of the shop: one or two short sentences, true, without numbers.

It names only items that the user had, and says nothing of other people, not even whom the user
follows: a sentence about few of them would tell what one of them did.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal, get_args

from models.ranking.explaining.answer import Step

Language = Literal["en", "zh"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)

#: Sentences by what they say; ``{it}`` is the item, ``{past}`` one that the user had.
_WORDS: Final[dict[str, dict[Language, str]]] = {
    "because": {
        "en": "We suggest {it} because you {did} {past}.",
        "zh": "为您推荐{it}，因为您{did}过{past}。",
    },
    "suits": {
        "en": "We suggest {it} because we think that it suits you.",
        "zh": "为您推荐{it}，因为我们认为它适合您。",
    },
    "history": {
        "en": "We suggest {it} because it fits what interested you lately.",
        "zh": "为您推荐{it}，因为它与您近期感兴趣的商品相符。",
    },
    "popular": {
        "en": "We suggest {it} because it is popular in the shop at the moment.",
        "zh": "为您推荐{it}，因为它近期在本店很受欢迎。",
    },
    "new": {"en": "It is new here.", "zh": "它是本店的新品。"},
    "rule": {"en": "The shop has given it this place.", "zh": "该位置由本店安排。"},
    "unavailable": {
        "en": "{it} was not on offer when we made your suggestions.",
        "zh": "在生成推荐时，{it}未在售。",
    },
    "unknown": {"en": "We know no item with this name.", "zh": "我们没有找到该商品。"},
    "had": {
        "en": "{it} is not among your suggestions because you already know it.",
        "zh": "您之前已经关注过{it}，因此没有再次推荐。",
    },
    "refused": {
        "en": "{it} is not among your suggestions because you asked us not to show it.",
        "zh": "您曾要求不再显示{it}，因此没有推荐。",
    },
    "others": {
        "en": "{it} is not among your suggestions because other items fit what interested you lately better.",
        "zh": "其他商品与您近期的兴趣更相符，因此没有推荐{it}。",
    },
    "others-popular": {
        "en": "{it} is not among your suggestions because we do not know your taste well yet.",
        "zh": "我们还不够了解您的喜好，因此没有推荐{it}。",
    },
    "shop": {
        "en": "{it} is not among your suggestions because the shop does not show it there.",
        "zh": "本店目前没有将{it}列入推荐。",
    },
    "unsure": {
        "en": "We can no longer tell why {it} is not among these suggestions.",
        "zh": "我们已无法说明为何没有推荐{it}。",
    },
}
_DID: Final[dict[str, dict[Language, str]]] = {
    "view": {"en": "viewed", "zh": "浏览"},
    "click": {"en": "clicked on", "zh": "点击"},
    "purchase": {"en": "bought", "zh": "购买"},
}
_DID_OTHER: Final[dict[Language, str]] = {"en": "were interested in", "zh": "关注"}
_STEPS: Final = {
    "unknown": "unknown",
    "not-yet": "unavailable",
    "removed": "unavailable",
    "withdrawn": "unavailable",
    "unpublished": "unavailable",
    "expired": "unavailable",
    "left-out": "unavailable",
    "had": "had",
    "refused": "refused",
    "rule": "shop",
    "no-window": "unsure",
    "recomputed-only": "unsure",
}


@dataclass(frozen=True)
class Told:
    """What the sentences are made of.

    Parameters
    ----------
    item : title of the item, else its id
    sources : what brought a listed item; None for an item that is not listed
    because : title, else id, of the past item that is the reason; None for none
    did : type of the user's last behaviour on that past item; None where it is not known
    degraded : what the list was made without
    is_of_then : whether the window is the one that made the list
    """

    item: str
    step: Step
    sources: Collection[str] | None
    because: str | None
    did: str | None
    degraded: str
    is_of_then: bool = True


def sentences(told: Told, language: Language) -> str:
    """Return an answer for a user of the shop."""
    if told.sources is None:
        return _said(_missing(told), told, language)
    kinds = [_listed(told, told.sources)]
    if "content" in told.sources:
        kinds.append("new")
    return ("" if language == "zh" else " ").join(_said(kind, told, language) for kind in kinds)


def _listed(told: Told, sources: Collection[str]) -> str:
    """Return the strongest reason that is true of a listed item."""
    if {"pin", "explore"} & set(sources):
        return "rule"
    if told.because is not None:
        return "because"
    if set(sources) <= {"popular"}:
        return "popular"
    return "suits" if told.degraded == "newcomer" else "history"


def _missing(told: Told) -> str:
    if told.step in _STEPS:
        return _STEPS[told.step]
    if not told.is_of_then:
        return "unsure"  # the reason of the newest window need not be that of then
    return "others-popular" if told.degraded in ("popular", "newcomer") else "others"


def _said(kind: str, told: Told, language: Language) -> str:
    past = "" if told.because is None else _quoted(told.because)
    did = (_DID_OTHER if told.did is None else _DID.get(told.did, _DID_OTHER))[language]
    return _WORDS[kind][language].format(it=_quoted(told.item), past=past, did=did)


def _quoted(title: str) -> str:
    return f"“{title}”"
