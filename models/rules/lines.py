"""On which line of a TOML text each value stands, so that an error can name it."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from typing import Final, TypeAlias

#: The keys, and the places in arrays, that lead to a value.
Path: TypeAlias = tuple[str | int, ...]
_TOKEN: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*|\n|[\[\]{}=,]|[^\[\]{}=,"\'#\n]+',
    re.DOTALL,
)


def lines_of(text: str) -> dict[Path, int]:
    """Return the line, from 1, of each table, key and array entry of a TOML text that parses.

    Keys of inline tables are not among them; their table is.
    """
    found: dict[Path, int] = {(): 1}
    table: Path = ()
    n_of: Counter[Path] = Counter()
    for first, tokens in _statements(text):
        words = [word for word, _ in tokens]
        if words[0] == "[":
            depth = 2 if words[1] == "[" else 1
            table = _path("".join(words[depth : words.index("]")]))
            # a table below an entry of an array is below its newest entry
            for end in range(1, len(table)):
                if n_of[table[:end]]:
                    table = (*table[:end], n_of[table[:end]] - 1, *table[end:])
            if depth == 2:
                n_of[table] += 1
                found.setdefault(table, first)
                table = (*table, n_of[table] - 1)
            found.setdefault(table, first)
        elif "=" in words:
            equals = words.index("=")
            path = (*table, *_path("".join(words[:equals])))
            found[path] = first
            found.update(_entries(path, tokens[equals + 1 :]))
    return found


def line_of(lines: dict[Path, int], path: Path) -> int:
    """Return the line of a value, or of the nearest one around it that has a line."""
    while path not in lines:
        path = path[:-1]
    return lines[path]


def _path(key: str) -> Path:
    """Return the parts of a key such as ``a."b c"``."""
    inner = tomllib.loads(f"{key.strip()} = 0")
    parts: list[str | int] = []
    while isinstance(inner, dict):
        ((part, inner),) = inner.items()
        parts.append(part)
    return tuple(parts)


def _statements(text: str) -> Iterator[tuple[int, list[tuple[str, int]]]]:
    """Yield the first line and the tokens, each with its line, of each statement."""
    line, depth = 1, 0
    tokens: list[tuple[str, int]] = []
    for match in _TOKEN.finditer(text.replace("\r\n", "\n")):
        token = match.group()
        if token == "\n" and depth == 0:
            if tokens:
                yield tokens[0][1], tokens
            tokens = []
        elif token != "\n" and not token.startswith("#") and token.strip():
            depth += (token in "[{") - (token in "]}")
            tokens.append((token, line))
        line += token.count("\n")
    if tokens:
        yield tokens[0][1], tokens


def _entries(path: Path, tokens: list[tuple[str, int]]) -> Iterator[tuple[Path, int]]:
    """Yield the paths and lines of the entries of an array, if the value is one."""
    if not tokens or tokens[0][0] != "[":
        return
    depth, place, is_new = 0, 0, True
    for token, line in tokens:
        if depth == 1 and is_new and token not in "],":
            yield (*path, place), line
            is_new = False
        depth += (token in "[{") - (token in "]}")
        if depth == 1 and token == ",":
            place, is_new = place + 1, True
