"""The required shapes of an artifact's tensors, compared from the file's header.

The models are built on PyTorch's ``meta`` device, which knows shapes and holds no values, so the
comparison costs kilobytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from msgspec import UNSET, UnsetType

from models.artifact.manifest import NewcomerWeights
from models.base.scalar_features import FEATURES
from models.files.plain_files import FileError
from models.files.tensor_header import TensorSpec
from models.fusion import FusionModel
from models.sequence.model import SequenceConfig, SequenceModel

#: Least and greatest size of the sequence model; the greatest are ten times those in use, or more.
SIZES: Final = {
    "dim": (1, 2_048),
    "text_dim": (1, 8_192),
    "max_length": (1, 10_000),
    "n_layers": (1, 32),
    "n_heads": (1, 64),
}
_FLOAT: Final = ("torch.float32",)
_ROWS: Final = ("torch.int32", "torch.int64")
#: Types and dimensions of the tensors outside the networks; equal names are equal sizes.
_TABLES: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "mf.factors": (_FLOAT, ("items", "factors")),
    "mf.biases": (_FLOAT, ("items",)),
    "next.rows": (_ROWS, ("items", "next")),
    "next.weights": (_FLOAT, ("items", "next")),
    "neighbours.rows": (_ROWS, ("items", "neighbours")),
    "neighbours.weights": (_FLOAT, ("items", "neighbours")),
    "popularity": (_FLOAT, ("items",)),
    "recent_popularity": (_FLOAT, ("items",)),
    "first_ms": (("torch.int64",), ("items",)),
    "whitening.mean": (_FLOAT, ("embedding",)),
    "whitening.matrix": (_FLOAT, ("embedding", "text_dim")),
}
_IMPUTER: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "statistics": (_FLOAT, ("features",)),
    "intercepts": (_FLOAT, ("rounds", "features")),
    "coefficients": (_FLOAT, ("rounds", "inputs", "features")),
    "knot_times_ms": (("torch.int64",), ("knots",)),
    "knot_values": (_FLOAT, ("knots",)),
    "knot_offsets": (("torch.int64",), ("offsets",)),
}
#: The regression from users' features to factors; only where features have a weight.
_NEWCOMERS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "newcomers.coefficients": (_FLOAT, ("user features", "factors")),
    "newcomers.intercept": (_FLOAT, ("factors",)),
}


def check_newcomers(found: Mapping[str, TensorSpec], weights: NewcomerWeights | UnsetType) -> None:
    """Raise :class:`FileError` where features have a weight and no regression, or the reverse."""
    has_weight = weights is not UNSET and weights.features > 0
    for name in _NEWCOMERS:
        if (name in found) != has_weight:
            raise FileError(f"tensor {name} must be there where newcomers.features is above 0, and only there")


def check_sizes(sizes: Mapping[str, object]) -> None:
    """Check the sizes of the sequence model.

    Raises
    ------
    ValueError
        When a size is not a whole number within its limits, or sizes do not fit together.
    """
    for name, (least, greatest) in SIZES.items():
        value = sizes.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"sequence.{name}={value!r} is not a whole number")
        if not least <= value <= greatest:
            limit = f"below {least}" if value < least else f"above {greatest}"
            raise ValueError(f"sequence.{name}={value} is {limit}")
    for name in ("dropout", "input_dropout"):
        share = sizes.get(name)
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
            raise ValueError(f"sequence.{name}={share!r} is not from 0 to below 1")
    if sizes.get("kind") == "transformer" and int(str(sizes["dim"])) % int(str(sizes["n_heads"])):
        raise ValueError(f"sequence.n_heads={sizes['n_heads']} does not divide dim={sizes['dim']}")


def check_shapes(
    found: Mapping[str, TensorSpec], config: SequenceConfig, n_items: int, n_types: int, n_features: int = len(FEATURES)
) -> None:
    """Compare the tensors of a file with the configuration.

    Parameters
    ----------
    found : the file's header
    n_items, n_types : number of the manifest's item ids, and of its event types
    n_features : scalar features that fusion reads

    Raises
    ------
    FileError
        When a tensor is missing, unknown, or of another type or shape.
    """
    sizes = {"items": n_items, "text_dim": config.text_dim}
    _check_tables(found, _TABLES, "", sizes)
    for name, dim in (("popularity", "items"), ("mf.factors", "factors"), ("whitening.mean", "embedding")):
        if not sizes[dim]:
            raise FileError(f"tensor {name} has the shape {found[name].shape}, must have 1 or more {dim}")
    widths = {}
    for side, n_text in (("user", 0), ("item", config.text_dim)):
        widths[side] = _check_imputer(found, f"{side}_imputer.", n_text)
    with torch.device("meta"):
        parts = {
            "sequence.": SequenceModel(config, n_items, n_types),
            "fusion.": FusionModel(config.dim + 1 + widths["user"], config.dim + 1 + widths["item"], n_features),
        }
    wanted = {prefix + name: value for prefix, part in parts.items() for name, value in part.state_dict().items()}
    for name, value in wanted.items():
        _check(found, name, (str(value.dtype),), list(value.shape))
    imputed = {f"{side}_imputer.{name}" for side in widths for name in _IMPUTER}
    if _NEWCOMERS.keys() & found.keys():
        _check_tables(found, _NEWCOMERS, "", sizes | {"user features": widths["user"]})
    if strangers := sorted(found.keys() - wanted.keys() - _TABLES.keys() - imputed - _NEWCOMERS.keys()):
        raise FileError(f"tensor {strangers[0]} belongs to no part of the model")


def _check_imputer(found: Mapping[str, TensorSpec], prefix: str, n_text: int) -> int:
    """Check the imputer of one side and return its number of features."""
    sizes: dict[str, int] = {}
    _check_tables(found, _IMPUTER, prefix, sizes)
    width = sizes["features"]
    if sizes["offsets"] != width + 1:
        raise FileError(f"tensor {prefix}knot_offsets has {sizes['offsets']} entries, must have {width + 1}")
    if sizes["rounds"] and sizes["inputs"] != n_text + width:
        raise FileError(f"tensor {prefix}coefficients has {sizes['inputs']} inputs, must have {n_text + width}")
    return width


def _check_tables(
    found: Mapping[str, TensorSpec],
    tables: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]],
    prefix: str,
    sizes: dict[str, int],
) -> None:
    """Compare shapes with names of dimensions.

    ``sizes`` holds the known dimensions; the comparison adds those that it finds.
    """
    for short, (dtypes, dims) in tables.items():
        name = prefix + short
        shape = found[name].shape if name in found else []
        if len(shape) == len(dims):
            for dim, size in zip(dims, shape, strict=True):
                sizes.setdefault(dim, size)
        _check(found, name, dtypes, [sizes.get(dim, -1) for dim in dims])


def _check(found: Mapping[str, TensorSpec], name: str, dtypes: tuple[str, ...], shape: list[int]) -> None:
    if name not in found:
        raise FileError(f"tensor {name} is missing")
    spec = found[name]
    if spec.dtype not in dtypes or spec.shape != shape:
        wanted = str(["any" if side < 0 else side for side in shape]).replace("'", "")
        raise FileError(f"tensor {name} is {spec.dtype} {spec.shape}, must be {' or '.join(dtypes)} {wanted}")


def empty_models(
    config: SequenceConfig,
    n_items: int,
    n_types: int,
    user_width: int,
    item_width: int,
    device: str,
    n_features: int = len(FEATURES),
) -> tuple[SequenceModel, FusionModel]:
    """Return both networks with memory for their weights and no values; nothing random is drawn.

    Parameters
    ----------
    user_width, item_width : number of features of users and of items
    n_features : scalar features that fusion reads
    """
    with torch.device("meta"):
        sequence = SequenceModel(config, n_items, n_types)
        fusion = FusionModel(config.dim + 1 + user_width, config.dim + 1 + item_width, n_features)
    sequence.to_empty(device=device)  # in place
    fusion.to_empty(device=device)
    return sequence, fusion
