"""What ``headrace status --acknowledge`` prints.

``tests/integration/delivery/test_deleted_events.py`` tests the commit.
"""

from __future__ import annotations

import pytest

from streams.contract.committed_note import Gap
from tools.workers.acknowledge import as_lines, as_loss, as_text

LOSSES = ((0, Gap(14, 90, 1)), (3, Gap(0, 174, 1, n_read=100)))


@pytest.mark.parametrize("n", [0, 1, 2])
def test_each_loss_is_a_line_and_nothing_is_said_too(n: int) -> None:
    lines = as_lines("events", LOSSES[:n])
    if not n:
        assert len(lines) == 1 and lines[0].startswith("nothing to acknowledge: all events of events")
        return
    assert len(lines) == n and lines[0] == f"acknowledged: {LOSSES[0][1].describe('events', 0)}"
    assert "events-3: offsets 0 to 173" in lines[-1] and "at most 74 events" in lines[-1] or n == 1


def test_json_has_the_offsets() -> None:
    assert [as_loss("events", *loss) for loss in LOSSES] == [
        {"topic": "events", "partition": 0, "first": 14, "last": 89, "events": 76},
        {"topic": "events", "partition": 3, "first": 0, "last": 173, "events": 74},
    ]


def test_of_many_losses_the_newest_are_shown() -> None:
    text = as_text("events", tuple((i, Gap(i, i + 1, i)) for i in range(12)))
    assert text.startswith("events-7 offsets 7 to 7, ") and text.endswith(" and 7 more gaps")
