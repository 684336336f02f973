"""An answer for a user of the shop: one or two short sentences, true, without numbers.

It names only items that the user had, and says nothing of other people, not even whom the user
follows: a sentence about few of them would tell what one of them did.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from tools.oracle.why.answer import Answer

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


def sentences(answer: Answer, language: Language) -> str:
    """Return an answer for a user of the shop."""
    if answer.published is None:
        return _said(_missing(answer), answer, language)
    kinds = [_listed(answer)]
    if "content" in answer.published.sources:
        kinds.append("new")
    return ("" if language == "zh" else " ").join(_said(kind, answer, language) for kind in kinds)


def _listed(answer: Answer) -> str:
    """Return the strongest reason that is true of a listed item."""
    published = answer.published
    if published is None or {"pin", "explore"} & published.sources.keys():
        return "rule"
    if published.because is not None:
        return "because"
    if published.sources.keys() <= {"popular"}:
        return "popular"
    return "suits" if answer.of_list.degraded == "newcomer" else "history"


def _missing(answer: Answer) -> str:
    if answer.step in _STEPS:
        return _STEPS[answer.step]
    if not answer.window.is_of_then:
        return "unsure"  # the reason of the newest window need not be that of then
    return "others-popular" if answer.of_list.degraded in ("popular", "newcomer") else "others"


def _said(kind: str, answer: Answer, language: Language) -> str:
    published = answer.published
    past = did = ""
    if published is not None and published.because is not None:
        past = _quoted(published.because_title or published.because)
        of_past = [one.type for one in answer.window.behaviours if one.item_id == published.because]
        is_known = answer.window.is_of_then and bool(of_past)
        did = (_DID.get(of_past[-1], _DID_OTHER) if is_known else _DID_OTHER)[language]
    return _WORDS[kind][language].format(it=_quoted(answer.title or answer.item_id), past=past, did=did)


def _quoted(title: str) -> str:
    return f"“{title}”"
