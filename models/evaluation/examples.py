"""A few cases of an evaluation as they were: what a user had, what the list was, what came next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from models.evaluation.splits import Cases

N_EXAMPLES: Final = 5
#: Behaviours of a user that an example shows, the newest.
HISTORY_SHOWN: Final = 6


def drawn(cases: Cases, seed: int, n: int = N_EXAMPLES) -> set[int]:
    """Return the cases to show: a random case of each of ``n`` random users.

    So nobody picks the examples.
    """
    order = np.random.default_rng(seed).permutation(len(cases))
    _, first = np.unique(cases.users[order], return_index=True)  # a random case of each user
    return set(order[np.sort(first)[:n]].tolist())


def example(user_id: str, history: Sequence[str], listed: Sequence[str], target: str) -> dict[str, Any]:
    """Return one case: the newest of a user's items, the list, and the item that came next."""
    return {
        "user": user_id,
        "history": list(history[-HISTORY_SHOWN:]),
        "n_history": len(history),
        "list": list(listed),
        "next": target,
    }
