"""Entities and invisible characters: what a reader does not see changes no word."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text.characters import visible
from models.text.clean import clean, segment, text_rules

#: A zero-width space, a soft hyphen, a byte order mark, marks of direction, a tag, selectors,
#: fillers.
INVISIBLE = "\u200b\xad\ufeff\u200e\u202e\u2066\U000e0041\ufe0f\U000e0101\u180b\u3164\u034f"


@pytest.mark.parametrize("mark", INVISIBLE)
@pytest.mark.parametrize("title", ["蓝牙耳机", "Spülmittel", "galaxy", "बैठक", "кружка", "葛饰北斋"])
def test_an_invisible_character_ends_no_word(title: str, mark: str) -> None:
    """It may stand anywhere in a title: the words are those of the title without it."""
    for at in range(len(title) + 1):
        assert segment(title[:at] + mark + title[at:]) == segment(title)


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Cup &amp; Saucer", "cup saucer"),
        ("H&amp;M", "h&m"),
        ("Women&#39;s Hat", "women's hat"),
        ("24&quot; Bike", "24 bike"),
        ("Caf&eacute; cr&#232;me", "café crème"),
        ("&#25163;&#x673a;", "手机"),
        ("kaffee&shy;maschine", "kaffeemaschine"),
        ("tea&nbsp;pot", "tea pot"),
        ("AT&T &unknown; 5 < 6", "at&t unknown 5 6"),
    ],
)
def test_entities_are_the_characters_that_they_name(title: str, words: str) -> None:
    """An ampersand that begins no entity stays one."""
    assert clean(title) == words


def test_entities_are_read_once() -> None:
    """``&amp;lt;`` says how to write ``&lt;``; it is no ``<``."""
    assert visible("&amp;lt;b&amp;gt;") == "&lt;b&gt;"


@pytest.mark.parametrize("word", ["کتاب\u200cخانه", "क्\u200dष", "ක්\u200dෂ", "ക്\u200cഷ"])
def test_joiners_stay_inside_words_of_scripts_that_write_with_them(word: str) -> None:
    """They choose the form of a letter: the word is one, and not that without the joiner."""
    assert segment(word) == [word]
    assert segment(f"\u200c{word}\u200d \u200d") == [word]
    joiner = next(char for char in word if char in "\u200c\u200d")
    assert segment(word.replace(joiner, f"\u200b{joiner}{joiner}")) == [word]


@pytest.mark.parametrize("title", ["手\u200d机壳", "phone\u200ccase", "👩\u200d🍳 apron", "٣\u200d hats"])
def test_joiners_go_everywhere_else(title: str) -> None:
    """Emoji are joined by them, and some are left in pasted text."""
    assert not {"\u200c", "\u200d"} & set(clean(title))


@given(st.text())
def test_the_visible_text_has_no_invisible_character(text: str) -> None:
    """Whatever the text holds; and seen twice it is the same, but for entities."""
    found = visible(text.replace("&", "+"))
    assert not any(unicodedata.category(char) == "Cf" and char not in "\u200c\u200d" for char in found)
    assert visible(found) == found


def test_the_version_names_the_unicode_tables() -> None:
    """Python brings them; vectors of two Pythons must not be mixed unseen."""
    assert f"+unicode-{unicodedata.unidata_version}+" in text_rules("jieba")
