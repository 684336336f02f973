"""Decodes keys and values in the wire format of Confluent's serializers: Avro with a schema's id.

::

    byte 0        0, the magic byte
    bytes 1 to 4  the schema's id in the registry, big-endian
    bytes 5 on    the record in Avro's binary encoding

References
----------
Confluent's documentation, "Wire format".
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any, Final

import fastavro

from streams.errors import RecordError

MAGIC: Final = 0
HEADER: Final = struct.Struct(">BI")
#: Errors that bytes which do not fit their schema raise in fastavro.
_DECODE_ERRORS: Final = (
    EOFError, ValueError, TypeError, KeyError, IndexError, OverflowError, ArithmeticError, RecursionError, MemoryError,
    struct.error,
)  # fmt: skip
#: Avro's types that may take no byte, so that a list of a few bytes could have any length.
_EMPTY: Final = frozenset({"null"})


def schema_id_of(part: bytes | None) -> int | None:
    """Return the schema's id of a key or value; None where it is not in the wire format."""
    if not part or len(part) < HEADER.size or part[0] != MAGIC:
        return None
    return int(HEADER.unpack_from(part)[1])


def decode_avro(part: bytes, schema_of: Callable[[int], Any]) -> Any:
    """Return the plain Python value of a key or value.

    Parameters
    ----------
    schema_of : gives the parsed schema of an id; raises :class:`RecordError` for an unknown one

    Raises
    ------
    RecordError
        When the bytes are not in the wire format, or do not fit their schema.
    """
    schema_id = schema_id_of(part)
    if schema_id is None:
        raise RecordError(
            "malformed",
            "",
            f"first bytes {part[:5].hex()}: not the magic byte 0 and a schema id, as Confluent's serializers write",
        )
    schema = schema_of(schema_id)
    stream = io.BytesIO(part)
    stream.seek(HEADER.size)
    try:
        value = fastavro.schemaless_reader(stream, schema, None)
    except _DECODE_ERRORS as exc:
        why = " ".join(str(exc).split())[:200] or type(exc).__name__
        raise RecordError("malformed", "", f"not Avro of schema {schema_id}: {why}") from exc
    if stream.tell() != len(part):
        raise RecordError("malformed", "", f"{len(part) - stream.tell()} bytes behind the record of schema {schema_id}")
    return value


def parse_avro_schema(schema: Any, named: dict[str, Any]) -> Any:
    """Return a schema as fastavro reads with it.

    Parameters
    ----------
    schema : decoded JSON
    named : the types that it refers to, by full name; its own are added

    Raises
    ------
    ValueError
        When it is no Avro schema, or a record of a few bytes could become a list of any length.
    """
    try:
        parsed = fastavro.parse_schema(schema, named_schemas=named)
    except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType, *_DECODE_ERRORS) as exc:
        raise ValueError(f"no Avro schema: {type(exc).__name__} {' '.join(str(exc).split())[:200]}") from exc
    _refuse_empty_items(schema)
    return parsed


def _refuse_empty_items(schema: Any) -> None:
    """Raise ValueError for a list whose elements take no byte."""
    if isinstance(schema, list):
        for branch in schema:
            _refuse_empty_items(branch)
    elif isinstance(schema, dict):
        if schema.get("type") == "array" and _is_empty(schema.get("items")):
            raise ValueError("a list whose elements take no byte could have any length")
        for part in ("type", "items", "values"):
            _refuse_empty_items(schema.get(part))
        for field in schema.get("fields") or ():
            _refuse_empty_items(field)


def _is_empty(schema: Any) -> bool:
    """Whether a value of this schema may take no byte."""
    if isinstance(schema, str):
        return schema in _EMPTY
    if not isinstance(schema, dict):
        return False
    kind = schema.get("type")
    if kind == "record":
        return all(_is_empty(field.get("type")) for field in schema.get("fields") or ())
    if kind == "fixed":
        return not schema.get("size")
    return _is_empty(kind) if isinstance(kind, str | dict) else False
