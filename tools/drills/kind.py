"""What a kind of drill defines, with a default for each part, and the table of the kinds.

A kind is a module of ``tools.drills.kinds`` with a constant ``KIND``. Only the named kind is
imported: some of them load PyTorch, which takes seconds.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from tools.drills.plan import Needs
from tools.drills.session import Drill

Script = Callable[[Drill], Awaitable[None]]

#: The kinds, each with the harm that it does; the module has underscores for hyphens.
KINDS: Final = {
    "kill": "kills workers at bad moments and pauses them beyond their session timeout",
    "rebalance": "lets workers join and leave one by one",
    "broker-restart": "kills a broker of its own, starts it again, then pauses it",
    "poison": "publishes malformed and damaged records, damages an artifact, deletes events unread",
    "slow-model": "slows, hangs and crashes the model",
    "model-swap": "publishes a second artifact under load, and takes it back",
    "soak": "runs waves, bursts and pauses of load for a long time and watches memory",
    "overload": "publishes ten times what the workers sustain",
    "rules": "changes the rules of lists ten times, and judges every list",
    "forget": "forgets users while workers and the command are killed, and history is promoted",
    "serve": "kills servers and deletes a store while callers ask them, and everything changes",
    "replay": "rebuilds history on topics of its own, kills the rebuild on the way, and promotes it",
}


async def do_nothing(_drill: Drill) -> None:
    """Do nothing: the default of each step that a kind may leave out."""


def leave_alone(_drill: Drill) -> None:
    """Change nothing: the default of ``prepare``."""


@dataclass(frozen=True)
class Kind:
    """What a kind of drill defines.

    Parameters
    ----------
    script : does the harm, under load
    needs : what the kind needs of broker and workers
    prepare : changes the catalogue, or anything else, before there are topics
    epilogue : what is done to the topics after the verdict, when all workers have ended
    """

    script: Script
    needs: Needs = field(default_factory=Needs)
    epilogue: Script = do_nothing
    prepare: Callable[[Drill], None] = leave_alone


def load_kind(name: str) -> Kind:
    """Import a kind of :data:`KINDS`.

    Raises
    ------
    TypeError
        When its module has no ``KIND`` of the type :class:`Kind`.
    """
    module = importlib.import_module(f"tools.drills.kinds.{name.replace('-', '_')}")
    kind = vars(module).get("KIND")
    if not isinstance(kind, Kind):
        raise TypeError(f"{module.__name__}: KIND is {kind!r}, must be a tools.drills.kind.Kind")
    return kind
