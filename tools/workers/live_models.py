"""Which artifact each live recommender serves, by the receipts that the workers gave."""

from __future__ import annotations

import contextlib
from contextlib import aclosing

from streams.announcements.follow import follow
from streams.contract.announcements import Receipt
from streams.errors import BrokerError, TopicError
from streams.kafka.group_watch import Group
from streams.settings.load import KafkaSettings


async def live_models(kafka: KafkaSettings, group: Group | None) -> dict[str, str]:
    """Return the artifact of each member of the recommenders' group, by member id.

    A member that has not told is left out; so are all where the broker does not show the receipts.
    """
    members = set() if group is None else {member.member_id for member in group.members}
    newest: dict[str, Receipt] = {}
    with contextlib.suppress(BrokerError, TopicError):
        async with aclosing(follow(kafka, "receipts", Receipt)) as changes:
            for announced in (await anext(changes)).values():
                receipt = announced.record
                if receipt is None or receipt.kind != "model" or receipt.stage != "done":
                    continue
                if receipt.worker in members and (
                    receipt.worker not in newest or newest[receipt.worker].done_ts <= receipt.done_ts
                ):
                    newest[receipt.worker] = receipt
    return {worker: receipt.detail for worker, receipt in sorted(newest.items())}
