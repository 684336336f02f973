"""The rules of one scenario, as the topic ``rules`` says, and each change of them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from models.rules.parse import RulesError
from models.rules.row_rules import Rules
from streams.announcements.follow import Announced, follow
from streams.announcements.receipts import Receipts
from streams.contract.announcements import RulesRecord, Stage
from streams.settings.load import KafkaSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RulesChange:
    """Rules that come into force.

    Parameters
    ----------
    announcement : its id in receipts; empty where the topic holds nothing of the scenario
    rules : None for no rules
    error : why the rules cannot be used; those before stay in force then
    """

    announcement: str = ""
    rules: Rules | None = None
    error: str = ""


def change_of(announced: Announced[RulesRecord], list_size: int) -> RulesChange:
    """Return what an announcement of rules changes.

    Parameters
    ----------
    list_size : of the deployment
    """
    record = announced.record
    if record is None:
        return RulesChange(announced.id)
    if record.scenario != announced.key:
        return RulesChange(
            announced.id, error=f"scenario {record.scenario!r} under the key {announced.key!r}; must be equal"
        )
    if hashlib.sha256(record.rules.encode("utf-8", "surrogatepass")).hexdigest() != record.sha256:
        return RulesChange(announced.id, error="sha256 is not that of rules; put the document again")
    try:
        return RulesChange(announced.id, Rules.of(record.rules, list_size))
    except RulesError as exc:
        return RulesChange(announced.id, error=str(exc))


def answer(receipts: Receipts, change: RulesChange) -> None:
    """Give the receipt of rules that are in force, or that cannot be."""
    if change.announcement:
        version = "no rules" if change.rules is None else f"rules {change.rules.version}"
        stage: Stage = "failed" if change.error else "done"
        receipts.give("rules", change.announcement, stage=stage, detail=change.error or version)


async def scenario_rules(
    settings: KafkaSettings, scenario: str, list_size: int, malformed: Callable[[], None] = lambda: None
) -> AsyncGenerator[RulesChange, None]:
    """Yield the rules of a scenario as the topic has them now, then each change, without end.

    Parameters
    ----------
    malformed : called for each record that is no rules record

    Raises
    ------
    BrokerError, TopicError
        As :func:`streams.announcements.follow.follow`.
    """
    async with aclosing(follow(settings, "rules", RulesRecord, malformed=malformed)) as changes:
        is_first = True
        async for changed in changes:
            announced = changed.get(scenario)
            if announced is not None:
                change = change_of(announced, list_size)
                if change.error:
                    log.error("rules %s: %s; the rules before stay in force", change.announcement, change.error)
                yield change
            elif is_first:
                yield RulesChange()
            is_first = False
