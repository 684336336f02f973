"""An artifact's manifest: its content, its origin, and the limits for a stranger's manifest."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from models.base.event_types import DEFAULT_TYPES, MAX_TYPES, WindowType, WindowTypes
from models.base.experts import EXPERTS
from models.base.scalar_features import feature_names
from models.files.plain_files import FileError
from models.files.tensor_header import TensorSpec
from models.rules.repeats import NO_REPEATS, Repeats, repeats_of

FORMAT: Final = 3
#: An artifact of the default types is written in the format before, which earlier versions read
#: too.
DEFAULT_FORMAT: Final = 2
#: Most bytes of everything but the item ids: about 100 tensors, 128 features with their categories,
#: some metrics.
MAX_REST_BYTES: Final = 4 << 20
#: Most quotation marks per item: two around the id, and those inside ids.
MAX_QUOTES_PER_ITEM: Final = 8

Name = Annotated[str, Meta(max_length=4_096)]
Count = Annotated[int, Meta(ge=0, le=1 << 53)]
Share = Annotated[float, Meta(ge=0, le=1)]
TimeMs = Annotated[int, Meta(ge=-1, le=253_402_300_799_999)]


class NewcomerWeights(msgspec.Struct, frozen=True):
    """What training chose, on users whom it hid, for users without events or with few.

    Parameters
    ----------
    social, features : weights of what follows and features let expect, beside popularity's 1; 0
        where the source did not help
    strength : pseudo events that the two are worth beside a user's events
    scale : from scores to logarithms of shares
    """

    social: Annotated[float, Meta(ge=0, le=1e6)]
    features: Annotated[float, Meta(ge=0, le=1e6)]
    strength: Annotated[float, Meta(ge=0, le=1e6)]
    scale: Annotated[float, Meta(gt=0, le=1e6)]


class Manifest(msgspec.Struct, kw_only=True):
    """Content and origin of an artifact. ``item_ids[row]`` is the external id of an item row.

    Parameters
    ----------
    encoder_name, encoder_version, text_version : of the texts that the model takes; empty for a
        model that knows items by their ids alone
    encoder_sha256 : over the files of the text model, see :mod:`models.text.encoder_files`; empty
        for a model in an installed wheel, which its version identifies
    golden_sha256 : of ``golden.json``, see :mod:`models.artifact.golden`; empty without that file
    event_types : the types that the models know, by their row; absent in format 2, which has the
        default types
    newcomers : absent where training had neither features nor follows of users
    repeats : whether lists may hold items that the user has had, as
        :func:`models.rules.repeats.repeats_of` reads it; absent where they never do
    leans_until : number of events from which on a list stands on the user's events alone; with
        fewer it leans on popularity, see :mod:`models.ranking.newcomers.leaning`. Absent where it
        never leans
    blend : weights of simple predictors by name, see :mod:`models.features.blend`; absent
        where lists never repeat, in older artifacts, and where no case was there to find them
    """

    format: int
    sha256: Name
    created_ms: TimeMs
    encoder_name: Name
    encoder_version: Name
    encoder_sha256: Name = ""
    text_version: Name
    sequence: dict[str, int | float | str]
    alpha: Annotated[float, Meta(ge=0, le=1e9)]
    regularisation: Annotated[float, Meta(gt=0, le=1e9)]
    trained_from_ms: TimeMs
    trained_to_ms: TimeMs
    n_events: Count
    n_users: Count
    preset: Name
    seed: int
    left_out: Name
    epochs: int
    metrics: dict[str, float]
    item_features: dict[str, Any]
    user_features: dict[str, Any]
    tensors: dict[str, TensorSpec]
    golden_sha256: Name = ""
    event_types: Annotated[list[WindowType], Meta(min_length=1, max_length=2 * MAX_TYPES)] | UnsetType = UNSET
    newcomers: NewcomerWeights | UnsetType = UNSET
    repeats: Annotated[dict[Name, Name], Meta(min_length=1, max_length=1 + MAX_TYPES)] | UnsetType = UNSET
    leans_until: Annotated[float, Meta(gt=0, le=1e4)] | UnsetType = UNSET
    blend: Annotated[dict[Name, Share], Meta(min_length=1, max_length=64)] | UnsetType = UNSET
    item_ids: list[Annotated[str, Meta(min_length=1, max_length=512)]]

    @property
    def kinds(self) -> WindowTypes:
        """The types that the models know."""
        if isinstance(self.event_types, UnsetType):
            return DEFAULT_TYPES.window_types
        return WindowTypes(tuple(self.event_types))

    @property
    def policy(self) -> Repeats:
        """Whether lists may hold items that the user has had; ValueError for unknown words."""
        return NO_REPEATS if isinstance(self.repeats, UnsetType) else repeats_of(self.repeats)

    @property
    def features(self) -> tuple[str, ...]:
        """The scalar features that fusion reads, in order."""
        has_blend = not isinstance(self.blend, UnsetType)
        return feature_names(None if self.policy.is_never else self.kinds.names, has_blend=has_blend)


class _Outline(msgspec.Struct):
    format: int
    item_ids: msgspec.Raw = msgspec.Raw(b"[]")


def read_manifest(text: bytes, most_items: int) -> Manifest:
    """Return a manifest of at most ``most_items`` items.

    A few characters of JSON can take twenty times their size in memory, so the text's size is
    checked before it is decoded.

    Raises
    ------
    FileError
        When the text is not a manifest, has another format, or is longer than so many items and a
        model need.
    """
    try:
        outline = msgspec.json.decode(text, type=_Outline)
        if outline.format not in (DEFAULT_FORMAT, FORMAT):
            raise FileError(f"format {outline.format}, this version reads {DEFAULT_FORMAT} and {FORMAT}")
        ids = bytes(outline.item_ids)
        if len(text) - len(ids) > MAX_REST_BYTES:
            raise FileError(f"{len(text) - len(ids)} bytes beside the item ids, limit {MAX_REST_BYTES}")
        if ids.count(b'"') > MAX_QUOTES_PER_ITEM * (most_items + 1):
            raise FileError(f"item_ids is longer than any tensor, of which none has more than {most_items} rows")
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise FileError(f"not a manifest: {exc}") from exc
    if isinstance(manifest.event_types, UnsetType) != (manifest.format == DEFAULT_FORMAT):
        raise FileError(f"format {manifest.format}: event_types must be there in format {FORMAT}, and only there")
    names = manifest.kinds.names
    if len(set(names)) < len(names):
        raise FileError("event_types holds a name twice")
    if not any(one.positive for one in manifest.kinds.types):
        raise FileError("event_types holds no positive type")
    _check_repeats(manifest)
    return manifest


def _check_repeats(manifest: Manifest) -> None:
    """Raise :class:`FileError` where a manifest contradicts itself on items that come back."""
    try:
        policy = manifest.policy
    except ValueError as exc:
        raise FileError(f"repeats: {exc}") from exc
    if policy.is_never and not isinstance(manifest.repeats, UnsetType):
        raise FileError("repeats must be absent where no item may come back")
    if policy.is_never and not isinstance(manifest.blend, UnsetType):
        raise FileError("blend must be absent where no item may come back")
    if not isinstance(manifest.blend, UnsetType) and (unknown := sorted(manifest.blend.keys() - EXPERTS.keys())):
        raise FileError(f"blend: {unknown[0][:40]!r} must be one of {', '.join(EXPERTS)}")


def version_of(manifest: Manifest) -> str:
    """Return 12 hexadecimal digits over all fields of a manifest that change a list.

    The creation time and the metrics change none.
    """
    made_of: tuple[object, ...] = (
        manifest.format, manifest.sha256, manifest.item_ids, manifest.encoder_version, manifest.text_version,
        sorted(manifest.sequence.items()),
        manifest.item_features, manifest.user_features, manifest.alpha, manifest.regularisation, manifest.trained_to_ms,
    )  # fmt: skip
    if manifest.encoder_sha256:  # without one, older artifacts keep their version
        made_of = (*made_of, manifest.encoder_sha256)
    if manifest.format != DEFAULT_FORMAT:
        made_of = (*made_of, manifest.event_types)
    if manifest.newcomers is not UNSET:
        made_of = (*made_of, manifest.newcomers)
    if not isinstance(manifest.repeats, UnsetType):
        made_of = (*made_of, manifest.repeats)
    if not isinstance(manifest.leans_until, UnsetType):
        made_of = (*made_of, "leans_until", manifest.leans_until)
    if not isinstance(manifest.blend, UnsetType):
        made_of = (*made_of, "blend", manifest.blend)
    return hashlib.sha256(msgspec.json.encode(made_of)).hexdigest()[:12]
