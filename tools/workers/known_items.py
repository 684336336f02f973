"""How much of the events that come in the recommenders' catalogue knows, as they commit it beside their offsets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from streams.contract.committed_note import UNHEALTHY_MS, CatalogueShare, decode_share
from streams.kafka.group_watch import Group


def live_share(notes: Iterable[str], group: Group | None, now_ms: int) -> CatalogueShare:
    """Return what the recommenders count of the last events, all together, with the example of the one that has most unknown.

    Each commits, beside the offset of each of its partitions, what it has counted in all of them. So its newest note counts, once. A
    worker that has left its group knew another catalogue, and counts no more; one that has had no event for a day neither.

    Parameters
    ----------
    notes : what is committed beside the offsets of ``sequences``
    group : the recommenders; None where the broker cannot tell
    """
    newest: dict[str, CatalogueShare] = {}
    for found in map(decode_share, notes):
        if now_ms - found.seen_ms < UNHEALTHY_MS and found.seen_ms >= newest.get(found.worker, found).seen_ms:
            newest[found.worker] = found
    if group is not None:
        members = {member.member_id for member in group.members}
        newest = {worker: found for worker, found in newest.items() if worker in members}
    shares = newest.values()
    most = max(shares, key=lambda found: found.n_unknown, default=CatalogueShare())
    return CatalogueShare(
        "", sum(s.n_events for s in shares), sum(s.n_unknown for s in shares), most.example, most.seen_ms
    )


def as_share(share: CatalogueShare) -> dict[str, Any]:
    """Return it for ``--json``; ``share`` is None before the first event."""
    n, n_known = share.n_events, share.n_events - share.n_unknown
    return {"events": n, "known": n_known, "share": round(n_known / n, 4) if n else None, "example": share.example}


def share_text(share: CatalogueShare) -> str:
    """Return it for people."""
    if not share.n_events:
        return "the catalogue has the items of how many events is not known: these workers have counted none in the last day"
    known = share.n_events - share.n_unknown
    return f"the catalogue has the items of {known} of the last {share.n_events} events ({known / share.n_events:.0%})"
