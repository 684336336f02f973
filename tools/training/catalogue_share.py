"""Measures how many items of a log the catalogue has.

Where the log and the catalogue name the same items differently, the model recommends nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from streams.errors import InputError
from streams.health.unknown_items import shown
from tools.cli import say

if TYPE_CHECKING:
    from tools.training.inputs import TrainingInputs

#: Where the catalogue has a smaller share of the log's items, the command warns.
WARN_SHARE: Final = 0.5


def catalogue_share(log_name: str, log_items: Collection[str], items_name: str, catalogue: Collection[str]) -> float:
    """Return the share of a log's items that a catalogue has; warn below :data:`WARN_SHARE`.

    Parameters
    ----------
    log_name, items_name : the names of the two in messages
    log_items, catalogue : distinct item ids, in the form of the contract

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
    """Return the share of the log's items that the catalogue has, None without a catalogue.

    A low share gives a warning; a share of 0 raises :class:`InputError`.
    """
    log, catalogue = inputs.sources.log, inputs.sources.catalogue
    if catalogue is None:
        return None
    return catalogue_share(
        log.paths[0].name, dict.fromkeys(inputs.log.item_ids), catalogue.paths[0].name, inputs.sides.items
    )
