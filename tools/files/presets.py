"""Finds presets: mapping files for the exports of well-known systems and data sets.

A user copies one, changes it and names the copy: ``--format ./mine.toml``.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

from streams.errors import InputError
from streams.formats.mapping_file import Layout, Mapping, read_mapping

FOLDER: Final = Path(__file__).parent / "presets"
#: What ``--format`` says of the file itself; each other word names a preset or a mapping file.
CONTAINERS: Final = ("auto", "csv", "json", "parquet", "avro", "orc")
SUFFIX: Final = ".toml"


def preset_names() -> list[str]:
    """Return the names of the presets, in order."""
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))


@lru_cache(maxsize=32)
def find_preset(name: str, kind: str) -> Mapping | None:
    """Return the mapping that ``--format`` names; None where it names a kind of file.

    Parameters
    ----------
    name : a preset, or the path of a mapping file that ends in ``.toml``
    kind : ``events``, ``items`` or ``users``

    Raises
    ------
    InputError
        When there is no such preset or file, or it has no mapping of this kind.
    """
    if name in CONTAINERS:
        return None
    if name.endswith(SUFFIX):
        return read_mapping(Path(name), kind)
    if name not in preset_names():
        raise InputError(
            f"--format {name!r}: must be one of {', '.join(CONTAINERS)}, a preset ({', '.join(preset_names())}), or a mapping "
            f"file that ends in {SUFFIX}"
        )
    return read_mapping(FOLDER / f"{name}{SUFFIX}", kind)


def layout_delimiter(rules: Mapping, head: bytes) -> str:
    """Return the delimiter of the layout that fits a file's first line; ``auto`` without one."""
    first = head.partition(b"\n")[0].decode("utf-8", "replace")
    return next(
        (layout.delimiter for layout in rules.layouts if layout.delimiter and _fits(layout, first)),
        "auto",
    )


def _fits(layout: Layout, line: str) -> bool:
    return line.count(layout.delimiter) + 1 == len(layout.names)


def column_names(rules: Mapping, first: list[str], delimiter: str) -> list[str] | None:
    """Return the columns of a delimited file that has no header; None where its first row is one.

    Parameters
    ----------
    first : the values of the first row
    """
    if not rules.layouts:
        return None
    known = {name for layout in rules.layouts for name in layout.names} | set(rules.columns.values())
    known |= {part.strip() for column in rules.columns.values() for part in column.split("|")}
    if known & {value.strip() for value in first}:
        return None
    fitting = [layout for layout in rules.layouts if layout.delimiter in ("", delimiter)] or list(rules.layouts)
    chosen = next((layout for layout in fitting if len(layout.names) == len(first)), fitting[0])
    return list(chosen.names)
