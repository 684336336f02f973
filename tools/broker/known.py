"""Remembers in which data folders this directory's commands have started brokers.

``.headrace/brokers/`` has a file for each, so that ``headrace broker stop`` finds what ``headrace
broker start --data DIR`` began. A file only names a folder; what runs there is read from the
folder's own record, with all checks of that.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from models.files.atomic import replace_file
from streams.errors import InputError
from tools.broker.local_broker import DEFAULT_DATA, BrokerInfo, broker_status
from tools.broker.state import check_folder

KNOWN: Final = Path(".headrace") / "brokers"
MAX_PATH_BYTES: Final = 4096


def remember(data: Path) -> None:
    """Note a data folder in which a broker was started; safe to repeat."""
    where = os.fsencode(data.expanduser().absolute())
    KNOWN.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(KNOWN / hashlib.sha256(where).hexdigest()[:16], where)


def running_brokers() -> list[BrokerInfo]:
    """Return the brokers that run in the default folder and in noted ones; forget the others.

    Raises
    ------
    BrokerError
        When other users may write the notes, or a folder's record cannot be trusted.
    """
    found = {}
    default = broker_status(DEFAULT_DATA)
    if default is not None:
        found[default.data] = default
    if KNOWN.is_dir():
        check_folder(KNOWN)
        for note in sorted(KNOWN.iterdir()):
            if note.name.startswith("."):  # being written
                continue
            info = broker_status(_noted(note))
            if info is None:
                note.unlink(missing_ok=True)
            else:
                found[info.data] = info
    return list(found.values())


def chosen_data(given: Path | None) -> Path:
    """Return the data folder that a command means.

    It is the given one, else that of the one running broker.

    Without a running broker it is the default folder.

    Raises
    ------
    InputError
        When several brokers run; the message names their folders.
    """
    if given is not None:
        return given
    running = running_brokers()
    if len(running) > 1:
        places = ", ".join(f"--data {info.data} ({info.engine} on {info.bootstrap})" for info in running)
        raise InputError(f"{len(running)} brokers run; name one: {places}")
    return running[0].data or DEFAULT_DATA if running else DEFAULT_DATA


def _noted(note: Path) -> Path:
    with note.open("rb") as file:
        return Path(os.fsdecode(file.read(MAX_PATH_BYTES)))
