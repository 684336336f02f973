"""Characters that a reader does not see as such: HTML entities, and characters without a glyph."""

from __future__ import annotations

import html
import re
import sys
import unicodedata
from functools import lru_cache
from typing import Final

#: Joiners choose the form of a letter in these scripts, and so belong to a word: Arabic and its
#: neighbours, the scripts of India, Myanmar, Khmer and Mongolian. In any other place, as in emoji,
#: they say nothing about words.
_JOINED: Final = "\u0600-\u0dff\u1000-\u109f\u1780-\u18af"
_JOINERS: Final = re.compile(f"(?<=[{_JOINED}])([\u200c\u200d])[\u200c\u200d]*(?=[{_JOINED}])|[\u200c\u200d]")
#: Fillers, inherent vowels and the combining joiner: invisible, but not of category Cf.
_FILLERS: Final = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"
#: Mongolian ones, the sixteen of every script, and those of Chinese characters.
_SELECTORS: Final = "\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"


def visible(text: str) -> str:
    """Return the text that a reader sees: entities as their characters, invisible ones dropped.

    Entities are read once: ``&amp;lt;`` is the text ``&lt;``. Characters of Unicode's category Cf
    go (zero-width space, soft hyphen, byte order mark, marks of direction), and so do variation
    selectors and fillers. A joiner stays between two letters whose script writes with it; several
    joiners count as one.
    """
    if "&" in text:
        text = html.unescape(text)
    if text.isascii():
        return text
    text = _invisible().sub("", text)
    return _JOINERS.sub(r"\1", text)


@lru_cache(maxsize=1)
def _invisible() -> re.Pattern[str]:
    """Return what finds the invisible characters, by this Python's Unicode tables; 0.1 s."""
    formats = (chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Cf")
    return re.compile(f"[{''.join(set(formats) - {chr(0x200C), chr(0x200D)})}{_FILLERS}{_SELECTORS}]+")
