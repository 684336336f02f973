"""Whether two ranked lists are the same, up to rounding.

Two machines, and two processes that read items in another order, sum in another order. So scores
may differ slightly, and items of equal scores may change places.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isclose
from typing import Final

#: Two scores of two machines are equal where they differ by at most this share of the larger one.
SCORE_TOLERANCE: Final = 1e-4
#: An item and its score.
Scored = tuple[str, float]


def is_close(one: float, other: float, tolerance: float = SCORE_TOLERANCE, near_zero: float = 0.0) -> bool:
    """Return whether two scores are equal, up to rounding.

    Parameters
    ----------
    tolerance : share of the larger one by which they may differ
    near_zero : difference that is allowed however small the scores are
    """
    return isclose(one, other, rel_tol=tolerance, abs_tol=near_zero)


def list_difference(found: Sequence[Scored], expected: Sequence[Scored], tolerance: float = SCORE_TOLERANCE) -> str:
    """Return the first place where two lists differ; an empty text where they are the same.

    Two items of equal scores may have changed places, and the last item may be another one of an
    equal score.

    Parameters
    ----------
    tolerance : as of :func:`is_close`
    """
    if len(found) != len(expected):
        return f"{len(found)} items, expected {len(expected)}"
    if len({item_id for item_id, _ in found}) < len(found):
        return "an item is listed twice"
    score_of = dict(expected)
    for rank, ((item_id, score), (in_place, in_place_score)) in enumerate(zip(found, expected, strict=True), 1):
        twin = score_of.get(item_id)
        if item_id != in_place and not _may_stand_for(score if twin is None else twin, in_place_score, tolerance):
            return f"item {rank} {item_id} ({score:.6g}), expected {in_place} ({in_place_score:.6g})"
        if twin is None and not is_close(score, expected[-1][1], tolerance):
            return f"item {rank} {item_id} ({score:.6g}), expected none below {expected[-1][1]:.6g}"
        if twin is not None and not is_close(score, twin, tolerance):
            return f"item {rank} {item_id}: score {score:.9g}, expected {twin:.9g}"
    return ""


def _may_stand_for(score: float, other: float, tolerance: float) -> bool:
    """Return whether rounding may have put an item where another one was expected.

    A score of 0 is not a rounded one: it marks an item that fills up a list.
    """
    return score > 0 and is_close(score, other, tolerance)
