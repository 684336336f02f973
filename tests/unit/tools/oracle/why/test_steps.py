"""Where an item falls out: each step, with what it would have needed; and the list made again."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from models.base.event_types import EventTypes
from streams.contract.records import Item
from tests.support.builders import T0
from tests.unit.tools.oracle.why.shop import DELAY_MS, USER, Shop
from tools.oracle.why.answer import Answer
from tools.oracle.why.case import Case
from tools.oracle.why.explain import TOLERANCE, explain

pytestmark = pytest.mark.model

PAST = ("i03", "i09", "i01")


def answered(shop: Shop, item_id: str) -> Answer:
    """Return why an item is, or is not, in the user's newest list."""
    return explain(asyncio.run(shop.find()), item_id)


def test_a_listed_item_has_everything_that_made_it() -> None:
    """Published and recomputed score, sources, contributions that sum, and past items."""
    shop = Shop()
    made = shop.act(*PAST)
    assert made is not None
    for rank, item in enumerate(made.items, 1):
        answer = answered(shop, item.item_id)
        assert (answer.listed, answer.step, answer.needed) == (True, "listed", [])
        assert answer.title == f"Title {item.item_id} group{int(item.item_id[1:]) % 3}"
        assert answer.published is not None
        assert (answer.published.rank, answer.published.score) == (rank, item.score)
        assert answer.recomputed is not None
        assert answer.recomputed.equal
        assert (answer.recomputed.rank, answer.recomputed.reasons) == (rank, [])
        assert answer.recomputed.score == pytest.approx(item.score, abs=TOLERANCE)
        assert {one.source for one in answer.sources if one.brought} == item.sources.keys()
        assert answer.fusion is not None
        adds = sum(one.adds for one in answer.fusion.groups)
        assert adds == pytest.approx(answer.fusion.logit - answer.fusion.baseline, abs=1e-9)
        assert answer.fusion.probability == pytest.approx(item.score, abs=TOLERANCE)
        assert sorted(one.item_id for one in answer.pulled_by) == sorted(PAST)
    assert answer.window.is_of_then
    assert [one.item_id for one in answer.window.behaviours] == list(PAST)
    assert (answer.window.origin, answer.window.revision) == ("sequences", 3)


def test_an_item_that_nobody_knows() -> None:
    shop = Shop()
    shop.act(*PAST)
    answer = answered(shop, "x")
    assert (answer.listed, answer.step, answer.title) == (False, "unknown", None)
    assert "headrace items list" in answer.detail
    assert (answer.sources, answer.fusion, answer.pulled_by) == ([], None, [])


def test_an_item_that_came_later_and_one_that_went_before() -> None:
    shop = Shop()
    shop.put_item("i05", T0)
    shop.act(*PAST)
    shop.now_ms += 10 * DELAY_MS
    shop.put_item(Item(1, "later", "Later"))
    shop.put_item("i06")
    assert answered(shop, "i05").step == "removed"
    assert answered(shop, "later").step == "not-yet"
    assert answered(shop, "i06").step in ("listed", "outranked", "no-candidate"), "it was removed after the list"


def test_hidden_items_say_by_what() -> None:
    shop = Shop()
    at_ms = T0 + 86_400_000
    shop.put_item(Item(1, "i05", "Five", available=False), T0)
    shop.put_item(Item(1, "i06", "Six", published_ts=at_ms), T0)
    shop.put_item(Item(1, "i07", "Seven", expires_ts=T0 + 1), T0)
    shop.act(*PAST)
    answers = {item_id: answered(shop, item_id) for item_id in ("i05", "i06", "i07")}
    assert [one.step for one in answers.values()] == ["withdrawn", "unpublished", "expired"]
    assert "2023-11-15" in answers["i06"].detail
    assert answers["i06"].needed[0].what == "published_ts before the list"
    assert all(one.recomputed is not None and one.recomputed.equal for one in answers.values())


def test_what_the_user_had_says_when() -> None:
    """In the window with its time; before it without."""
    shop = Shop(WINDOW_MAX_EVENTS="2")
    shop.act(*PAST)
    inside, before = answered(shop, "i01"), answered(shop, "i03")
    assert (inside.step, before.step) == ("had", "had")
    assert "last as view at 2023-11-14 22:16:20 UTC" in inside.detail
    assert "left the window" in before.detail
    assert inside.window.n_seen == 1


def test_what_the_user_asked_not_to_see() -> None:
    types = {
        "view": {"weight": 1.0, "positive": True, "window": True},
        "dislike": {"weight": 0.0, "positive": False, "window": False, "hides": True},
    }
    shop = Shop(EVENT_TYPES=msgspec.json.encode(types).decode())
    assert isinstance(shop.settings.sequencer.types(), EventTypes)
    shop.act("i03", "i09")
    shop.act("i05", type="dislike")
    answer = answered(shop, "i05")
    assert answer.step == "refused"
    assert answer.window.n_hidden == 1


def test_an_item_that_no_source_brought_says_what_each_would_have_needed() -> None:
    """The score of the last item that the source brought; the item's own is at or below it."""
    shop = Shop()
    shop.act(*PAST)
    missing = [one for i in range(60) if (one := answered(shop, f"n{i:02}")).step == "no-candidate"]
    assert missing
    for answer in missing:
        assert not any(one.brought for one in answer.sources)
        assert (answer.fusion, answer.pulled_by) == (None, [])
        by_source = {one.source: one for one in answer.needed}
        content = by_source["content"]
        assert content.score is not None
        assert content.needed is not None
        assert content.score <= content.needed
        assert content.rank is not None
        assert content.rank > 6 + len(PAST)
        assert "events in training" in by_source["mf"].what


def test_an_outranked_candidate_has_its_place_and_the_score_that_it_lacked() -> None:
    shop = Shop()
    made = shop.act(*PAST)
    assert made is not None
    ids = [*shop.items]
    found = [one for item_id in ids if (one := answered(shop, item_id)).step == "outranked"]
    assert found
    for answer in found:
        (needed,) = answer.needed
        assert needed.rank is not None
        assert needed.rank > len(made.items)
        assert needed.score is not None
        assert needed.score <= made.items[-1].score
        assert needed.needed == made.items[-1].score
        assert answer.fusion is not None
        assert answer.fusion.rank == needed.rank
        assert all(one.last_listed_adds is not None for one in answer.fusion.groups)
    ranks = sorted(one.needed[0].rank or 0 for one in found)
    assert ranks == list(range(len(made.items) + 1, len(made.items) + 1 + len(ranks)))


def test_every_item_of_the_catalogue_falls_out_at_one_step() -> None:
    shop = Shop()
    made = shop.act(*PAST)
    assert made is not None
    steps = {item_id: answered(shop, item_id).step for item_id in shop.items}
    assert {i for i, step in steps.items() if step == "listed"} == {item.item_id for item in made.items}
    assert {i for i, step in steps.items() if step == "had"} == set(PAST)
    assert set(steps.values()) == {"listed", "had", "no-candidate", "outranked"}


def test_a_list_without_a_window_holds_popular_items() -> None:
    shop = Shop()
    made = shop.act("unheard-of")
    assert made is not None
    assert made.degraded == "popular"
    answer = answered(shop, made.items[0].item_id)
    assert answer.fusion is None
    assert [one.source for one in answer.sources if one.brought] == ["popular"]
    assert answer.recomputed is not None
    assert answer.recomputed.equal
    assert any("popular items" in note for note in answer.notes)


def test_a_list_that_differs_says_by_how_much_and_why() -> None:
    """A published score that the artifact does not give, with an item that it would not list."""
    shop = Shop()
    shop.act(*PAST, makes_list=False)
    state = shop.states[USER]
    assert state is not None
    made = shop.make_list(USER, state)
    foreign = msgspec.structs.replace(made.items[-1], item_id="n00", score=0.5)
    changed = [msgspec.structs.replace(made.items[0], score=made.items[0].score + 0.125), *made.items[1:-1], foreign]
    shop.make_list(USER, state, items=changed)
    answer = answered(shop, made.items[-1].item_id)
    assert answer.step == "recomputed-only"
    assert answer.recomputed is not None
    assert not answer.recomputed.equal
    assert answer.recomputed.greatest_difference > 0.125
    assert answer.recomputed.published_alone == ["n00"]
    assert answer.recomputed.reasons
    first = answered(shop, made.items[0].item_id)
    assert first.published is not None
    assert first.recomputed is not None
    assert first.recomputed.score == pytest.approx(first.published.score - 0.125, abs=TOLERANCE)


def test_items_that_changed_since_are_named() -> None:
    """The record of then is compacted away: the later one stands for it, and the answer says so."""
    shop = Shop()
    made = shop.act(*PAST)
    assert made is not None
    item = made.items[0].item_id
    shop.history.records[item] = [(shop.now_ms + 86_400_000, Item(1, item, "Another title"))]
    answer = answered(shop, item)
    assert answer.versions.items_replaced_since == [item]
    assert answer.listed


@pytest.mark.parametrize("degraded", ["mf-only", "popular"])
def test_a_provisional_list_is_made_again_without_the_model(degraded: str) -> None:
    """An item that it does not hold has its place in the source that it was made of."""
    shop = Shop()
    past = PAST if degraded == "mf-only" else ("unheard-of",)
    shop.act(*past, makes_list=False)
    state = shop.states[USER]
    assert state is not None
    case = asyncio.run(_provisional(shop, degraded))
    made = case.fallback
    assert made is not None
    items = {item.item_id: item.score for item in made[1].items}
    assert {item.item_id: item.score for item in case.record.items} == pytest.approx(items)
    outside = next(item for item in made[0].items if item.item_id not in items)
    answer = explain(case, outside.item_id)
    assert answer.step == "outranked"
    assert answer.needed[0].rank == len(items) + 1
    assert answer.fusion is None


async def _provisional(shop: Shop, degraded: str) -> Case:
    """Put a provisional list on the topic, made as a recommender makes it, and open it."""
    state = shop.states[USER]
    assert state is not None
    shop.make_list(USER, state, degraded=degraded, provisional=True)
    case = await shop.find()
    assert case.fallback is not None
    items = [
        msgspec.structs.replace(case.record.items[0], item_id=item.item_id, score=item.score)
        for item in case.fallback[1].items
    ]
    shop.make_list(USER, state, degraded=degraded, provisional=True, items=items)
    return await shop.find()


def test_a_list_of_a_vector_that_is_gone_cannot_be_made_again() -> None:
    shop = Shop()
    shop.act(*PAST, makes_list=False)
    state = shop.states[USER]
    assert state is not None
    shop.make_list(USER, state, degraded="stale-vector", provisional=True)
    answer = answered(shop, "n00")
    assert answer.recomputed is None
    assert "the vector of then is gone" in " ".join(answer.notes)
