"""What ``headrace init`` knows of a file: its first rows by column, and how they were read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from tools.init.names import is_known
from tools.init.profile import Column, as_text

Sure = Literal["sure", "likely", "guess"]
Kind = Literal["log", "items", "users", "unknown"]
#: The contract's fields, as people read them.
_ORDER: Final = (
    "event_id", "user_id", "item_id", "type", "ts", "session_id", "value", "title", "text", "category", "categories", "tags",
    "price", "follows",
)  # fmt: skip
#: Words in a file's name that say what it holds.
_HINTS: Final[dict[Kind, tuple[str, ...]]] = {
    "users": ("user", "customer", "member", "trust", "friend", "follow", "social", "用户", "会员", "客户", "关注", "好友"),
    "items": ("item", "product", "movie", "catalog", "goods", "artist", "book", "video", "news", "商品", "产品", "目录"),
    "log": (
        "log", "event", "rating", "interaction", "behavior", "behaviour", "click", "action", "order", "review", "history",
        "listen", "user_artists", "行为", "日志", "记录", "订单", "点击",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Form:
    """How the rows of a file are written.

    Parameters
    ----------
    format : ``csv``, ``json``, ``parquet``, ``avro`` or ``orc``
    encoding : of a text, as Python calls it; empty for other files
    delimiter : of delimited text; empty for other files
    is_encoding_guessed : whether the bytes fit several encodings, of which this is the most likely
    """

    format: str = "csv"
    encoding: str = ""
    delimiter: str = ""
    is_encoding_guessed: bool = False


@dataclass(frozen=True)
class Table:
    """The first rows of a file, or of the files of a folder.

    Parameters
    ----------
    paths : the files, which have one shape
    columns : in the file's order
    has_header : whether the first row names the columns; also true for JSON and Parquet
    is_whole : whether the rows are all that the files have
    form : how the rows are written
    records : the rows as they are, where they are nested
    envelope : ``connect`` or ``debezium``, where the rows were inside of one
    """

    paths: tuple[Path, ...]
    columns: tuple[Column, ...]
    has_header: bool
    is_whole: bool = True
    form: Form = Form()
    records: Sequence[Mapping[str, Any]] = ()
    envelope: str = ""

    @property
    def name(self) -> str:
        """What messages call the table."""
        first = str(self.paths[0])
        return first if len(self.paths) == 1 else f"{first} and {len(self.paths) - 1} more"

    @property
    def n_rows(self) -> int:
        """How many rows were looked at."""
        return len(self.columns[0].values) if self.columns else 0

    def column(self, name: str) -> Column:
        """Return the column of a name."""
        return next(column for column in self.columns if column.name == name)

    def rows(self, n: int) -> Iterator[tuple[Any, ...]]:
        """Yield the first rows."""
        for i in range(min(n, self.n_rows)):
            yield tuple(column.values[i] for column in self.columns)

    def hinted(self, kind: Kind) -> bool:
        """Return whether the file's name says that it holds this kind."""
        stem = self.paths[0].name.casefold()
        return any(hint in stem for hint in _HINTS.get(kind, ()))


@dataclass(frozen=True)
class Choice:
    """The column that a field is read from, and why.

    Parameters
    ----------
    field : a field of the contract, or ``features.NAME``
    column : the column's name, or its position
    """

    field: str
    column: str
    why: str
    sure: Sure


@dataclass(frozen=True)
class Chosen:
    """The columns of a table: each field has one, and each column serves one field."""

    choices: list[Choice] = field(default_factory=list)

    def in_order(self) -> list[Choice]:
        """Return the choices in the order of the contract's fields, features last."""
        place = {name: i for i, name in enumerate(_ORDER)}
        return sorted(self.choices, key=lambda choice: place.get(choice.field, len(place)))

    def add(self, name: str, column: Column, why: str, sure: Sure) -> None:
        """Note the column of a field."""
        self.choices.append(Choice(name, column.name, why, sure))

    def has(self, name: str) -> bool:
        """Return whether a field has a column."""
        return any(choice.field == name for choice in self.choices)

    def of(self, name: str) -> Choice | None:
        """Return the choice of a field."""
        return next((choice for choice in self.choices if choice.field == name), None)

    def remove(self, name: str) -> None:
        """Forget the column of a field."""
        self.choices[:] = [choice for choice in self.choices if choice.field != name]

    def free(self, table: Table) -> list[Column]:
        """Return the columns that serve no field."""
        taken = {choice.column for choice in self.choices}
        return [column for column in table.columns if column.name not in taken]


def make_table(
    paths: Sequence[Path], rows: Sequence[Sequence[Any]], names: Sequence[str] | None = None, *, is_whole: bool = True
) -> Table:
    """Return the table of some rows.

    Parameters
    ----------
    names : the columns' names; None looks whether the first row is a header
    """
    has_header = names is not None
    if names is None and rows and is_header(rows[0], rows[1:200]):
        names, rows, has_header = [as_text(cell) for cell in rows[0]], rows[1:], True
    width = len(names) if names is not None else max(map(len, rows), default=0)
    names = list(names) if names is not None else [str(i) for i in range(width)]
    columns = [
        Column(name, [row[i] if i < len(row) else None for row in rows])
        for i, name in enumerate(names)
        if name not in names[:i]  # a second column of a name cannot be read
    ]
    return Table(tuple(paths), tuple(columns), has_header, is_whole)


def is_header(first: Sequence[Any], rest: Sequence[Sequence[Any]]) -> bool:
    """Return whether the first row of a file names its columns.

    It does where two of its cells, or all of fewer, are known names. Else its cells must be
    different texts, none a number, and some column below must hold numbers.
    """
    cells = [as_text(cell) for cell in first]
    if not all(cells) or not cells:
        return False
    looks = [Column(str(i), [cell]) for i, cell in enumerate(cells)]
    if any(look.number or look.price or look.address for look in looks):
        return False
    if sum(map(is_known, cells)) >= min(2, len(cells)):
        return True
    if len(set(cells)) < len(cells):
        return False
    below = [Column(str(i), [row[i] for row in rest if i < len(row)]) for i in range(len(cells))]
    return any(column.number > 0.9 for column in below) and max(map(len, cells)) <= 40
