"""Features of items or users as an artifact stores them: columns, and what fills missing values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.base.types import AnyArray, Float32, Int64
from models.features.columns import FeatureSpec, Row, encode, fit_spec, spec_from_dict, spec_to_dict
from models.features.imputation import TENSORS, Imputer, fit_imputer


@dataclass(frozen=True)
class SideFeatures:
    """A fitted :class:`FeatureSpec` and :class:`Imputer`, of items or of users."""

    spec: FeatureSpec
    imputer: Imputer

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.spec.n_columns

    def encode(self, rows: Sequence[Row], text: Float32, times_ms: Int64 | None = None) -> Float32:
        """Return features without missing values, (n, width) float32.

        Parameters
        ----------
        rows : feature name to value, one mapping per item or user
        text : (n, text_dim) float32, whitened; text_dim is 0 for users
        times_ms : (n,) int64, for imputation by ``time``
        """
        return self.imputer.apply(encode(self.spec, rows), text, times_ms)

    def to_plain(self) -> dict[str, Any]:
        """Return the part that belongs into the manifest."""
        return spec_to_dict(self.spec)

    def tensors(self, prefix: str) -> dict[str, AnyArray]:
        """Return the arrays that belong among the tensors, with ``prefix`` before each name."""
        return {prefix + name: array for name, array in self.imputer.tensors().items()}

    @classmethod
    def restore(cls, plain: Mapping[str, Any], tensors: Mapping[str, AnyArray], prefix: str) -> SideFeatures:
        """Return the features of :meth:`to_plain` and :meth:`tensors`.

        Raises
        ------
        ValueError
            When the two do not fit together.
        """
        spec = spec_from_dict(plain)
        imputer = Imputer.from_tensors({name: tensors[prefix + name] for name in TENSORS if prefix + name in tensors})
        if len(imputer.statistics) != spec.n_columns:
            raise ValueError(f"{prefix}statistics has {len(imputer.statistics)} columns, its spec {spec.n_columns}")
        return cls(spec, imputer)


def fit_side_features(
    rows: Sequence[Row], text: Float32, strategy: str = "median", times_ms: Int64 | None = None
) -> SideFeatures:
    """Fit columns and imputation to training rows; pass no other rows.

    Parameters
    ----------
    rows : feature name to value, one mapping per training item or user
    text : (n, text_dim) float32, whitened
    strategy : one of ``models.features.imputation.STRATEGIES``
    times_ms : (n,) int64, for imputation by ``time``
    """
    spec = fit_spec(rows)
    encoded = encode(spec, rows)
    return SideFeatures(spec, fit_imputer(encoded, text, strategy, times_ms, spec.groups))
