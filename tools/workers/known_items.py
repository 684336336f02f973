"""How many incoming events are of items that the recommenders' catalogue has.

The recommenders commit their counts beside their offsets, where ``headrace status`` reads them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from streams.contract.committed_note import UNHEALTHY_MS, CatalogueShare, decode_share
from streams.kafka.group_watch import Group


def live_share(notes: Iterable[str], group: Group | None, now_ms: int) -> CatalogueShare:
    """Return the sum of the recommenders' counts, with the example of the largest count.

    A worker commits, beside the offset of each of its partitions, what it has counted in all its
    partitions. So only its newest note counts, and it counts once. The note of a worker that left
    its group does not count, because that worker knew another catalogue. A note that is older than
    a day does not count either.

    Parameters
    ----------
    notes : what is committed beside the offsets of ``sequences``
    group : the recommenders' group; None where the broker cannot tell its members
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
    """Return a share for ``--json``; its field ``share`` is None before the first event."""
    n, n_known = share.n_events, share.n_events - share.n_unknown
    return {"events": n, "known": n_known, "share": round(n_known / n, 4) if n else None, "example": share.example}


def share_text(share: CatalogueShare) -> str:
    """Return a share for people."""
    if not share.n_events:
        return "the catalogue has the items of how many events is not known: these workers have counted none in the last day"
    known = share.n_events - share.n_unknown
    return f"the catalogue has the items of {known} of the last {share.n_events} events ({known / share.n_events:.0%})"
