"""What each live recommender serves, by the receipts that the workers gave."""

from __future__ import annotations

import contextlib
from contextlib import aclosing
from dataclasses import dataclass

from streams.announcements.follow import follow
from streams.contract.announcements import Receipt, ReceiptKind
from streams.errors import BrokerError, TopicError
from streams.kafka.group_watch import Group
from streams.settings.load import KafkaSettings


@dataclass(frozen=True)
class Serving:
    """What lists of one worker are made with.

    Parameters
    ----------
    artifact : empty where the worker has not told
    golden : whether the artifact gives the lists of its golden windows there: ``equal``,
        ``unlike``, ``none`` for no such windows; empty where the worker has not told
    rules : empty where nobody ever put rules
    """

    artifact: str = ""
    golden: str = ""
    rules: str = ""

    def __str__(self) -> str:
        golden = {"equal": "golden lists equal", "unlike": "GOLDEN LISTS UNLIKE", "none": "no golden windows"}
        parts = [f"artifact {self.artifact or 'unknown'}", golden.get(self.golden, "golden lists unknown")]
        return ", ".join([*parts, self.rules or "no rules"])


async def serving(kafka: KafkaSettings, group: Group | None) -> dict[str, Serving]:
    """Return what each member of the recommenders' group serves, by member id.

    A member that has not told is left out; so are all where the broker does not show the receipts.
    """
    members = set() if group is None else {member.member_id for member in group.members}
    newest: dict[tuple[str, ReceiptKind], Receipt] = {}
    with contextlib.suppress(BrokerError, TopicError):
        async with aclosing(follow(kafka, "receipts", Receipt)) as changes:
            for announced in (await anext(changes)).values():
                receipt = announced.record
                if receipt is None or receipt.worker not in members or not _tells(receipt):
                    continue
                place = receipt.worker, receipt.kind
                if place not in newest or newest[place].done_ts <= receipt.done_ts:
                    newest[place] = receipt
    return {worker: _served(newest, worker) for worker in sorted({worker for worker, _ in newest})}


def _tells(receipt: Receipt) -> bool:
    """Whether a receipt says what is in force."""
    if receipt.kind == "model":
        return receipt.artifact is not None
    return receipt.kind == "rules" and receipt.stage == "done"


def _served(newest: dict[tuple[str, ReceiptKind], Receipt], worker: str) -> Serving:
    model, rules = newest.get((worker, "model")), newest.get((worker, "rules"))
    return Serving(
        artifact="" if model is None else model.artifact or "",
        golden="" if model is None else model.golden or "",
        rules="" if rules is None else rules.detail,
    )
