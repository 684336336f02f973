"""Keeps how far a replay was delivered, in a file that ``--resume`` reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from models.files.atomic import replace_file
from streams.errors import InputError


@dataclass(frozen=True)
class Checkpoint:
    """How far a replay was delivered.

    Parameters
    ----------
    run : the replay, by its name on the wire
    seq : every row up to this position of the sequence was delivered; -1 for none
    sent : how many events were sent
    partitioner : chose the partitions. Earlier versions had only the default one and did not write
        it
    """

    run: str
    seq: int
    sent: int
    partitioner: str = "murmur2"

    def save(self, path: Path) -> None:
        """Replace the checkpoint file in one step."""
        replace_file(path, msgspec.json.encode(self))


def load_checkpoint(path: Path, expected_run: str, partitioner: str) -> Checkpoint | None:
    """Return the checkpoint in a file, or None where there is no file.

    Raises
    ------
    InputError
        When the file is damaged, or belongs to another log, another mapping or another partitioner.
        Another partitioner would split the events of a user over two partitions.
    """
    if not path.exists():
        return None
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Checkpoint)
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as exc:
        raise InputError(f"{path}: not a checkpoint ({exc}); start over without --resume") from exc
    if found.run != expected_run:
        raise InputError(
            f"--resume: {path} belongs to {found.run}, this is {expected_run}: the log, --columns, --types, --time-unit, "
            "--from and --to must be as they were; or start over without --resume"
        )
    if found.partitioner != partitioner:
        raise InputError(
            f"{path}: {found.sent} events were sent with partitioner={found.partitioner}, HEADRACE_PARTITIONER is {partitioner}: their "
            "users' other events would lie elsewhere; set it as it was, or start over without --resume"
        )
    return found
