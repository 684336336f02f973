"""Turns arrays of Arrow into Python values: rows with the same text share it in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from streams.errors import InputError

if TYPE_CHECKING:
    import pyarrow

MAX_REASON: Final = 300


def arrow_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that reading a damaged file may raise."""
    import pyarrow

    return (pyarrow.ArrowException, OSError, OverflowError, UnicodeDecodeError)


def arrow_error(name: object, kind: str, exc: Exception) -> InputError:
    """Return the error for a file that cannot be read, with the reason on one line."""
    reason = " ".join(str(exc).split())[:MAX_REASON]
    article = "an" if kind[0] in "AO" else "a"
    return InputError(f"{name}: not {article} {kind} file, or a damaged one ({reason})")


def values_of(array: pyarrow.Array) -> list[Any]:
    """Return an array as Python values; equal texts of a dictionary share one object.

    Times are cut to microseconds, because Python knows no nanoseconds.
    """
    from pyarrow import types

    kind = array.type
    if types.is_dictionary(kind):
        words = values_of(array.dictionary)
        return [None if i is None else words[i] for i in array.indices.to_pylist()]
    if types.is_map(kind):
        pairs = list(zip(values_of(array.keys), values_of(array.items), strict=True))
        return _cut(pairs, array)
    if types.is_fixed_size_list(kind):
        import pyarrow

        return values_of(array.cast(pyarrow.list_(kind.value_type)))
    if types.is_list(kind) or types.is_large_list(kind):
        return _cut(values_of(array.values), array)
    if types.is_struct(kind):
        fields = {field.name: values_of(array.field(i)) for i, field in enumerate(kind)}
        rows = [dict(zip(fields, row, strict=True)) for row in zip(*fields.values(), strict=True)] if fields else []
        return [row if valid else None for row, valid in zip(rows, array.is_valid().to_pylist(), strict=True)]
    return _plain(array)


def _plain(array: pyarrow.Array) -> list[Any]:
    finer = _in_microseconds(array.type)
    array = array if finer is None else array.cast(finer, safe=False)
    try:
        plain: list[Any] = array.to_pylist()
    except (ValueError, OverflowError):  # a time beyond the year 9999
        plain = [_or_text(value) for value in array]
    return plain


def _in_microseconds(kind: pyarrow.DataType) -> pyarrow.DataType | None:
    """Return the type in microseconds of a time in nanoseconds, None for any other type."""
    import pyarrow
    from pyarrow import types

    if getattr(kind, "unit", None) != "ns":
        return None
    if types.is_timestamp(kind):
        return pyarrow.timestamp("us", kind.tz)
    return pyarrow.time64("us") if types.is_time(kind) else pyarrow.duration("us")


def _or_text(value: pyarrow.Scalar) -> Any:
    try:
        return value.as_py()
    except (ValueError, OverflowError):
        return str(value.cast("int64")) if hasattr(value.type, "unit") else str(value)


def _cut(values: list[Any], array: Any) -> list[Any]:
    """Return the values of each list of an array, None for a missing list."""
    at = array.offsets.to_pylist()
    valid = array.is_valid().to_pylist()
    return [values[start:end] if there else None for start, end, there in zip(at, at[1:], valid, strict=False)]
