"""A hostile text model: which files are read, from where, and the cost of a refusal."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from models.files.plain_files import FileError
from models.text.encoder import OPERATOR, TransformerEncoder, load_encoder
from models.text.encoder_bounds import bounded
from models.text.encoder_files import CONFIG, INDEX, OPTIONAL, WEIGHTS, Access, EncoderFiles
from models.text.huggingface import EncoderError
from tests.unit.models.text.test_encoder import save_bert

pytestmark = pytest.mark.model

MAX_GROWTH_KIB = 200 << 10
PROMPT_S = 20.0


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a tiny BERT; it must not be changed."""
    return save_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture
def folder(bert: Path, tmp_path: Path) -> Path:
    """Give a copy of the tiny BERT, which the test may break."""
    return shutil.copytree(bert, tmp_path / "models" / "bert")


@pytest.fixture(autouse=True)
def _no_pickle_and_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail at once where anything unpickles or connects."""

    def fail(*_args: Any, **_options: Any) -> None:
        pytest.fail("torch.load, or a connection")

    monkeypatch.setattr(torch, "load", fail)
    monkeypatch.setattr("torch.serialization.load", fail)
    monkeypatch.setattr(socket.socket, "connect", fail)
    monkeypatch.setattr(socket, "getaddrinfo", fail)


def refused(name: Path | str, access: Access = OPERATOR) -> str:
    """Return the message, one line, with which an encoder is refused."""
    with pytest.raises(EncoderError) as caught:
        load_encoder(str(name), "cpu", access)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 2_000
    return message


def change(folder: Path, name: str, **entries: object) -> None:
    """Set entries of a JSON file."""
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | entries), "utf-8")


def shard(folder: Path, weight_map: dict[str, str] | None = None) -> None:
    """Split the weights into two shards with an index, or write only the given index."""
    tensors = safetensors.torch.load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    if weight_map is None:
        names = sorted(tensors)
        weight_map = {name: f"model-{1 + i % 2}-of-2.safetensors" for i, name in enumerate(names)}
        for file in set(weight_map.values()):
            part = {name: tensors[name] for name in names if weight_map[name] == file}
            safetensors.torch.save_file(part, folder / file, metadata={"format": "pt"})
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_weights_in_shards_are_the_same_model(bert: Path, folder: Path) -> None:
    """An index that names files beside it is read."""
    shard(folder)
    assert TransformerEncoder(str(folder)).version == TransformerEncoder(str(bert)).version


@pytest.mark.parametrize(
    "entry", ["pytorch_model.bin", "../other.safetensors", "/tmp/x.safetensors", ".safetensors", "a/b.safetensors", ""]
)
def test_an_index_names_only_safetensors_beside_it(folder: Path, entry: str) -> None:
    """A pickle or a path is refused before transformers sees the folder."""
    torch_save_bomb(folder / "pytorch_model.bin")
    shard(folder, {"embeddings.word_embeddings.weight": entry})
    assert f"names {entry!r}" in refused(folder)


def torch_save_bomb(path: Path) -> None:
    """Write a pickle that would make a file beside it."""
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(path.with_name("pwned")).encode() + b"'\ntR.")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "adapter_model.bin", "tf_model.h5", "model.gguf"])
def test_weights_of_another_form_are_refused(folder: Path, name: str) -> None:
    """Weights in a pickle are never read."""
    (folder / WEIGHTS).unlink()
    torch_save_bomb(folder / name)
    assert "has no model.safetensors" in refused(folder)
    assert not (folder / "pwned").exists()


@pytest.mark.parametrize(
    "entries",
    [
        {"model_type": "no-such-model"},
        {"model_type": "timm_wrapper"},
        {"model_type": "vit"},
        {"model_type": "t5"},
        {"model_type": "rag"},
        {"model_type": ["bert"]},
        {"num_attention_heads": 0},
        {"num_attention_heads": 3},
        {"hidden_size": -16},
        {"hidden_size": "16"},
        {"hidden_size": None},
        {"hidden_act": "no-such-act"},
        {"vocab_size": 4},
        {"num_hidden_layers": 1.5},
        {"pad_token_id": 10**6},
        {"layer_norm_eps": "x"},
        {"transformers_weights": "adapter_model.bin"},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
        {"attn_implementation": "kernels-community/flash-attn"},
        {"_attn_implementation": {"": "some/kernel"}},
        {"auto_map": {"AutoModel": "some/repository--code.Model"}, "model_type": "strange"},
    ],
)
def test_a_bad_configuration_is_one_line(folder: Path, entries: dict[str, object]) -> None:
    """Any error of the libraries becomes one line, without the network."""
    change(folder, CONFIG, **entries)
    assert str(folder) in refused(folder)


@pytest.mark.parametrize(
    "entries",
    [
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 60_000},
        {"vocab_size": 1 << 31},
        {"vocab_size": 10**30},
        {"hidden_size": 1 << 20, "intermediate_size": 1 << 20},
        {"max_position_embeddings": 1 << 31},
        {"intermediate_size": 1 << 24},
        {"nested": {"num_hidden_layers": 10**12}},
        {"type_vocab_size": 1 << 28},
    ],
)
def test_a_configuration_costs_what_its_weights_do(folder: Path, entries: dict[str, object]) -> None:
    """A number in the configuration must not decide memory and time."""
    load_encoder(str(folder))  # what the libraries need for themselves
    change(folder, CONFIG, **entries)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    message = refused(folder)
    assert "limit" in message or "far larger than its weights" in message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MAX_GROWTH_KIB
    assert time.process_time() - began < PROMPT_S


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"a":' * 100_000, b'{"a":' * 40 + b"1" + b"}" * 40])
def test_a_configuration_that_is_none_is_one_line(folder: Path, data: bytes) -> None:
    """Text that is not JSON, not an object, or nested too deep is one line."""
    (folder / CONFIG).write_bytes(data)
    assert CONFIG in refused(folder)


@pytest.mark.parametrize("name", sorted({"tokenizer.json", "tokenizer_config.json", WEIGHTS, CONFIG}))
@pytest.mark.parametrize(
    "data", [b"", b"\x00" * 100, b'{"a":' * 100_000, b'{"tokenizer_class": 1, "model": {"type": "X"}}']
)
def test_a_file_that_is_damaged_is_one_line(folder: Path, name: str, data: bytes) -> None:
    """Each damaged file is one line, even where Rust code panics."""
    (folder / name).write_bytes(data)
    refused(folder)


def test_a_vocabulary_far_above_the_model_is_refused(folder: Path) -> None:
    """Short entries take twenty times their text in memory."""
    (folder / "vocab.txt").write_bytes(b"a\n" * 400_000)
    assert "vocab.txt has far more entries" in refused(folder)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, "tokenizer.json"])
def test_a_file_above_its_limit_is_refused_unread(folder: Path, name: str) -> None:
    """A file above its limit, or a sparse one, is refused unread."""
    os.truncate(folder / name, 12 << 30)
    assert name in refused(folder)


def test_a_tensor_of_a_quantised_type_is_refused_by_name(folder: Path) -> None:
    """A Float8 tensor would need other code."""
    tensors = safetensors.torch.load_file(folder / WEIGHTS)
    tensors["embeddings.word_embeddings.weight"] = tensors["embeddings.word_embeddings.weight"].to(torch.float8_e4m3fn)
    safetensors.torch.save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    assert "tensor embeddings.word_embeddings.weight is of type F8_E4M3" in refused(folder)


def _outside(folder: Path, root: Path) -> str:
    return str(folder)


def _dots(folder: Path, root: Path) -> str:
    return f"{root}/../{folder.name}"


def _link(folder: Path, root: Path) -> str:
    (root / "model").symlink_to(folder)
    return str(root / "model")


def _hub(folder: Path, root: Path) -> str:
    return "sentence-transformers/all-MiniLM-L6-v2"


def _odd(folder: Path, root: Path) -> str:
    return "a\nb\x1b[31m\x00" + "c" * 300


@pytest.mark.parametrize("name", [_outside, _dots, _link, _hub, _odd])
def test_an_artifact_names_no_place_outside_the_roots(bert: Path, tmp_path: Path, name: Callable[..., str]) -> None:
    """A path, dots, a link or a hub's name opens nothing outside the roots."""
    outside = shutil.copytree(bert, tmp_path / "outside")
    root = tmp_path / "root"
    root.mkdir()
    message = refused(name(outside, root), Access(roots=[root]))
    assert "outside of" in message or "cannot be found" in message
    assert message.isprintable()


def test_no_roots_are_no_permission(folder: Path) -> None:
    """An empty list of roots allows nothing."""
    assert "no allowed folder" in refused(folder, Access(roots=[]))


def test_a_folder_inside_the_roots_is_read(bert: Path, folder: Path) -> None:
    """The version is the same as for the operator."""
    found = load_encoder(str(folder), "cpu", Access(roots=[folder.parent]))
    assert found.version == load_encoder(str(bert)).version
    assert found.files_sha256 == load_encoder(str(bert)).files_sha256 != ""


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, "tokenizer.json"])
def test_links_are_followed_for_the_operator_alone(folder: Path, tmp_path: Path, name: str) -> None:
    """The hub's cache has links; in an artifact's folder a link could show any file."""
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    load_encoder(str(folder))
    assert f"{name} is a symbolic link" in refused(folder, Access(roots=[folder.parent]))


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, "tokenizer.json", "1_Pooling/config.json"])
def test_the_checksum_covers_every_file_that_is_read(folder: Path, name: str) -> None:
    """A byte more in any of them is refused before a library sees it."""
    sha256 = load_encoder(str(folder)).files_sha256
    load_encoder(str(folder), "cpu", Access(sha256=sha256))
    (folder / name).parent.mkdir(exist_ok=True)
    text = (folder / name).read_bytes() if (folder / name).exists() else b'{"pooling_mode": "cls"}'
    (folder / name).write_bytes(text + (b"" if name in (WEIGHTS, "1_Pooling/config.json") else b" "))
    if name == WEIGHTS:
        tensors = safetensors.torch.load(text)
        tensors["pooler.dense.bias"] += 1
        safetensors.torch.save_file(tensors, folder / name, metadata={"format": "pt"})
    assert "its files have the checksum" in refused(folder, Access(sha256=sha256))


def test_what_another_thread_builds_is_not_counted() -> None:
    """PyTorch's hooks see all threads, but only this thread's modules count."""
    big = threading.Thread(target=lambda: torch.nn.Linear(1 << 15, 1 << 15, device="meta"))
    with bounded(EncoderFiles(Path(), "", 0, 0)):
        big.start()
        big.join()
        torch.nn.Linear(10, 10)
        with pytest.raises(FileError, match="far larger than its weights"):
            torch.nn.Linear(1 << 15, 1 << 15, device="meta")


def test_other_files_of_the_folder_are_not_read(folder: Path) -> None:
    """Only listed names are read: an adapter would name a further model."""
    before = load_encoder(str(folder))
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "some/other"}')
    (folder / "modeling.py").write_text("raise SystemExit")
    after = load_encoder(str(folder))
    assert (after.version, after.files_sha256) == (before.version, before.files_sha256)
    assert set(OPTIONAL) & {"adapter_config.json", "modeling.py"} == set()


@pytest.mark.parametrize("entry", ["tokenizer_file", "vocab_file", "special_tokens_map_file", "name_or_path"])
def test_a_tokenizer_does_not_choose_its_files(folder: Path, tmp_path: Path, entry: str) -> None:
    """A path in a tokenizer's configuration is not followed."""
    os.mkfifo(tmp_path / "pipe")
    version = load_encoder(str(folder)).version
    change(folder, "tokenizer_config.json", **{entry: str(tmp_path / "pipe")})
    assert load_encoder(str(folder)).version == version


def test_a_name_of_the_hub_is_looked_up_in_the_local_cache_alone() -> None:
    """Without the setting there is no request: connecting would fail this test."""
    message = refused("some-organisation/some-model")
    assert "HEADRACE_ENCODER_DOWNLOAD=on" in message


def test_the_hub_is_off_while_a_model_is_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration makes a library connect; connecting would fail this test."""

    def load(_name: str, _files: EncoderFiles) -> None:
        from huggingface_hub import HfApi

        HfApi().model_info("some-organisation/some-model")

    monkeypatch.setattr("models.text.huggingface._load", load)
    assert "offline mode is enabled" in refused(folder)


def test_the_private_copy_is_removed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is removed after a load and after a refusal."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    load_encoder(str(folder))
    change(folder, CONFIG, num_attention_heads=0)
    refused(folder)
    assert list(scratch.iterdir()) == []
