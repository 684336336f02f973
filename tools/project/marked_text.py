"""Replaces the part of a document between two marks, which a program writes."""

from __future__ import annotations


def with_part(text: str, name: str, part: str) -> str:
    """Return a document with ``part`` between ``<!-- NAME -->`` and ``<!-- end of NAME -->``.

    Raises
    ------
    ValueError
        When a mark is missing or there twice.
    """
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, rest = text.split(start)
    _old, after = rest.split(end)
    return f"{before}{start}\n{part}\n{end}{after}"
