"""What changes while the stream runs: rules, popularity, followed users, items that come back."""

from __future__ import annotations

import asyncio

import pytest

from streams.contract.records import Recommendation, User
from tests.support import tiny_models
from tests.unit.tools.oracle.why.shop import USER, Shop
from tools.oracle.why.answer import Answer
from tools.oracle.why.explain import TOLERANCE, explain

pytestmark = pytest.mark.model

PAST = ("i03", "i09", "i01")


def answers(shop: Shop, made: Recommendation | None, *others: str) -> dict[str, Answer]:
    """Return why each item of the newest list is there, and others are not; all must be equal."""
    assert made is not None and made.items
    case = asyncio.run(shop.find(made.user_id))
    found = {item_id: explain(case, item_id) for item_id in (*(item.item_id for item in made.items), *others)}
    for item in made.items:
        recomputed = found[item.item_id].recomputed
        assert recomputed is not None and recomputed.equal, recomputed
        assert recomputed.score == pytest.approx(item.score, abs=TOLERANCE)
    return found


def test_rules_that_deny_weigh_and_pin_an_item_are_named_as_the_document_names_them() -> None:
    shop = Shop()
    free = shop.act(*PAST)
    assert free is not None
    first, second, third, *_ = (item.item_id for item in free.items)
    of_two = [item_id for item_id in shop.items if item_id[1:].isdigit() and int(item_id[1:]) % 3 == 2]
    shop.put_rules(
        f'deny = ["{first}"]\n[filters]\nnot_categories = ["c2"]\n'
        f'[[boosts]]\nitems = ["{second}"]\nfactor = 2.0\n'
        '[[pins]]\nitem = "n01"\nplace = 2\n[caps]\nc1 = 2\n'
    )
    found = answers(shop, shop.act("i04"), first, *of_two)
    assert (found[first].step, found[first].detail.split(": ")[1].split(", ")[0]) == ("rule", "deny")
    denied = {item_id: answer for item_id, answer in found.items() if item_id in of_two and item_id != first}
    assert {answer.step for answer in denied.values()} <= {"rule", "had"}
    assert any(answer.detail.endswith("filters.not_categories") for answer in denied.values())
    assert {"rule": "pins[1]", "place": 2} in found["n01"].rules and found["n01"].listed
    assert {"rule": "caps.c1", "most": 2} in found["n01"].rules
    if second in found and found[second].listed:
        assert {"rule": "boosts[1]", "factor": 2.0} in found[second].rules
    assert third not in found or not found[third].rules or found[third].rules[0]["rule"] == "caps.c1"


def test_popularity_of_then_is_counted_again_from_the_windows_of_all_users() -> None:
    """Later windows, of others and of the user, do not count."""
    shop = Shop(LIVE_POPULARITY="on")
    for number in range(12):
        shop.act(f"i{number:02}", "i20", user=f"other{number}")
    made = shop.act(*PAST)
    for number in range(12):
        shop.act("i21", f"i{number:02}", user=f"other{number}")
    found = answers(shop, made)
    for answer in found.values():
        assert answer.recomputed is not None
        assert answer.recomputed.popularity == "recounted"
        assert (answer.recomputed.popularity_difference or 0.0) <= TOLERANCE
    assert made is not None and any("popular" in item.sources for item in made.items)


def test_followed_users_bring_items_as_they_were_at_the_time() -> None:
    """The followed users' later vectors say nothing of the list before."""
    shop = Shop(tiny_models.homophily_artifact())
    for number, item in enumerate(("i00", "i04", "i08")):
        shop.act(item, "i12", f"i{16 + 4 * number}", user=f"friend{number}")
    friends = [f"friend{number}" for number in range(3)]
    shop.put_user(User(1, USER, {"group": "g0"}, friends))
    made = shop.act("i20")
    for friend in friends:
        shop.act("i01", "i05", "i09", user=friend)
    found = answers(shop, made)
    assert any("social" in item.sources for item in (made.items if made is not None else ()))
    for answer in found.values():
        assert (answer.known.users_offset, answer.known.is_of_then, answer.known.n_follows) == (0, True, 3)
        brought = {one.source: one.rank for one in answer.sources if one.brought}
        assert answer.published is not None
        assert brought == {name: rank for name, (rank, _) in answer.published.sources.items()}


def test_an_item_that_comes_back_is_explained_and_one_that_may_not_is_had() -> None:
    shop = Shop()
    shop.put_rules('[repeats]\ndefault = "always"\n')
    made = shop.act(*PAST, "i09", "i03")
    found = answers(shop, made, *PAST)
    again = {item_id: answer for item_id, answer in found.items() if item_id in PAST}
    assert "had" not in {answer.step for answer in again.values()}
    assert any(one.source == "again" and one.brought for answer in again.values() for one in answer.sources)
    shop.put_rules('[repeats]\ndefault = "never"\n')
    found = answers(shop, shop.act("i01"), *PAST)
    assert {found[item_id].step for item_id in PAST} == {"had"}
