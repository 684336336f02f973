"""Writes the sections ``[log]``, ``[items]`` and ``[users]`` into ``headrace.toml``.

What else the file holds stays as it is, with its comments.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from streams.errors import InputError

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_HEADER: Final = re.compile(r"""\s*\[\[?\s*("[^"]*"|'[^']*'|[A-Za-z0-9_-]+)""")
Value = str | bool | Sequence[str] | Mapping[str, bool]
#: A comment is cut to this many characters.
MAX_COMMENT: Final = 100


@dataclass(frozen=True)
class Entry:
    """A key of a section, its value and a comment; the comment may be empty."""

    key: str
    value: Value
    comment: str = ""


@dataclass(frozen=True)
class NewSection:
    """A section to write.

    Parameters
    ----------
    name : ``log``, ``items``, ``users`` or ``event_types``
    comments : lines above it
    tables : tables below it by name, as ``columns``
    """

    name: str
    comments: Sequence[str]
    entries: Sequence[Entry]
    tables: Mapping[str, Sequence[Entry]] = field(default_factory=dict)

    def text(self) -> str:
        """Return the section as TOML."""
        lines = [f"# {_comment(line)}" for line in self.comments]
        lines += [f"[{self.name}]", *map(_line, self.entries)]
        for name, entries in self.tables.items():
            if entries:
                lines += ["", f"[{self.name}.{name}]", *map(_line, entries)]
        return "\n".join(lines) + "\n"


def merge(old: str, sections: Sequence[NewSection]) -> str:
    """Return the text of a settings file with some sections replaced or added.

    Sections that the old text has with the same values leave it as it is.

    Raises
    ------
    InputError
        When the old text is no TOML, or its sections are written so that they cannot be replaced.
    """
    names = {section.name for section in sections}
    before = _parsed(old)
    if before == {**before, **_parsed("\n".join(section.text() for section in sections))}:
        return old
    kept = _without(old, names).rstrip("\n")
    new = "\n".join(section.text() for section in sections)
    text = f"{kept}\n\n{new}" if kept else new
    try:
        after = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        after = {}
    others = {key: value for key, value in before.items() if key not in names}
    if {key: value for key, value in after.items() if key not in names} != others or not names <= after.keys():
        raise InputError(
            f"headrace.toml: [{'], ['.join(sorted(names))}] cannot be replaced as written; remove them by hand, then run it again"
        )
    return text


def replaced(old: str, sections: Sequence[NewSection]) -> list[str]:
    """Return the names of the sections that the old text has and that would change."""
    before = _parsed(old)
    new = _parsed("\n".join(section.text() for section in sections))
    return [section.name for section in sections if before.get(section.name, new[section.name]) != new[section.name]]


def write_text(path: Path, text: str) -> None:
    """Replace a file's text in one step; a file that there was keeps its access mode."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise InputError(f"headrace.toml: not TOML: {exc}; correct it first") from exc


def _without(text: str, names: set[str]) -> str:
    """Return a text without the tables of some sections.

    Comments right above a table belong to it: they go with a table of these sections, and stay with
    the table that follows one.
    """
    kept: list[str] = []
    comments: list[str] = []
    is_ours = False
    for line in text.splitlines():
        if line.startswith("#"):
            comments.append(line)
            continue
        header = _HEADER.match(line)
        was_ours = is_ours
        is_ours = header[1].strip("\"'") in names if header else is_ours
        if not is_ours:
            kept += comments if header or not was_ours else []
            kept.append(line)
        comments = []
    return "\n".join(kept if is_ours else kept + comments)


def _line(entry: Entry) -> str:
    line = f"{_key(entry.key)} = {_value(entry.value)}"
    return f"{line}  # {_comment(entry.comment)}" if entry.comment else line


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _quoted(key)


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    return f"[{', '.join(map(_quoted, value))}]"


def _quoted(text: str) -> str:
    """Return a text as a basic string of TOML, which has JSON's escapes."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(text: str) -> str:
    """Return a text on one line, without control characters."""
    plain = "".join(char if char.isprintable() else " " for char in text)
    return plain if len(plain) <= MAX_COMMENT else plain[: MAX_COMMENT - 3] + "..."
