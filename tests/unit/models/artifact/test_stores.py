"""Artifacts from other stores than folders: what is fetched, kept and refused."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from models.artifact import stores
from models.artifact.artifact import MANIFEST, load_artifact, manifest_sha256
from models.artifact.stores import StoreError, check_below, fetch_artifact, local_folder
from models.files.served_folder import mark_served
from tests.support import tiny

pytestmark = pytest.mark.model

URI = "memory://shop/models/first"


@pytest.fixture(autouse=True)
def _stored() -> Iterator[None]:
    """Put the tiny artifact into a store in memory."""
    memory = fsspec.filesystem("memory")
    memory.put(str(tiny.artifact()), "/shop/models/first", recursive=True)
    yield
    memory.rm("/shop", recursive=True)


def test_an_artifact_is_fetched_once_and_equals_the_one_that_was_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = manifest_sha256(tiny.artifact())
    folder = fetch_artifact(URI, tmp_path, sha256)
    assert folder == tmp_path / sha256
    assert (
        load_artifact(folder, roots=[tmp_path], manifest_sha256=sha256).version
        == load_artifact(tiny.artifact()).version
    )
    assert {one.name for one in folder.iterdir()} == {one.name for one in tiny.artifact().iterdir()}
    monkeypatch.setattr(stores, "_opened", None)
    assert fetch_artifact(URI, tmp_path, sha256) == folder, "the store is not asked again"


def test_what_cannot_be_fetched_leaves_nothing_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for uri, sha256, said in (
        ("memory://shop/models/none", "", "manifest.json cannot be fetched"),
        (URI, "0" * 64, "announced was 000000000000; publish it again"),
        ("nobody://shop/model", "", "cannot be opened"),
        ("s3://bucket/model", "", "s3fs"),
    ):
        with pytest.raises(StoreError, match=said) as caught:
            fetch_artifact(uri, tmp_path, sha256)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(stores, "MAX_TENSORS_BYTES", 10)
    with pytest.raises(StoreError, match="has more than 10 bytes"):
        fetch_artifact(URI, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="make room there"):
        fetch_artifact(URI, tmp_path / "file")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_uri_must_lie_below_a_store_that_the_operator_named() -> None:
    check_below("s3://bucket/models/first/", ["memory://shop", "s3://bucket/models/"])
    for uri in (
        "s3://bucket/models",
        "s3://bucket/models-of-others/first",
        "s3://bucket/models/../secrets",
        "s3://bucket/models/first?x=1",
        "s3://bucket/models/first::http://example.com",
        "http://example.com/first",
    ):
        with pytest.raises(StoreError, match="artifact_roots"):
            check_below(uri, ["s3://bucket/models"])
    with pytest.raises(StoreError, match="none"):
        check_below("s3://bucket/models/first", [])


def test_which_places_are_folders_of_this_machine() -> None:
    assert local_folder("/a/b") == local_folder("file:///a/b") == local_folder("file://localhost/a/b") == Path("/a/b")
    assert local_folder("a/b") == Path("a/b") and local_folder("file:///a%20b") == Path("/a b")
    assert [local_folder(uri) for uri in ("s3://a/b", "file://host/a", "http://[")] == [None, None, None]


def test_only_the_newest_artifacts_and_those_that_are_served_stay(tmp_path: Path) -> None:
    memory, folders = fsspec.filesystem("memory"), []
    for number in range(stores.KEPT + 3):
        manifest = json.loads((tiny.artifact() / MANIFEST).read_text()) | {"created_ms": number}
        text = json.dumps(manifest).encode()
        memory.pipe("/shop/models/first/manifest.json", text)
        folders.append(fetch_artifact(URI, tmp_path, hashlib.sha256(text).hexdigest()))
        os.utime(folders[-1], (number, number))
        if number == 0:
            release = mark_served(folders[0])
    release()
    assert [number for number, folder in enumerate(folders) if folder.exists()] == [0, 3, 4, 5, 6]
