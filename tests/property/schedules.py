"""How many schedules the state machines try, and how Hypothesis draws them.

``HEADRACE_TEST_SCHEDULES`` sets the number, and then the schedules are new ones each time.
"""

from __future__ import annotations

import os
from typing import Final

import pytest
from hypothesis import Phase, settings

SCHEDULES: Final = int(os.environ.get("HEADRACE_TEST_SCHEDULES", "0"))
#: Shrinking a counter-example takes minutes.
LIMIT: Final = pytest.mark.timeout(3600 if SCHEDULES else 900)


def schedules(n: int, n_steps: int) -> settings:
    """Return settings for ``n`` schedules of ``n_steps``; the variable replaces ``n``."""
    return settings(
        max_examples=SCHEDULES or n,
        stateful_step_count=n_steps,
        deadline=None,
        derandomize=not SCHEDULES,
        database=None,
        print_blob=True,
    )


def first_found(n: int, n_steps: int) -> settings:
    """Return settings for broken variants: the first counter-example is enough, however long."""
    return settings(
        schedules(n, n_steps),
        max_examples=n,
        derandomize=True,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
