"""Which list, and which window: by id, by place, kept, folded again from events, or gone."""

from __future__ import annotations

import asyncio

import pytest

from streams.errors import InputError
from tests.unit.tools.oracle.why.shop import USER, Shop
from tools.oracle.why.explain import explain
from tools.oracle.why.published import Place, place_of

pytestmark = pytest.mark.model

PAST = ("i03", "i09", "i01")


def test_the_newest_list_is_found_and_every_other_by_its_id_or_place() -> None:
    shop = Shop()
    shop.act(*PAST)
    newest = asyncio.run(shop.find())
    assert newest.record.revision == 3
    for record in shop.topics.records["recommendations"]:
        case = asyncio.run(shop.find(place=Place("recommendations", 0, record.offset)))
        assert case.published.offset == record.offset
        assert asyncio.run(shop.find(list_id=case.record.list_id)).published == case.published
        assert asyncio.run(shop.find(place=Place("events", 0, case.record.offset))).published == case.published
        assert asyncio.run(shop.find(place=Place(None, 0, record.offset))).published == case.published


def test_an_event_without_a_list_leads_to_the_first_list_that_holds_it() -> None:
    shop = Shop()
    shop.act("i03", "i09", makes_list=False)
    shop.act("i01", "i05")
    assert asyncio.run(shop.find(place=Place("events", 0, 0))).record.revision == 3


def test_a_place_of_two_lists_must_be_named() -> None:
    """Offset 1 is that of the second list, and of the event that brought the first one."""
    shop = Shop()
    shop.act("i03", user="u2", makes_list=False)
    shop.act(*PAST)
    with pytest.raises(InputError, match="--at recommendations:0:1 or --at events:0:1"):
        asyncio.run(shop.find(place=Place(None, 0, 1)))


def test_who_is_unknown_and_what_is_not_there_is_said_with_a_remedy() -> None:
    shop = Shop()
    shop.act("i03", user="u2", makes_list=False)
    shop.act(*PAST)
    with pytest.raises(InputError, match="neither a list nor a window"):
        asyncio.run(shop.find("nobody"))
    with pytest.raises(InputError, match="has a window, but recommendations holds no list"):
        asyncio.run(shop.find("u2"))
    with pytest.raises(InputError, match="--list x: user u1 has no such list"):
        asyncio.run(shop.find(list_id="x"))
    with pytest.raises(InputError, match="recommendations-0 holds offsets 0 to 2"):
        asyncio.run(shop.find(place=Place("recommendations", 0, 99)))
    with pytest.raises(InputError, match="are in partition 0"):
        asyncio.run(shop.find(place=Place(None, 1, 0)))


@pytest.mark.parametrize("text", ["", "3", "3:", "a:1", "-1:2", "items:1:2", "1:2:3"])
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="must be PARTITION:OFFSET"):
        place_of(text)


def test_a_window_that_compaction_removed_is_folded_from_events() -> None:
    """From the first event, and from an older window; the list made again is the published one."""
    shop = Shop()
    shop.act(*PAST, "i05", "i07")
    list_ids = [asyncio.run(shop.find(place=Place("recommendations", 0, i))).record.list_id for i in range(5)]
    shop.compact("sequences")
    case = asyncio.run(shop.find(list_id=list_ids[2]))
    assert case.window.origin == "events"
    assert case.window.is_of_then
    assert [item.item_id for item in case.window.state.items] == list(PAST)  # type: ignore[union-attr]
    answer = explain(case, case.record.items[0].item_id)
    assert answer.recomputed is not None
    assert answer.recomputed.equal

    other = Shop()
    other.act(*PAST, "i05", "i07")
    other.compact("sequences", kept=(1,))
    case = asyncio.run(other.find(list_id=list_ids[3]))
    assert case.window.origin == "sequences and events"
    assert [item.item_id for item in case.window.state.items] == [*PAST, "i05"]  # type: ignore[union-attr]


def test_a_window_that_is_gone_gives_way_to_the_newest_and_the_answer_says_so() -> None:
    shop = Shop()
    shop.act(*PAST, "i05", "i07")
    first = asyncio.run(shop.find(place=Place("recommendations", 0, 2)))
    shop.compact("sequences")
    shop.topics.begins["events"] = 1
    case = asyncio.run(shop.find(list_id=first.record.list_id))
    assert (case.window.origin, case.window.is_of_then) == ("newest", False)
    answer = explain(case, "i07")
    assert not answer.window.is_of_then
    assert answer.window.revision == 5
    assert any("is gone from sequences" in note for note in answer.notes)
    assert answer.recomputed is not None
    assert answer.recomputed.equal or "the window of then is gone" in answer.recomputed.reasons[0]


def test_windows_before_a_removal_say_nothing_of_the_life_after_it() -> None:
    shop = Shop()
    shop.act(*PAST)
    made = asyncio.run(shop.find())
    records = shop.topics.records["sequences"]
    shop.topics.records["sequences"] = records[:2]
    shop.topics.put("sequences", USER, None, records[1].timestamp)
    case = asyncio.run(shop.find(list_id=made.record.list_id))
    assert case.window.state is None
    answer = explain(case, "n00")
    assert answer.step == "no-window"
    assert answer.recomputed is None
