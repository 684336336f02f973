"""msgspec and msgpack write the same bytes for every record, and each reads the other's."""

from __future__ import annotations

import functools
import types
import typing
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.contract.records import decode_any, encode
from tools.project.asyncapi import RECORDS

Strategy = st.SearchStrategy[Any]
INT64 = st.integers(-(2**63), 2**63 - 1)
SCALARS: dict[Any, Strategy] = {
    int: INT64,
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    bytes: st.binary(max_size=40),
    str: st.text(max_size=40),
    type(None): st.none(),
}


def values(kind: Any) -> Strategy:
    """Return the values that a field's annotation allows."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return limited(args[0], args[1])
    if origin is Literal:
        return st.sampled_from(args)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(values, args))
    if origin is list:
        return st.lists(values(args[0]), max_size=4)
    if origin is dict:
        return st.dictionaries(values(args[0]), values(args[1]), max_size=4)
    if origin is tuple:
        return st.tuples(*map(values, args))
    return SCALARS[kind] if kind in SCALARS else built(kind)


def limited(kind: Any, meta: msgspec.Meta) -> Strategy:
    """Return the values within the limits of a field, its ends among them."""
    if kind is int:
        return st.integers(meta.ge, meta.le)  # type: ignore[arg-type]
    if kind is float:
        return st.floats(meta.ge, meta.le)
    if kind is str and meta.pattern:
        return st.from_regex(meta.pattern, fullmatch=True)
    if kind is str:
        return st.text(min_size=meta.min_length or 0, max_size=min(meta.max_length or 40, 200))
    return values(kind)


@functools.cache
def built(struct: Any) -> Strategy:
    """Return records of a struct, or tuples of a named tuple, with any value in each field."""
    hints = get_type_hints(struct, include_extras=True)
    return st.builds(struct, **{name: values(hint) for name, hint in hints.items()})


def plain(record: msgspec.Struct) -> Any:
    """Return a record as maps, lists and scalars, the fields that it leaves out left out."""
    return msgspec.to_builtins(record, builtin_types=(bytes,))


def lists(value: Any) -> Any:
    """Return a value with lists in place of tuples: the wire has arrays only."""
    if isinstance(value, dict):
        return {key: lists(part) for key, part in value.items()}
    return [lists(part) for part in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("struct", RECORDS, ids=lambda struct: struct.__name__)
@settings(deadline=None)
@given(data=st.data())
def test_either_codec_reads_what_the_other_wrote(struct: type[msgspec.Struct], data: st.DataObject) -> None:
    """A client with msgpack alone reads every field, and headrace reads what it publishes."""
    record = data.draw(built(struct))
    written = encode(record)
    assert msgpack.unpackb(written) == lists(plain(record)) == decode_any(written)
    if not any(getattr(record, name) is msgspec.UNSET for name in record.__struct_fields__):
        assert msgpack.packb(plain(record)) == written  # msgspec sizes a map's head for all fields
    assert msgspec.msgpack.decode(msgpack.packb(plain(record)), type=struct) == record
