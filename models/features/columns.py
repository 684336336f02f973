"""Features of items and users as columns, fitted on training rows; NaN is a missing value."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.base.types import Float32, Int64

#: Feature name to value; a list is a set of categories.
Row = Mapping[str, "float | str | Sequence[str] | None"]

#: Columns of one spec: as wide as the text's projection, so that features cannot dominate it.
MAX_COLUMNS: Final = 64
#: Categories with a column of their own; rarer ones share the value 0.
MAX_CATEGORIES: Final = 16
#: A category of a single training row carries no information about other rows.
MIN_CATEGORY_ROWS: Final = 2
#: Above this a distribution is called highly skewed (Bulmer, Principles of Statistics, 1979,
#: chapter 4).
MAX_SKEWNESS: Final = 1.0
#: Standardised values are cut here: no network was trained beyond, and one extreme price must not
#: decide a list.
MAX_DEVIATIONS: Final = 10.0
_MAX_NUMBER: Final = float(np.finfo(np.float32).max)


class NumericFeature(msgspec.Struct, frozen=True):
    """One column: the number, or log(1 + number), standardised.

    Parameters
    ----------
    is_log : whether the column holds the logarithm
    mean, scale : of the number or of its logarithm; the column holds ``(value - mean) / scale``
    """

    name: str
    is_log: bool
    mean: float
    scale: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"{self.name}: mean {self.mean}, scale {self.scale}: must be finite, the scale above 0")


class CategoricalFeature(msgspec.Struct, frozen=True):
    """One column for each kept category; a row has one category or several.

    Parameters
    ----------
    shares : share of the known training rows that have each category, between 0 and 1
    """

    name: str
    categories: tuple[str, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.categories or len(set(self.categories)) != len(self.categories):
            raise ValueError(f"{self.name}: categories {list(self.categories)[:5]}: must be one or more, each once")
        if len(self.shares) != len(self.categories) or not all(0 < share < 1 for share in self.shares):
            raise ValueError(f"{self.name}: shares {list(self.shares)[:5]}: must be one per category, between 0 and 1")


class FeatureSpec(msgspec.Struct, frozen=True):
    """The columns of a matrix of features, in order: numeric features, then categories.

    Parameters
    ----------
    left_out : names of features that varied in training but did not fit into :data:`MAX_COLUMNS`;
        callers report them
    """

    numeric: tuple[NumericFeature, ...] = ()
    categorical: tuple[CategoricalFeature, ...] = ()
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.n_columns > MAX_COLUMNS:
            raise ValueError(f"feature spec: {self.n_columns} columns, limit {MAX_COLUMNS}; fit it again")

    @property
    def n_columns(self) -> int:
        """Number of columns of an encoded matrix."""
        return len(self.numeric) + sum(len(feature.categories) for feature in self.categorical)

    @property
    def groups(self) -> Int64:
        """The feature of each column, (n_columns,) int64 from 0.

        All columns of one feature are missing together.
        """
        widths = [1] * len(self.numeric) + [len(feature.categories) for feature in self.categorical]
        return np.repeat(np.arange(len(widths), dtype=np.int64), widths)


def item_row(item: Mapping[str, Any]) -> Row:
    """Return an item's features by name.

    The names are ``price``, ``category``, ``categories``, ``n_tags`` and ``features.NAME``.

    Parameters
    ----------
    item : fields of the contract's item; absent ones are None. Without ``tags`` their number is
        unknown, not 0
    """
    tags = item.get("tags")
    row: dict[str, float | str | Sequence[str] | None] = {
        "price": item.get("price"),
        "category": item.get("category"),
        "n_tags": None if tags is None else float(len(tags)),
    }
    if categories := item.get("categories"):
        row["categories"] = categories
    return row | user_row(item)


def user_row(user: Mapping[str, Any]) -> dict[str, Any]:
    """Return a user's features by name, as ``features.NAME``."""
    return {f"features.{name}": value for name, value in (user.get("features") or {}).items()}


def fit_spec(rows: Sequence[Row]) -> FeatureSpec:
    """Fit the columns to training rows.

    A feature is numeric where at least half of its known values are numbers, else categorical with
    its most frequent values; a list of texts counts as each of them. A numeric feature without
    negative values and with a highly skewed distribution, such as prices, becomes log(1 + x).
    Features are taken by falling coverage while they fit into :data:`MAX_COLUMNS`. A feature with
    only one value gets no column.

    Parameters
    ----------
    rows : feature name to value, one mapping per training row; pass no other rows
    """
    n_known: Counter[str] = Counter()
    for row in rows:
        n_known.update(name for name, value in row.items() if _number(value) is not None or _categories(value))
    numeric: list[NumericFeature] = []
    categorical: list[CategoricalFeature] = []
    left_out: list[str] = []
    free = MAX_COLUMNS
    for name in sorted(n_known, key=lambda name: (-n_known[name], name)):
        feature = _fit_feature(name, [row.get(name) for row in rows])
        width = len(feature.categories) if isinstance(feature, CategoricalFeature) else 1
        if feature is not None and width > free:
            left_out.append(name)
        elif isinstance(feature, NumericFeature):
            numeric.append(feature)
            free -= width
        elif feature is not None:
            categorical.append(feature)
            free -= width
    return FeatureSpec(tuple(numeric), tuple(categorical), tuple(left_out))


def encode(spec: FeatureSpec, rows: Sequence[Row]) -> Float32:
    """Return the features of rows, standardised by the training rows, NaN where missing.

    A value is missing if it is absent, None, not finite, beyond float32, empty, or not a number in
    a numeric feature. A category without a column gives 0 (standardised) in all columns of its
    feature. Values are cut at :data:`MAX_DEVIATIONS`.

    Returns
    -------
    (n, n_columns) float32
    """
    encoded = np.full((len(rows), spec.n_columns), np.nan, dtype=np.float32)
    for column, number in enumerate(spec.numeric):
        values = _numbers([row.get(number.name) for row in rows])
        values = np.log1p(np.maximum(values, 0)) if number.is_log else values
        encoded[:, column] = _cut((values - number.mean) / number.scale)
    column = len(spec.numeric)
    for feature in spec.categorical:
        width = len(feature.categories)
        encoded[:, column : column + width] = _cut(_one_hot(feature, [row.get(feature.name) for row in rows]))
        column += width
    return encoded


def spec_to_dict(spec: FeatureSpec) -> dict[str, Any]:
    """Return a spec as plain data that JSON can hold."""
    plain: dict[str, Any] = msgspec.to_builtins(spec)
    return plain


def spec_from_dict(plain: Mapping[str, Any]) -> FeatureSpec:
    """Return the spec of :func:`spec_to_dict`, also from decoded JSON.

    Raises
    ------
    ValueError
        When a field is missing, has the wrong type, or lies outside its limits.
    """
    try:
        return msgspec.convert(dict(plain), FeatureSpec)
    except msgspec.ValidationError as exc:
        raise ValueError(f"feature spec: {exc}; restore the manifest from its source, or train again") from exc


def _cut(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(values, -MAX_DEVIATIONS, MAX_DEVIATIONS)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MAX_NUMBER:
        return None
    return float(value)


def _category(value: Any) -> str:
    """Return a value as a category, empty where it is missing; a number counts by its text."""
    if isinstance(value, str):
        return value.strip()
    number = _number(value)
    return "" if number is None else f"{number:g}"


def _categories(value: Any) -> tuple[str, ...]:
    """Return the distinct categories of a value: one, those of a list, or none if missing."""
    texts = [part for part in value if isinstance(part, str)] if isinstance(value, list | tuple) else [value]
    return tuple(dict.fromkeys(category for text in texts if (category := _category(text))))


def _numbers(values: Sequence[Any]) -> NDArray[np.float64]:
    found = (_number(value) for value in values)
    return np.array([np.nan if number is None else number for number in found], dtype=np.float64)


def _fit_feature(name: str, values: Sequence[Any]) -> NumericFeature | CategoricalFeature | None:
    """Fit one feature; None where its known values do not vary."""
    numbers = _numbers(values)
    numbers = numbers[np.isfinite(numbers)]
    known = [categories for value in values if (categories := _categories(value))]
    if 2 * len(numbers) < len(known):
        return _fit_categories(name, known)
    if numbers.min() == numbers.max():
        return None
    is_log = bool(numbers.min() >= 0 and _skewness(numbers) > MAX_SKEWNESS)
    numbers = np.log1p(numbers) if is_log else numbers
    return NumericFeature(name, is_log, float(numbers.mean()), float(numbers.std()) or 1.0)


def _fit_categories(name: str, known: Sequence[tuple[str, ...]]) -> CategoricalFeature | None:
    """Fit the most frequent categories that not every row has; None without one.

    Parameters
    ----------
    known : categories of each row that has some
    """
    counts = Counter(category for categories in known for category in categories)
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    kept = [(category, n) for category, n in ranked if MIN_CATEGORY_ROWS <= n < len(known)][:MAX_CATEGORIES]
    if not kept:
        return None
    return CategoricalFeature(name, tuple(category for category, _ in kept), tuple(n / len(known) for _, n in kept))


def _skewness(values: NDArray[np.float64]) -> float:
    """Return the third standardised moment."""
    deviations = values - values.mean()
    deviations /= np.abs(deviations).max() or 1.0  # the cube of a large number would overflow
    spread = float(np.sqrt(np.mean(deviations**2)))
    return float(np.mean((deviations / spread) ** 3)) if spread > 0 else 0.0


def _one_hot(feature: CategoricalFeature, values: Sequence[Any]) -> NDArray[np.float64]:
    """Return (n, n_categories) float64; a share p is standardised by sqrt(p (1 - p))."""
    place = {category: i for i, category in enumerate(feature.categories)}
    known = [_categories(value) for value in values]
    is_category = np.zeros((len(known), len(place)), dtype=bool)
    for row, categories in enumerate(known):
        is_category[row, [place[category] for category in categories if category in place]] = True
    shares = np.array(feature.shares)
    columns: NDArray[np.float64] = (is_category - shares) / np.sqrt(shares * (1 - shares))
    columns[np.array([not categories for categories in known], dtype=bool)] = np.nan
    return columns
