"""Reads records of a topic whose format is another system's; see the settings ``..._format``.

::

    bytes ─► JSON or Avro ─► envelope opened ─► a row ─► the contract's fields ─► its checks
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from streams.contract.record_size import true_size
from streams.contract.records import MAX_RECORD_BYTES, VERSION
from streams.errors import InputError, RecordError, SettingsError
from streams.formats.avro_records import decode_avro, schema_id_of
from streams.formats.envelopes import DELETE, OPERATIONS, Change, EnvelopeError, open_payload, unwrap
from streams.formats.field_paths import FieldPath, PathError, parse_paths
from streams.formats.mapping_file import Mapping as MappingOfKind
from streams.formats.mapping_file import read_mapping
from streams.formats.schema_registry import SchemaRegistry
from streams.formats.topic_fields import FEATURE, UNITS, contract_fields
from streams.formats.values import optional_id
from streams.settings.load import KafkaSettings

#: The envelope that a format has where the mapping names none.
ENVELOPES: Final = {"debezium": "debezium", "connect-json": "connect", "confluent-avro": ""}
#: Fields that say what a record is, by topic; an event's ``run`` and ``seq`` are headrace's own.
NOT_MAPPED: Final = frozenset({"v", "run", "seq"})


class TopicFormat:
    """Turns records of one topic into the contract's fields. Not for use by two threads at once.

    Parameters
    ----------
    kind : ``events`` or ``items``
    name : the setting ``..._format``
    rules : how the fields of a row are named
    id_field : the field that the key holds
    registry : gives the schemas of ``confluent-avro``

    Raises
    ------
    SettingsError
        When the mapping reads lists, which a record of a topic cannot become, or an unknown field
        or unit.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        rules: MappingOfKind,
        struct: type[msgspec.Struct],
        *,
        id_field: str,
        registry: SchemaRegistry | None,
    ) -> None:
        self._name = name
        self._rules = rules
        self._id = id_field
        self._registry = registry
        self._envelope = rules.unwrap or ENVELOPES[name]
        self._unit = rules.time_unit if rules.time_unit in UNITS else "ms"
        fields = [field for field in struct.__struct_fields__ if field not in NOT_MAPPED]
        features = [field for field in rules.columns if field.startswith(FEATURE) and "features" in fields]
        _check(kind, rules, [*fields, *features])
        self._paths = {field: parse_paths(rules.columns.get(field, field)) for field in [*fields, *features]}
        for field, paths in self._paths.items():
            if any(path.to_list is not None for path in paths):
                raise SettingsError(
                    f"{kind}_mapping: {field}={rules.columns[field]}: a record of a topic is one record; leave [] to files"
                )
        self._only = [(parse_paths(path), path, frozenset(values)) for path, values in rules.only.items()]

    def change(self, value: bytes | None) -> Change:
        """Return the row in a record's value, and what happened to it.

        Raises
        ------
        RecordError
            When the value is absent, too large, not in the format, or of another kind (``only``).
        """
        if not value:
            raise RecordError("empty", "", f"no value; the topic's format is {self._name}")
        if len(value) > MAX_RECORD_BYTES:
            raise RecordError(
                "too-large", "", f"{true_size(value)} bytes, limit {MAX_RECORD_BYTES}; publish smaller records"
            )
        found = self._decoded(value)
        try:
            change = unwrap(found, self._envelope) if self._envelope else Change("c", found)
        except EnvelopeError as exc:
            raise RecordError("malformed", "", f"{exc}; the topic's format is {self._name}") from exc
        if change.row is not None and not isinstance(change.row, Mapping):
            raise RecordError("malformed", "", f"the record is of type {type(change.row).__name__}, must be an object")
        self._check_kind(change.row or {})
        return change

    def encoded(self, row: Mapping[str, Any]) -> bytes:
        """Return a row as the msgpack of the contract, for its decoder to check.

        Raises
        ------
        RecordError
            When a path leads through a value of the wrong kind, or a time is none.
        """
        raws = {field: self._find(paths, row, field) for field, paths in self._paths.items()}
        raws |= {field: value for field, value in self._rules.constants.items() if raws.get(field) in (None, "")}
        fields = contract_fields(raws, self._unit, self._rules.types)
        try:
            return msgspec.msgpack.encode({"v": VERSION, **fields})
        except (OverflowError, TypeError, UnicodeEncodeError, RecursionError) as exc:
            raise RecordError("type", "", f"{exc}") from exc

    def id_of(self, row: Mapping[str, Any]) -> str | None:
        """Return the id of a row, None where it has none.

        Raise :class:`RecordError` for a value that is no id.
        """
        return optional_id(self._id, self._find(self._paths[self._id], row, self._id))

    def id_of_key(self, key: bytes | None) -> str | None:
        """Return the id in a record's key; None where it holds none.

        A key is the id as text, or an encoded value: the id alone, or an object with the id's
        field, or with one field.
        """
        if not key:
            return None
        try:
            _, found = open_payload(self._decoded(key))
        except RecordError:
            found = None
        if isinstance(found, Mapping):
            try:
                inner = self._find(self._paths[self._id], found, self._id)
            except RecordError:
                inner = None
            found = inner if inner is not None or len(found) != 1 else next(iter(found.values()))
        try:
            return optional_id(self._id, found) or key.decode()
        except (RecordError, UnicodeDecodeError):
            return None

    def has_key(self, key: bytes | None, record_id: str) -> bool:
        """Return whether a record's key holds this id, as plain text or encoded."""
        return key is not None and (key == record_id.encode() or self.id_of_key(key) == record_id)

    def _decoded(self, part: bytes) -> Any:
        if self._name == "confluent-avro":
            assert self._registry is not None
            return decode_avro(part, self._registry.schema)
        try:
            return msgspec.json.decode(part)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            hint = "; it looks like Confluent's Avro: set confluent-avro" if schema_id_of(part) is not None else ""
            raise RecordError("malformed", "", f"not JSON: {exc}{hint}") from exc

    def _check_kind(self, row: Mapping[str, Any]) -> None:
        for paths, name, values in self._only:
            found = self._find(paths, row, name)
            if str(found) not in values:
                raise RecordError("value", name, f"{str(found)[:40]!r} is none of {', '.join(sorted(values))}")

    def _find(self, paths: Sequence[FieldPath], row: Mapping[str, Any], field: str) -> Any:
        try:
            for path in paths:
                found = path.find(row)
                if found is not None and found != "":
                    return found
        except PathError as exc:
            raise RecordError("type", field, str(exc)) from exc
        return None


def refused_operation(change: Change, taken: str) -> RecordError:
    """Return the error of a change that a topic does not take; ``taken`` says which it takes."""
    return RecordError("operation", "op", f"{change.op!r} ({OPERATIONS[change.op]}); {taken}")


def is_delete(change: Change) -> bool:
    """Return whether a change removes its row."""
    return change.op == DELETE


def open_format(
    kafka: KafkaSettings, kind: str, struct: type[msgspec.Struct], id_field: str, registry: SchemaRegistry | None
) -> TopicFormat:
    """Return the format of a topic by the settings ``KIND_format`` and ``KIND_mapping``.

    Raises
    ------
    SettingsError
        When the mapping file cannot be used.
    """
    file: str = getattr(kafka, f"{kind}_mapping")
    try:
        rules = read_mapping(Path(file), kind) if file else MappingOfKind()
    except InputError as exc:
        raise SettingsError(f"{kind}_mapping={file!r}: {exc}") from exc
    name: str = getattr(kafka, f"{kind}_format")
    return TopicFormat(kind, name, rules, struct, id_field=id_field, registry=registry)


def _check(kind: str, rules: MappingOfKind, fields: Sequence[str]) -> None:
    unknown = sorted((rules.columns.keys() | rules.constants.keys()) - set(fields))
    if unknown:
        raise SettingsError(f"{kind}_mapping: {unknown[0]!r} is not a field; the fields are {', '.join(fields)}")
    if rules.time_unit not in (*UNITS, "iso", ""):
        raise SettingsError(f"{kind}_mapping: time_unit {rules.time_unit!r} must be one of {', '.join(UNITS)}, iso")
