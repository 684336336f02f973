"""What readers read: every number for an engineer, none and nobody else for a user of the shop."""

from __future__ import annotations

import asyncio
import re
from typing import Any, get_args

import msgspec
import pytest

from tests.unit.tools.oracle.why.shop import Shop
from tools.oracle.why import engineer, shopper
from tools.oracle.why.answer import Answer, Step
from tools.oracle.why.explain import explain

pytestmark = pytest.mark.model

PAST = ("i03", "i09", "i01")


def answer_of(item_id: str | None = None) -> Answer:
    """Return an answer about a listed item, or about another one."""
    shop = Shop()
    made = shop.act(*PAST)
    assert made is not None
    return explain(asyncio.run(shop.find()), item_id or made.items[0].item_id)


@pytest.mark.parametrize("language", shopper.LANGUAGES)
@pytest.mark.parametrize("step", [step for step in get_args(Step) if step != "listed"])
def test_every_step_has_a_sentence_without_numbers(language: shopper.Language, step: Any) -> None:
    answer = msgspec.structs.replace(answer_of("n00"), step=step, title="Lamp")
    text = shopper.sentences(answer, language)
    assert "Lamp" in text or step == "unknown"
    assert not re.search(r"\d", text)
    assert text.endswith("。" if language == "zh" else ".")


@pytest.mark.parametrize(
    ("sources", "because", "degraded", "expected"),
    [
        (["retrieval"], "i01", "none", ("because you viewed “Chair”", "因为您浏览过“Chair”")),
        (["retrieval", "mf"], None, "none", ("interested you lately", "近期感兴趣")),
        (["popular"], None, "popular", ("popular in the shop", "很受欢迎")),
        (["social"], None, "newcomer", ("suits you", "适合您")),
        (["pin"], None, "none", ("The shop has given it this place", "由本店安排")),
        (["content"], "i01", "none", ("It is new here", "本店的新品")),
    ],
)
def test_a_listed_item_has_its_strongest_true_reason(
    sources: list[str], because: str | None, degraded: str, expected: tuple[str, str]
) -> None:
    """Never whom a user follows, and never what others did."""
    answer = answer_of()
    assert answer.published is not None
    published = msgspec.structs.replace(
        answer.published, sources=dict.fromkeys(sources, (1, 0.5)), because=because, because_title="Chair"
    )
    of_list = msgspec.structs.replace(answer.of_list, degraded=degraded)
    answer = msgspec.structs.replace(answer, published=published, of_list=of_list, title="Lamp")
    for language, part in zip(shopper.LANGUAGES, expected, strict=True):
        text = shopper.sentences(answer, language)
        assert part in text
        assert not re.search(r"\d|follow|others", text)


def test_an_engineer_reads_list_versions_window_sources_fusion_and_past_items() -> None:
    text = "\n".join(
        part if isinstance(part, str) else "\n".join([part.title, *(" ".join(row) for row in part.rows)])
        for part in engineer.lines(answer_of())
    )
    for part in ("is number 1 of 5", "versions: artifact", "window: revision 3", "sources of candidates", "fusion",
                 "of the mean candidate", "past items", "the list is the published one"):  # fmt: skip
        assert part in text
    missing = "\n".join(part for part in engineer.lines(answer_of("n00")) if isinstance(part, str))
    assert "is not among the 5" in missing
    assert "needed: " in missing
    assert "needed: " in missing


def test_json_has_the_whole_answer() -> None:
    found = msgspec.json.decode(msgspec.json.encode(answer_of().as_dict()))
    assert found["list"]["n_items"] == 5
    assert found.keys() >= {"step", "versions", "window", "known", "published", "sources", "fusion", "rules",
                            "pulled_by", "needed", "recomputed", "notes"}  # fmt: skip
