"""Compiles the loops that workers wait for: ``python -m tools.project.compile_loops``.

Without it the first worker on a machine compiles them when it starts.
"""

from __future__ import annotations

from models.ranking.warm_up import warm_up
from streams.sequencer.compiled import batch
from tools.bench.made.shop import made_shop


def main() -> None:
    """Compile the loops for this processor; they stay beside their modules."""
    batch.warm_up()
    warm_up(made_shop("demo", 200).artifact)


if __name__ == "__main__":
    main()
