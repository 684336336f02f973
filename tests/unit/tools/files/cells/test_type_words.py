"""Guesses of event types for the hint of ``--types``."""

from __future__ import annotations

import pytest

from tools.files.cells.type_words import guess_type, map_types

USUAL = ("click", "view", "purchase")


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("购买", "purchase"), ("下单", "purchase"), ("支付", "purchase"), ("成交", "purchase"), ("buy", "purchase"),
        ("Transaction", "purchase"), ("浏览", "view"), ("查看", "view"), ("pv", "view"), ("page_view", "view"),
        ("点击", "click"), ("addtocart", "click"), ("加购", "click"), (" VIEW ", "view"), ("shrug", None), ("曝光", None),
    ],
)  # fmt: skip
def test_words_of_shops(word: str, kind: str | None) -> None:
    """The usual three types have a place for what shops count; an exposure is none of them."""
    assert guess_type(word, USUAL) == kind


def test_a_nearer_type_is_preferred_where_the_table_has_it() -> None:
    """With a type for carts, a cart is no click."""
    assert guess_type("加购", (*USUAL, "cart")) == "cart"
    assert guess_type("收藏", (*USUAL, "favorite")) == "favorite"
    assert guess_type("曝光", (*USUAL, "impression")) == "impression"


def test_the_mapping_can_be_typed_as_it_stands() -> None:
    """Only a word without a guess leaves something to fill in."""
    assert map_types(["buy", "pv"], USUAL) == "buy=purchase,pv=view"
    assert map_types(["buy", "x"], USUAL) == "buy=purchase,x=TYPE, with one of click, view, purchase for TYPE"
