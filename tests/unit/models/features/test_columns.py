"""Features as numbers: their columns, their values, and what counts as missing."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from models.features.columns import (
    MAX_CATEGORIES,
    MAX_COLUMNS,
    FeatureSpec,
    Row,
    encode,
    fit_spec,
    item_row,
    spec_from_dict,
    spec_to_dict,
    user_row,
)

PEOPLE: list[Row] = [
    {"age": 20.0, "city": "Bern", "same": 1.0, "never": None, "word": "x"},
    {"age": 40.0, "city": "Basel", "same": 1.0, "never": None, "word": "x"},
    {"age": None, "city": "Bern", "same": None, "never": None},
    {"city": "Basel", "same": 1.0},
]


def names_of(spec: FeatureSpec) -> tuple[str, ...]:
    """Return what each column of an encoded matrix holds: ``age``, ``city=Bern``."""
    one_hot = (f"{feature.name}={category}" for feature in spec.categorical for category in feature.categories)
    return (*(feature.name for feature in spec.numeric), *one_hot)


def test_numbers_and_categories_become_standardised_columns() -> None:
    """Known values have mean 0 and deviation 1; missing ones are NaN in all their columns."""
    spec = fit_spec(PEOPLE)
    assert names_of(spec) == ("age", "city=Basel", "city=Bern")
    assert spec.groups.tolist() == [0, 1, 1]
    encoded = encode(spec, [*PEOPLE, {}])
    assert encoded.dtype == np.float32
    assert encoded[:2].tolist() == [[-1, -1, 1], [1, 1, -1]]
    assert np.isnan(encoded[2:4, 0]).all()
    assert np.isnan(encoded[4]).all()
    known = encoded[:4]
    assert np.nanmean(known, axis=0) == pytest.approx(0, abs=1e-6)
    assert np.nanstd(known, axis=0) == pytest.approx(1, abs=1e-6)


def test_constant_and_missing_features_are_no_columns() -> None:
    """A feature with one value, or categories of one row each, get no column."""
    assert fit_spec([]).n_columns == fit_spec([{}]).n_columns == 0
    assert fit_spec([{"same": 1.0, "never": None, "id": f"i{i}"} for i in range(5)]).n_columns == 0
    assert encode(fit_spec([]), PEOPLE).shape == (4, 0)
    assert encode(fit_spec(PEOPLE), []).shape == (0, 3)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, 1e300, 10**400, "old", "", True, [1], {"a": 1}])
def test_what_is_no_number_is_missing(value: Any) -> None:
    """A numeric feature takes finite numbers that fit float32."""
    assert np.isnan(encode(fit_spec(PEOPLE), [{"age": value}])[0, 0])


@pytest.mark.parametrize(("value", "is_missing"), [("Oslo", False), (7, False), ("", True), (True, True), ([1], True)])
def test_an_unseen_category_is_another_one(value: Any, is_missing: bool) -> None:
    """An unseen category is 0 in all columns; a missing one is NaN."""
    columns = encode(fit_spec(PEOPLE), [{"city": value}])[0, 1:]
    assert np.isnan(columns).all() if is_missing else columns.tolist() == [-1, -1]


def test_numbers_among_words_are_words() -> None:
    """A size may be XL or 38."""
    spec = fit_spec([{"size": value} for value in ("XL", "XL", "S", "S", 38.0, 38)])
    assert names_of(spec) == ("size=38", "size=S", "size=XL")


def test_skewed_amounts_are_taken_as_logarithms() -> None:
    """Prices become logarithms, years do not; a negative price is 0; extremes are cut."""
    rows: list[Row] = [
        {"price": float(10**i), "year": 1990.0 + i, "gain": -1.0 if i == 0 else 10.0**i} for i in range(7)
    ]
    spec = fit_spec(rows)
    assert {feature.name: feature.is_log for feature in spec.numeric} == {"price": True, "year": False, "gain": False}
    logs = np.log1p([10.0**i for i in range(7)])
    place = names_of(spec).index("price")
    assert encode(spec, rows)[:, place] == pytest.approx((logs - logs.mean()) / logs.std(), abs=1e-5)
    assert encode(spec, [{"price": -5.0}])[0, place] == pytest.approx(-logs.mean() / logs.std(), abs=1e-5)
    assert np.abs(encode(spec, [{"year": 1e30, "gain": -1e30}])).tolist()[0].count(10.0) == 2


def test_frequent_categories_have_columns_and_rare_ones_fall_together() -> None:
    """The most frequent are kept up to the bound."""
    rows: list[Row] = [{"brand": f"b{i:02}"} for i in range(20) for _ in range(30 - i)]
    spec = fit_spec(rows)
    assert names_of(spec) == tuple(f"brand=b{i:02}" for i in range(MAX_CATEGORIES))
    rare = encode(spec, [{"brand": "b18"}, {"brand": "unseen"}])
    assert rare[0].tolist() == rare[1].tolist()
    assert (rare < 0).all()


def test_the_best_known_features_are_kept() -> None:
    """Beyond the bound the least covered features are left out and named."""
    rows: list[Row] = [
        {f"f{j:02}": float(i) for j in range(70) if i < 100 - j} | {"kind": f"k{i % 4}" if i < 39 else None}
        for i in range(100)
    ]
    spec = fit_spec(rows)
    assert spec.n_columns == MAX_COLUMNS
    assert [feature.name for feature in spec.numeric] == [f"f{j:02}" for j in range(64)]
    # 4 columns had no room, then 2 had
    assert spec.left_out == ("kind", "f64", "f65", "f66", "f67", "f68", "f69")


def test_other_rows_do_not_change_the_spec() -> None:
    """Encoding depends on the spec only: a row gives the same alone and among others."""
    spec = fit_spec(PEOPLE)
    together = encode(spec, [PEOPLE[0], {"age": 1e6, "city": "Oslo"}])
    assert together[0].tolist() == encode(spec, PEOPLE[:1])[0].tolist()
    assert fit_spec(PEOPLE) == spec


def test_a_spec_survives_json() -> None:
    """A spec from JSON encodes to the same numbers."""
    spec = fit_spec(PEOPLE)
    again = spec_from_dict(json.loads(json.dumps(spec_to_dict(spec))))
    assert again == spec
    assert encode(again, PEOPLE[:2]).tolist() == encode(spec, PEOPLE[:2]).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"numeric": [{"name": "a", "is_log": False, "mean": 0.0, "scale": 0.0}]}, "scale above 0"),
        ({"numeric": [{"name": "a", "is_log": False, "mean": 0.0}]}, "scale"),
        ({"categorical": [{"name": "a", "categories": ["x", "y"], "shares": [0.5]}]}, "one per category"),
        ({"categorical": [{"name": "a", "categories": [], "shares": []}]}, "one or more"),
        ({"numeric": [{"name": str(i), "is_log": False, "mean": 0.0, "scale": 1.0} for i in range(65)]}, "limit 64"),
        ({"left_out": 3}, "left_out"),
    ],
)
def test_a_damaged_spec_is_refused(change: dict[str, Any], message: str) -> None:
    """The error names the field."""
    with pytest.raises(ValueError, match=message):
        spec_from_dict(spec_to_dict(fit_spec(PEOPLE)) | change)


def test_rows_of_items_and_users() -> None:
    """Fields of the contract by name; without tags their number is unknown."""
    item = {"item_id": "i", "title": "t", "price": 2.0, "tags": ["a", "b"], "features": {"price": "low"}}
    assert item_row(item) == {"price": 2.0, "category": None, "n_tags": 2.0, "features.price": "low"}
    assert item_row({"features": None}) == {"price": None, "category": None, "n_tags": None}
    assert user_row({"features": {"age": 3.0}, "follows": ["u"]}) == {"features.age": 3.0}
    assert user_row({}) == {}


def test_an_item_may_have_several_categories() -> None:
    """Each kept category has a column, and a row is in all of its own.

    A category of every row says nothing, so it has no column.
    """
    kinds = [["all", "toys"], ["all", "toys", "games", "toys"], ["all", "games"], ["all", " "], ["all", "rare"]]
    rows = [item_row({"categories": found}) for found in kinds]
    spec = fit_spec(rows)
    assert names_of(spec) == ("categories=games", "categories=toys")
    encoded = encode(spec, [*rows, item_row({"categories": []}), item_row({"category": "toys"})])
    assert (encoded > 0).tolist() == [[False, True], [True, True], [True, False], *[[False, False]] * 4]
    assert np.isnan(encoded[-2:]).all()
    assert encoded[:-2].mean(axis=0) == pytest.approx(0, abs=1e-6)
    assert spec_from_dict(json.loads(json.dumps(spec_to_dict(spec)))) == spec


def test_one_category_and_a_list_of_one_are_the_same() -> None:
    """A shop that has one category in each list gets the columns of a plain category."""
    values = ["a", "b", "a", "c", "b", None]
    plain = [{"category": value} for value in values]
    lists = [{"category": value and [value]} for value in values]
    assert fit_spec(plain) == fit_spec(lists)
    assert np.array_equal(encode(fit_spec(plain), plain), encode(fit_spec(lists), lists), equal_nan=True)
