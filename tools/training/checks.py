"""Checks before a training or an evaluation works.

They find each fault that can be known early.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from models.training.log_findings import Finding, find
from streams.errors import InputError
from tools.cli import say
from tools.reports.outputs import LEAST_FREE, check_writable

if TYPE_CHECKING:
    from models.evaluation.splits import Cases
    from models.interactions import Interactions
    from models.rules.repeats import Repeats
    from tools.files.log_source import LogSource

#: An artifact, its checkpoints and the one that it replaces: bytes for each item, rounded up.
BYTES_PER_ITEM: Final = 10_000
SHOWN_LENGTH: Final = 40
#: The baseline that needs the order of events.
NEXT_ITEM: Final = "markov1"


def check_artifact_folder(option: str, out: Path, n_items: int = 0) -> None:
    """Check that an artifact can be written; the folder beside it takes the checkpoints.

    Raises
    ------
    InputError
        What :func:`~tools.reports.outputs.check_writable` raises.
    """
    check_writable(option, out.absolute().parent, LEAST_FREE + n_items * BYTES_PER_ITEM)


def check_trainable(log: Interactions, log_name: str) -> None:
    """Raise :class:`InputError` for a log that is too small to train on."""
    from models.training.train import check_size

    try:
        check_size(log)
    except ValueError as exc:
        raise InputError(f"{log_name}: {exc}") from exc


def check_cases(cases: Cases, log_name: str) -> None:
    """Raise :class:`InputError` where a protocol finds no question in a log."""
    if len(cases):
        return
    if cases.protocol == "loo":
        why = (
            "no user has 3 events or more, as leave-one-out needs; take --protocol time, or name the column of the user"
        )
    else:
        why = "no user has events both before and after the split; take another --split, or --protocol loo"
    raise InputError(f"{log_name}: nothing to evaluate: {why}")


def named_baselines(text: str | None) -> list[str] | None:
    """Return the baselines that ``--baselines`` names, None without the option.

    Raises
    ------
    InputError
        When a name is unknown.
    """
    from models.evaluation.baselines import BASELINES

    if text is None:
        return None
    names = [name for part in text.split(",") if (name := part.strip())]
    for name in names:
        if name not in BASELINES:
            raise InputError(f"--baselines {name[:SHOWN_LENGTH]!r}: must be one of {', '.join(BASELINES)}")
    return list(dict.fromkeys(names))


def choose_baselines(
    named: Sequence[str] | None, n_items: int, *, is_ordered: bool = True
) -> tuple[list[str], dict[str, str]]:
    """Return the baselines that can run, and by name why others are left out, which is said.

    Parameters
    ----------
    named : as the user named them; None for all
    n_items : of the log and the catalogue together
    is_ordered : whether the log has times

    Raises
    ------
    InputError
        When a baseline that the user named cannot run.
    """
    from models.evaluation.baselines import refusal
    from models.evaluation.evaluate import DEFAULT_BASELINES

    wanted = DEFAULT_BASELINES if named is None else named
    left_out = {
        name: f"{why}, the log and the catalogue have {n_items}" for name in wanted if (why := refusal(name, n_items))
    }
    if not is_ordered and NEXT_ITEM in wanted:
        left_out[NEXT_ITEM] = "learns what follows what, the log has no times"
    for name, told in left_out.items():
        if named is not None:
            raise InputError(f"--baselines {name}: {told}; leave it out of the list")
        say(f"baseline {name} is left out: {told}", style="yellow")
    return [name for name in wanted if name not in left_out], left_out


def tell_findings(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Say each finding in one line; return them for ``--json``."""
    for finding in findings:
        say(finding.text, style="yellow")
    return [{"name": finding.name, "text": finding.text} for finding in findings]


def findings_of(log: Interactions, source: LogSource, repeats: Repeats | None) -> list[Finding]:
    """Return what is odd about a log that was read from a source.

    Parameters
    ----------
    repeats : which items may come back, as the user said; None where nothing was said
    """
    n_mapped = sum("=" in part for part in source.types.split(","))
    return find(log, has_times=not source.no_times, n_mapped=n_mapped, is_repeating=repeats is not None)
