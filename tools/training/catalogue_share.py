"""How much of a log, or of the events that come in, the catalogue knows.

Two systems that name the same items differently make a model that recommends nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, Final

from streams.contract.committed_note import UNHEALTHY_MS, CatalogueShare, decode_share
from streams.errors import InputError
from streams.health.unknown_items import shown
from streams.kafka.group_watch import Group
from tools.cli import say

if TYPE_CHECKING:
    from tools.training.inputs import TrainingInputs

#: Under this share of the log's items in the catalogue a warning is given.
WARN_SHARE: Final = 0.5


def catalogue_share(log_name: str, log_items: Collection[str], items_name: str, catalogue: Collection[str]) -> float:
    """Return the share of a log's items that a catalogue has; warn on the console where it is under a half.

    Parameters
    ----------
    log_name, items_name : what messages call the two
    log_items, catalogue : distinct item ids, as the contract has them

    Raises
    ------
    InputError
        When the catalogue has none of them.
    """
    strangers = [item_id for item_id in log_items if item_id not in catalogue]
    n_known = len(log_items) - len(strangers)
    share = n_known / len(log_items)
    if share >= WARN_SHARE:
        return share
    has = next((item_id for item_id in catalogue if item_id not in log_items), None) if catalogue else None
    example = f"the log has for example {shown(strangers[0])}" + (f", the catalogue {shown(has)}" if has else "")
    counts = (
        f"{items_name}: {n_known} of the {len(log_items)} items in {log_name} are among its {len(catalogue)} entries"
    )
    remedy = "name the columns that hold the same ids with --columns and --item-columns, or correct the file"
    if not n_known:
        raise InputError(f"{counts}; {example}; {remedy}, or leave out --items")
    say(f"{counts} ({share:.0%}); {example}; {remedy}", style="yellow")
    return share


def share_of_items(inputs: TrainingInputs) -> float | None:
    """Return the share of the log's items that the catalogue has, None without one; refuse or warn where it is low."""
    log, catalogue = inputs.sources.log, inputs.sources.catalogue
    if catalogue is None:
        return None
    return catalogue_share(log.path.name, dict.fromkeys(inputs.log.item_ids), catalogue.path.name, inputs.sides.items)


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
