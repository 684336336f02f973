"""The business rules that a list obeys, and what they did with an item."""

from __future__ import annotations

import contextlib
from typing import Any

from models.ranking.catalogue import Catalogue
from models.rules import trace
from models.rules.document import version_of
from models.rules.parse import RulesError
from models.rules.row_rules import Rules
from streams.contract.announcements import RulesRecord
from streams.contract.records import Recommendation, RecordDecoder
from streams.errors import RecordError, TopicError
from tools.oracle.why.topics import Topics


async def find_rules(topics: Topics, record: Recommendation) -> Rules | None:
    """Return the rules that a list names; None for none, and where the topic lost the document."""
    if not isinstance(record.rules, str):
        return None
    decoder = RecordDecoder(RulesRecord)
    with contextlib.suppress(TopicError):
        async for one in topics.whole("rules"):
            with contextlib.suppress(RecordError, RulesError):
                text = decoder.decode(one.value).rules
                if version_of(text) == record.rules:
                    return Rules.of(text)
    return None


def effects(ruled: Catalogue, row: int, now_ms: int) -> list[dict[str, Any]]:
    """Return the rules that are about a row and keep it among what lists may show."""
    return [] if ruled.rules is None else trace.effects(ruled.rules, row, ruled.item_ids[row], now_ms)
