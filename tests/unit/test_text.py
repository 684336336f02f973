"""Item text: width, case, Chinese words, stop words, model numbers; a defined result for every text."""

from __future__ import annotations

import threading

import pytest

from models.text import clean, item_text, segment


def test_width_and_case_do_not_matter() -> None:
    """Full width and capitals give the words of half width and small letters."""
    assert segment("ＮＩＫＥ Ａｉｒ") == segment("nike air") == ["nike", "air"]


@pytest.mark.parametrize("token", ["iphone15-pro", "a7m4", "wh-1000xm5", "c++"])
def test_model_numbers_stay_whole(token: str) -> None:
    """Letters, digits and the marks between them are one word, also between Chinese words."""
    assert token in segment(f"索尼{token.upper()}相机")


def test_chinese_is_cut_into_words_without_stop_words() -> None:
    """A Chinese run is cut by the segmenter; Chinese and English stop words go."""
    words = segment("我的无线蓝牙耳机 and the strap")
    assert {"无线", "蓝牙", "耳机", "strap"} <= set(words)
    assert not {"的", "and", "the"} & set(words)


def test_a_text_of_stop_words_only_does_not_vanish() -> None:
    """A title such as It is kept."""
    assert clean("It") == "it"


@pytest.mark.parametrize("text", ["", "   ", "🎉🎉", "!?…", "\ud800", "\0"])
def test_a_text_without_words_is_empty(text: str) -> None:
    """No words give an empty text, never an error."""
    assert clean(text) == item_text(text) == ""


def test_a_huge_text_has_a_bounded_result() -> None:
    """A text of 100,000 characters is cut, not refused."""
    assert 0 < len(clean("耳机 abc " * 16_667)) <= 40_000


@pytest.mark.parametrize("word", ["耳机", "abc ", "\ufdfa"])
def test_an_items_text_has_a_bounded_length(word: str) -> None:
    """At most 2,000 characters stand for an item, also where cleaning makes a text longer; the title stays."""
    found = item_text("zebra", word * 5_000)
    assert 1_000 < len(found) <= 2_000
    assert found.startswith("zebra ")
    assert found == found.strip()


def test_an_item_is_one_text_with_its_title_first() -> None:
    """Title, category, tags and text are embedded together; missing ones leave nothing behind."""
    assert item_text("Zebra", "stripes", "animal", ["wild"]) == "zebra animal wild stripes"
    assert item_text("Zebra") == "zebra"


def test_threads_share_one_segmenter() -> None:
    """First uses at once give what a single one gives."""
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(segment("无线蓝牙耳机"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [segment("无线蓝牙耳机")] * 4
