"""Rejects as the page shows them."""

from __future__ import annotations

from collections import Counter

from streams.server.page.topics.rejects import SHOWN_BYTES, RejectsLook, as_bytes, as_line, known_reason


def test_bytes_are_rows_of_sixteen_with_offset_digits_and_text() -> None:
    """What is not printable ASCII is a dot; a long value is cut."""
    assert as_bytes(b'{"v":1,\x00\xe9"a"<b>}z') == [
        ("0000", "7b 22 76 22 3a 31 2c 00 e9 22 61 22 3c 62 3e 7d", '{"v":1,.."a"<b>}'),
        ("0010", "7a", "z"),
    ]
    assert as_bytes(None) == as_bytes(b"") == []
    assert len(as_bytes(b"x" * 5_000)) == SHOWN_BYTES // 16


def test_a_strange_text_is_one_printable_line() -> None:
    """Control characters and broken UTF-8 cannot hide what is there."""
    assert "\n" not in as_line(b"a\nb\x1b[31m\xff") and "\x1b" not in as_line(b"a\nb\x1b[31m\xff")
    assert as_line(None) == ""


def test_only_a_reason_of_the_contract_is_asked_for() -> None:
    """Anything else means all."""
    assert (known_reason("future"), known_reason("<b>"), known_reason("")) == ("future", None, None)


def test_rows_have_the_most_frequent_first() -> None:
    """Each with how many of them were sent again."""
    look = RejectsLook(Counter({("future", "ts"): 2, ("type", "v"): 9}), Counter({("future", "ts"): 1}))
    assert look.rows == [("type", "v", 9, 0), ("future", "ts", 2, 1)]
