"""Reads files with every loader, in a process with little address space.

``python -m tests.fuzz.loaders GROUP FOLDER LIMIT_BYTES`` prints how many files each loader took and
refused, as JSON. It ends with 1 and the traceback at the first error that is not a refusal.
``GROUP`` is ``files`` (logs, catalogues, users, records, settings, words) or ``models`` (artifact,
text model, checkpoint). For ``files`` the limit holds for the whole process; for ``models`` it
comes on top of the imports, because PyTorch maps 3 GB by itself.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

#: A loader returns whether it took the file; whatever it raises is an error that is no refusal.
Loader = Callable[[bytes, Path], bool]

LOG_SUFFIXES: Final = (".csv", ".tsv", ".jsonl", ".inter", ".parquet", ".csv.gz", ".csv.zst")
#: Signs that a refusal was a lack of memory.
OF_MEMORY: Final = ("memoryerror", "bad_alloc", "alloc", "out of memory", "realloc")


def refusal(message: str) -> bool:
    """Return False for a refusal of one line; raise AssertionError for any other message."""
    if "\n" in message or any(sign in message.lower() for sign in OF_MEMORY):
        raise AssertionError(f"no refusal: {message}")
    return False


def file_loaders(folder: Path) -> dict[str, Loader]:
    """Return the loaders that need no PyTorch."""
    from models.text.user_words import read_user_words
    from streams.errors import InputError, SettingsError
    from streams.settings.load import load_settings
    from tests.fuzz.targets import targets
    from tests.support.files import read_items, read_users
    from tools.files.file_options import FileOptions
    from tools.files.log_source import LogSource
    from tools.files.logs.log_reader import LogReader
    from tools.files.refused_rows import RefusedRows

    def reads(read: Callable[[Path], object], suffix: str) -> Loader:
        def load(data: bytes, place: Path) -> bool:
            path = place / f"file{suffix}"
            path.write_bytes(data)
            try:
                read(path)
            except (InputError, SettingsError, ValueError) as exc:
                return refusal(str(exc))
            return True

        return load

    def log(path: Path) -> int:
        return sum(1 for _ in LogReader(LogSource((path,)), RefusedRows(shown=0)))

    def check(target: Callable[[bytes], None]) -> Loader:
        def load(data: bytes, _place: Path) -> bool:
            target(data)
            return True

        return load

    loaders = {f"target {i}": check(target) for i, target in enumerate(targets(folder))}
    for suffix in LOG_SUFFIXES:
        loaders[f"log{suffix}"] = reads(log, suffix)
        loaders[f"items{suffix}"] = reads(lambda path: read_items([path], FileOptions()), suffix)
        loaders[f"users{suffix}"] = reads(lambda path: read_users([path], FileOptions()), suffix)
    loaders["settings"] = reads(lambda path: load_settings({}, file=path), ".toml")
    loaders["user words"] = reads(lambda path: read_user_words(path, str), ".txt")
    return loaders


def replaces(name: str, load: Callable[[Path], object], source: Path, without: str = "") -> Loader:
    """Return a loader of folders: the file replaces one of theirs, and another one is removed."""
    from models.artifact.artifact import ArtifactError
    from models.text.huggingface import EncoderError

    def loader(data: bytes, place: Path) -> bool:
        copy = place / "copy"
        shutil.copytree(source, copy)
        (copy / without).unlink() if without else None
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_bytes(data)
        try:
            load(copy)
        except (ArtifactError, EncoderError) as exc:
            return refusal(str(exc))
        return True

    return loader


def _checkpoint(data: bytes, place: Path) -> bool:
    from models.sequence.checkpoint import Checkpoint

    (place / "checkpoint").write_bytes(data)
    return Checkpoint(place / "checkpoint", "").load() is not None


def model_loaders(good: Path) -> dict[str, Loader]:
    """Return the loaders of artifacts and text models; ``good`` holds one of each."""
    from models.artifact.artifact import MANIFEST, TENSORS, load_artifact
    from models.text.encoder import load_encoder
    from models.text.encoder_files import CONFIG, INDEX, POOLING, WEIGHTS, Access

    def encoder(path: Path) -> object:
        return load_encoder(str(path), "cpu", Access(roots=[path]))

    loaders: dict[str, Loader] = {"checkpoint": _checkpoint}
    for name in (MANIFEST, TENSORS):
        loaders[f"artifact's {name}"] = replaces(name, load_artifact, good / "a")
    for name in (CONFIG, WEIGHTS, POOLING, "tokenizer.json", "tokenizer_config.json"):
        loaders[f"encoder's {name}"] = replaces(name, encoder, good / "bert")
    loaders[f"encoder's {INDEX}"] = replaces(INDEX, encoder, good / "bert", without=WEIGHTS)
    loaders["encoder's vocab.txt"] = replaces("vocab.txt", encoder, good / "bert", without="tokenizer.json")
    return loaders


def address_space() -> int:
    """Return the mapped bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Run all loaders over all files of ``FOLDER/corpus``."""
    group, folder, limit = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        loaders = file_loaders(scratch) if group == "files" else model_loaders(folder)
        if group == "models":
            # the imports
            loaders["encoder's config.json"](b"{}", Path(tempfile.mkdtemp(dir=scratch)))
            limit += address_space()
        else:
            import pyarrow.parquet  # noqa: F401
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        counts: dict[str, Counter[str]] = {loader: Counter() for loader in loaders}
        files = sorted((folder / "corpus").iterdir())
        for path in files:
            for loader, load in loaders.items():
                with tempfile.TemporaryDirectory(dir=scratch) as place:
                    try:
                        took = load(path.read_bytes(), Path(place))
                    except BaseException as exc:
                        raise SystemExit(f"{loader} and {path.name}: {exc!r}") from exc
                    counts[loader]["taken" if took else "refused"] += 1
    print(json.dumps({"files": len(files), "limit": limit, "loaders": counts}))  # noqa: T201


if __name__ == "__main__":
    main()
