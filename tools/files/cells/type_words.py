"""Guesses which of headrace's event types a shop's own word means, for a hint to the user."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

#: What stands where no type can be guessed; the user puts a type in its place.
UNKNOWN: Final = "TYPE"
#: Types that a word may mean, the nearest first, and the words. A word counts where a type that it
#: may mean is known.
_MEANINGS: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    (
        ("purchase", "buy", "order"),
        "purchase purchases purchased buy bought buys order orders ordered checkout_completed order_completed "
        "transaction transactions pay paid payment sale sales sold conversion checkout 购买 下单 支付 成交 付款 订单 已购买 买 "
        "購買 結帳 compra achat kauf",
    ),
    (
        ("cart", "add_to_cart", "addtocart", "click"),
        "cart carts add_to_cart addtocart add-to-cart basket add_to_basket product_added add 加购 加购物车 加入购物车 "
        "购物车 加購",
    ),
    (
        ("favorite", "favourite", "collect", "like", "wishlist", "click"),
        "fav favs favorite favourite favorites wishlist add_to_wishlist collect bookmark save saved 收藏 关注 想要",
    ),
    (("like", "favorite", "click"), "like likes liked upvote thumbs_up 点赞 喜欢 赞"),
    (("dislike",), "dislike disliked downvote thumbs_down 不喜欢 踩"),
    (("skip",), "skip skipped skips 跳过"),
    (
        ("impression", "exposure", "show"),
        "impression impressions impr show shown exposure exposed display 曝光 展示 展现",
    ),
    (("play", "view"), "play played plays listen listened stream watch watched 播放 观看 收听"),
    (("rating", "view"), "rating rate rated ratings review reviewed 评分 评价 评论"),
    (("click", "view"), "click clicks clicked clk tap tapped select_item product_clicked 点击 点选 點擊"),
    (
        ("view", "click"),
        "view views viewed pv page_view pageview page-view view_item product_viewed detail detail_view item_view visit "
        "browse read open impression_detail 浏览 查看 访问 看 瀏覽",
    ),
)


def guess_type(word: str, known: Collection[str]) -> str | None:
    """Return the type of ``known`` that a word most likely means, or None."""
    plain = word.strip().lower().replace(" ", "_")
    if plain in known:
        return plain
    for kinds, words in _MEANINGS:
        if plain in words.split():
            return next((kind for kind in kinds if kind in known), None)
    return None


def map_types(words: Iterable[str], known: Collection[str]) -> str:
    """Return the value of ``--types`` that maps words; ``TYPE`` where a type cannot be guessed."""
    guesses = {word: guess_type(word, known) or UNKNOWN for word in words}
    mapping = ",".join(f"{word}={kind}" for word, kind in guesses.items())
    if UNKNOWN not in guesses.values():
        return mapping
    return f"{mapping}, with one of {', '.join(known)} for {UNKNOWN}"
