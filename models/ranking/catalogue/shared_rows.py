"""Rows of a rebuilt catalogue in files that the workers of a machine share.

The rows of a rebuild never change, so workers that rebuilt from the same rows in the same order
hold them once. Rows that come later lie behind them, on pages of each worker's own::

    file, mapped by two workers   |  rows of the rebuild, shared  |  zeros, no place on the disk   |
    what a worker sees            |  rows of the rebuild, shared  |  its new rows, private | zeros |

When the room behind the rows is used up, :class:`~models.ranking.catalogue.rows.Rows` copies them
all into private memory, until the next rebuild.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from models.files.shared_arrays import SharedArrays
from models.index.index import EXACT_UP_TO
from models.ranking.catalogue.rows import Rows

log = logging.getLogger(__name__)

#: The arrays by row that are worth a file. The others hold some bytes an item, and the numbers of
#: words are written after the rebuild.
SHARED: Final = ("vectors", "unit", "text_unit", "factors", "features", "known")


class SharedRows:
    """Shares the rows of rebuilds. For one thread at a time.

    Parameters
    ----------
    folder : of the files, for workers of one user on one machine
    least : fewer rows stay private
    """

    def __init__(self, folder: Path, least: int = EXACT_UP_TO + 1) -> None:
        self._files = SharedArrays(folder)
        self._least = least
        self._has_failed = False

    def take(self, rows: Rows) -> None:
        """Move the large arrays of rows that nobody reads yet into files, and remove unused files.

        Where that fails, a warning says so once, and the arrays stay in private memory.
        """
        try:
            if rows.n >= self._least:
                self._share(rows)
            self._files.remove_unused()
        except (OSError, ValueError) as exc:  # ValueError: mmap refuses a file that became shorter
            if not self._has_failed:
                log.warning(
                    "catalogue: %s cannot be used (%s): this worker holds its rows alone; free disk space there, let this "
                    "user alone write the folder, or name another one in HEADRACE_ENCODER_CACHE_DIR",
                    *(self._files.folder, exc),
                )
            self._has_failed = True
        else:
            self._has_failed = False

    def _share(self, rows: Rows) -> None:
        n_bytes = 0
        for name in SHARED:
            array = rows.arrays[name][: rows.n]
            if array.nbytes:  # an artifact without item features has none
                rows.arrays[name] = self._files.shared(array, rows.capacity)
                n_bytes += array.nbytes
        rows.keys = self._files.shared(rows.keys[: rows.n], rows.capacity)
        n_bytes += rows.keys[: rows.n].nbytes
        log.info("catalogue: %d rows, %d MB in files of %s", rows.n, n_bytes >> 20, self._files.folder)
