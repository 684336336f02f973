"""The names of a candidate's scalar features, in the order in which fusion reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: The scalar features of a candidate, in order; ``models.ranking.candidates`` computes them, in
#: training as in serving.
FEATURES: Final = (
    "retrieval_score",  # user vector . item vector
    "retrieval_share",  # log of its softmax over the candidates
    "retrieval_rank",  # log of its rank by that score
    "mf_logit",  # user factors . item factors + bias
    "mf_rank",
    "next_share",  # log of the share with which it followed the newest behaviour (next-item counts)
    "next_score",  # log of the weighted share of followers of the newest behaviours
    # log of the weighted cosine to the window's items, of who had them (item neighbours)
    "neighbour_score",
    "recent_popularity",  # log share, decayed
    "popularity",  # log share in training
    "similarity",  # greatest cosine to an item of the window
    "text_similarity",  # cosine of its text to the mean text of the window
    "newest_text_similarity",  # cosine of its text to that of the newest behaviour
    "is_new",  # 1 when training never saw the item
    "window_length",  # log of the number of behaviours
)
#: Further features of an artifact whose lists may hold items of the user's window;
#: :func:`feature_names` adds more, and ``models.ranking.again`` computes them. Places count the
#: window's wishes from the newest one, which has place 1.
AGAIN_FEATURES: Final = (
    "again",  # 1 for an item of the window
    "again_count",  # log of how often it is there
    "again_place",  # log of its newest place
    "again_newest",  # 1 for the item of the newest wish
    "again_age",  # log of the seconds from its newest behaviour to the window's newest one
    "again_weight",  # log of the sum of 1 / place of its behaviours
    "again_habit",  # share of the window's wishes that are repeats, for an item of the window
    "again_next",  # log of the share with which it followed the newest item in this window
    "again_next_pair",  # likewise after the newest two items, in their order
)
#: And of what followed the newest items in training, said more surely the oftener it was counted.
STEP_FEATURES: Final = (
    # log of the share with which it followed the newest item, drawn to its share of recent events,
    # the more the fewer steps from the newest item were counted
    "step",
    "trail",  # likewise after the newest three items, older ones counting less
    # log of how much oftener it followed the newest item than its popularity lets expect
    "lift",
)

#: The last feature of an artifact that has a blend, see ``models.features.blend``.
BLEND: Final = "blend"


def feature_names(types: Sequence[str] | None, *, has_blend: bool = False) -> tuple[str, ...]:
    """Return the scalar features of an artifact, in order.

    Parameters
    ----------
    types : names of the types in windows, where lists may hold items of the window: each adds a
        feature that is 1 where the item's newest behaviour is of that type. None for an artifact
        whose lists never hold them
    has_blend : whether the artifact blends the shares of simple predictors
    """
    if types is None:
        return FEATURES
    names = (*FEATURES, *AGAIN_FEATURES, *STEP_FEATURES, *(f"again as {name}" for name in types))
    return (*names, BLEND) if has_blend else names
