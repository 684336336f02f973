"""An answer for a user of the shop: one or two short sentences, true, without numbers."""

from __future__ import annotations

from models.ranking.explaining.sentences import LANGUAGES, Language, Told
from models.ranking.explaining.sentences import sentences as told_sentences
from tools.oracle.why.answer import Answer

__all__ = ["LANGUAGES", "Language", "sentences"]


def sentences(answer: Answer, language: Language) -> str:
    """Return an answer for a user of the shop."""
    published, because, did = answer.published, None, None
    if published is not None and published.because is not None:
        because = published.because_title or published.because
        of_past = [one.type for one in answer.window.behaviours if one.item_id == published.because]
        did = of_past[-1] if answer.window.is_of_then and of_past else None
    told = Told(
        item=answer.title or answer.item_id,
        step=answer.step,
        sources=None if published is None else published.sources,
        because=because,
        did=did,
        degraded=answer.of_list.degraded,
        is_of_then=answer.window.is_of_then,
    )
    return told_sentences(told, language)
