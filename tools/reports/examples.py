"""The section of a report that shows a few users: what they had, their lists, what came next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streams.printable import counted
from tools.reports.html import Entry, Example, Section, section


def examples_section(examples: Any, titles: Mapping[str, str]) -> Section | None:
    """Return the section of an evaluation's examples; None without any.

    Parameters
    ----------
    examples : as ``models.evaluation.examples.example`` makes them
    titles : of items, by id
    """
    given = examples if isinstance(examples, list) else []
    shown = [_example(one, titles) for one in given if isinstance(one, Mapping)]
    text = "Drawn at random by the seed, one case of each. What a user had is shown oldest first."
    return section(counted(len(shown), "user"), *shown, text=text)


def _example(given: Mapping[str, Any], titles: Mapping[str, str]) -> Example:
    history, listed = _ids(given.get("history")), _ids(given.get("list"))
    following = str(given.get("next", ""))
    entries = [Entry(_title(item_id, titles), item_id == following) for item_id in listed]
    rank = listed.index(following) + 1 if following in listed else None
    outcome = f"{_title(following, titles)} ({'not in the list' if rank is None else f'at rank {rank}'})"
    had = [_title(item_id, titles) for item_id in history]
    n_history = given.get("n_history")
    if isinstance(n_history, int) and n_history > len(history):
        had.insert(0, f"{n_history - len(history):,} more")
    return Example(f"user {given.get('user', '')}", had, entries, outcome)


def _title(item_id: str, titles: Mapping[str, str]) -> str:
    title = " ".join(titles.get(item_id, "").split())
    return title or item_id


def _ids(given: Any) -> list[str]:
    return [str(item_id) for item_id in given] if isinstance(given, list) else []
