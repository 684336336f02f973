"""Maps records of any shape onto rows of values: paths, lists, envelopes, and presets' rules.

::

    record ─► envelope opened ─► other kinds left out ─► one row, or one for each element of a list

The paths are those of :mod:`streams.formats.field_paths`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from streams.errors import InputError
from streams.formats.envelopes import DELETE, OPERATIONS, unwrap
from streams.formats.field_paths import FieldPath, PathError, parse_paths, walk
from streams.formats.mapping_file import Mapping as MappingOfKind

#: Operations of a change that each kind of record takes; an update of an event is no new event.
TAKEN: Final = {"events": frozenset("cr"), "items": frozenset("cru"), "users": frozenset("cru")}
#: What an envelope's own fields are, for files that are read by column.
ENVELOPE_FIELDS: Final = ("schema", "payload", "before", "after", "op")
_NO_RULES: Final = MappingOfKind()


class LeftOut(str):
    """Why a record is no row although nothing is wrong with it; such records are counted."""


class Removed(LeftOut):
    """A record that removes an item or a user.

    Attributes
    ----------
    values : the row before it was removed, in the order of the fields
    """

    values: Sequence[Any] = ()


MappedRow = Sequence[Any] | LeftOut


class RecordMapper:
    """Turns records into rows of values, in the order of ``fields``.

    Parameters
    ----------
    fields : fields of the contract; one without a column has the column of its own name
    columns : fields to columns or paths; they win over those of ``rules``
    rules : a preset's mapping
    kind : ``events``, ``items`` or ``users``
    types : types that are mapped beside those of ``rules``

    Raises
    ------
    InputError
        When a path is no path, or two fields read the elements of different lists.
    """

    def __init__(
        self,
        fields: Sequence[str],
        columns: Mapping[str, str],
        *,
        rules: MappingOfKind | None = None,
        kind: str = "events",
        types: Collection[str] = (),
    ) -> None:
        self.fields = tuple(fields)
        self.rules = rules or _NO_RULES
        self._kind = kind
        # a preset names features, which only the readers of catalogues and users ask for
        known = {field: name for field, name in self.rules.columns.items() if field in fields or not _is_feature(field)}
        self._columns = {**known, **columns}
        unknown = sorted(self._columns.keys() - set(fields))
        if unknown:
            raise InputError(f"columns: {unknown[0]!r} is not a field; the fields are {', '.join(fields)}")
        self._paths = [_paths(field, self._columns.get(field, field)) for field in fields]
        self._only = [(_paths("only", path), path, frozenset(values)) for path, values in self.rules.only.items()]
        self._constants = [self.rules.constants.get(field) for field in fields]
        self._event_id = self.fields.index("event_id") if "event_id" in fields else None
        self._type = self.fields.index("type") if "type" in fields else None
        self._kept = frozenset({*types, *self.rules.types}) if self.rules.other_types == "leave-out" else None
        self._list = _one_list(zip(self.fields, self._paths, strict=True))

    @property
    def has_rules(self) -> bool:
        """Whether a record can become other than one row of the values of its columns."""
        rules = self.rules
        return bool(rules.unwrap or self._only or rules.split or self._kept is not None or any(self._constants))

    def names_only(self, names: Collection[str]) -> list[str | None] | None:
        """Return each field's column where every field is one; None where a record must be mapped.

        Parameters
        ----------
        names : the file's columns; a field without a column has None
        """
        if self.has_rules:
            return None
        found: list[str | None] = []
        for field, paths in zip(self.fields, self._paths, strict=True):
            text = self._columns.get(field, field)
            there = [path for path in paths if path.text in names or path.root in names]
            if text in names:
                found.append(text)
            elif not there:
                found.append(None)
            elif len(there) == 1 and there[0].text in names:
                found.append(there[0].text)
            else:
                return None
        return found

    def roots(self, names: Iterable[str]) -> list[str]:
        """Return which of a file's columns are read, in the file's order."""
        wanted = set(ENVELOPE_FIELDS) if self.rules.unwrap else set()
        every = [path for paths in self._paths for path in paths] + [path for paths, *_ in self._only for path in paths]
        for path in every:
            wanted |= {path.text, path.root, path.list_text}
        wanted |= set(self._columns.values())
        return [name for name in names if name in wanted]

    def lacking(self, names: Collection[str], fields: Collection[str]) -> list[tuple[str, str]]:
        """Return those of the fields for which a file has no column: name and path of each."""
        if self.rules.unwrap:
            return []  # the columns are inside the envelope
        return [
            (field, self._columns.get(field, field))
            for field, paths, constant in zip(self.fields, self._paths, self._constants, strict=True)
            if field in fields
            and constant is None
            and self._columns.get(field, field) not in names
            and not any(path.text in names or path.root in names or path.list_text in names for path in paths)
        ]

    @property
    def columns(self) -> list[str]:
        """Return the column or path of each field."""
        return [self._columns.get(field, field) for field in self.fields]

    @property
    def named(self) -> frozenset[str]:
        """Return the fields that have a column by name."""
        return frozenset(self._columns)

    def rows(self, record: Mapping[str, Any]) -> list[MappedRow]:
        """Return the rows of a record, at least one.

        The number of a row in the list is its ``part``; rows after the first have it in their
        ``event_id``.

        Raises
        ------
        ValueError
            When the record has another shape than the paths or the envelope say.
        """
        if self.rules.unwrap:
            change = unwrap(record, self.rules.unwrap)
            if change.op not in TAKEN[self._kind]:
                return [self._changed(change.op, change.row)]
            record = change.row or {}
        for paths, name, values in self._only:
            found = _first(paths, record)
            if str(found) not in values:
                return [LeftOut(f"{name} {found!r}" if found is not None else f"{name} missing")]
        if self.rules.split:
            record = self._with_lists(record)
        return [self._kept_row(row) for row in self._expanded(record)]

    def _changed(self, op: str, row: Mapping[str, Any] | None) -> MappedRow:
        if op != DELETE or self._kind == "events" or row is None:
            return LeftOut(f"op {op!r} ({OPERATIONS[op]})")
        removed = Removed("removed")
        removed.values = self._expanded(row)[0]
        return removed

    def _with_lists(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        texts = {name: record.get(name) for name in self.rules.split}
        lists = {name: self.rules.split[name].elements(text) for name, text in texts.items() if isinstance(text, str)}
        return {**record, **lists}

    def _expanded(self, record: Mapping[str, Any]) -> list[list[Any]]:
        elements = self._list.elements(record) if self._list is not None else ()
        if not elements:
            return [self._values(record, None, 0)]
        return [self._values(record, element, part) for part, element in enumerate(elements)]

    def _values(self, record: Mapping[str, Any], element: Any, part: int) -> list[Any]:
        values = [
            constant if (found := _first(paths, record, element)) is None else found
            for paths, constant in zip(self._paths, self._constants, strict=True)
        ]
        if part and self._event_id is not None and values[self._event_id] not in (None, ""):
            values[self._event_id] = f"{values[self._event_id]}#{part}"
        return values

    def _kept_row(self, row: list[Any]) -> MappedRow:
        if self._kept is None or self._type is None or str(row[self._type]) in self._kept:
            return row
        kind = row[self._type]
        return LeftOut("type missing" if kind is None else f"type {kind!r}")


def _is_feature(field: str) -> bool:
    return field.startswith("features.")


def _paths(field: str, text: str) -> tuple[FieldPath, ...]:
    try:
        return parse_paths(text)
    except PathError as exc:
        if "[" in text and "]" in text and not text.rstrip().endswith(("]", "[")):
            raise InputError(f"--columns {field}={text}: {exc}") from None
        return (FieldPath(text, None, (text,)),)  # the name of a column, however it looks


def _one_list(fields: Iterable[tuple[str, tuple[FieldPath, ...]]]) -> FieldPath | None:
    """Return a path to the one list whose elements become rows; None where there is none."""
    found: tuple[str, FieldPath] | None = None
    for field, paths in fields:
        for path in paths:
            if path.to_list is None:
                continue
            if found is not None and found[1].list_text != path.list_text:
                raise InputError(
                    f"--columns {found[0]}={found[1].text},{field}={path.text}: two lists, {found[1].list_text}[] and "
                    f"{path.list_text}[]; a record becomes the elements of one list"
                )
            found = found or (field, path)
    return None if found is None else found[1]


def _first(paths: Sequence[FieldPath], record: Mapping[str, Any], element: Any = None) -> Any:
    """Return the first value that is there; ``element`` is the one of the list of ``[]``."""
    for path in paths:
        if path.to_list is None:
            found = path.find(record)
        else:
            found = record.get(path.text) if element is None else walk(element, path.steps, path.text)
        if found is not None and found != "":
            return found
    return None
