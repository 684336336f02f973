"""Artifacts and text models made to do harm, each in a folder that is named after its attack."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import safetensors.torch
import torch

from models.artifact.artifact import MANIFEST, TENSORS
from tests.support import tiny
from tests.unit.models.text.test_encoder import save_bert
from tools.main import main

#: Where nothing may be opened, below the folder of all cases.
OUTSIDE: Final = "outside"


def good(folder: Path) -> Path:
    """Return the folder, with a log, a catalogue and an artifact in it.

    ``models`` gets the artifact ``a`` of ``log.csv`` and ``items.csv``, and its text model
    ``bert``.
    """
    log, items = tiny.write_log(folder / "log.csv", n_users=20), tiny.write_items(folder / "items.csv")
    (folder / "models").mkdir()
    bert = save_bert(folder / "models" / "bert")
    arguments = ["train", str(log), "--items", str(items), "--out", str(folder / "models" / "a"), "--device", "cpu"]
    assert main([*arguments, "--encoder", str(bert)]) == 0
    return folder


def manifest(case: Path, **entries: Any) -> None:
    """Set entries of an artifact's manifest; ``sequence`` is merged."""
    path = case / "models" / "a" / MANIFEST
    found = msgspec.json.decode(path.read_bytes())
    found["sequence"] |= entries.pop("sequence", {})
    path.write_bytes(msgspec.json.encode(found | entries))


def tensor(case: Path, name: str, value: torch.Tensor) -> None:
    """Set a tensor, and let the manifest agree."""
    path = case / "models" / "a" / TENSORS
    tensors = safetensors.torch.load(path.read_bytes()) | {name: value}
    data = safetensors.torch.save(tensors)
    path.write_bytes(data)
    specs = {key: {"dtype": str(t.dtype), "shape": list(t.shape)} for key, t in tensors.items()}
    manifest(case, sha256=hashlib.sha256(data).hexdigest(), tensors=specs)


def encoder(case: Path, **entries: Any) -> None:
    """Set entries of the text model's configuration.

    The artifact holds no checksum of it, as artifacts of older versions.
    """
    path = case / "models" / "bert" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))
    named(case, "bert")


def named(case: Path, name: str) -> None:
    """Let the artifact name a text model, beside it unless the name says otherwise."""
    manifest(case, encoder_name=str(case / "models" / name) if name == "bert" else name, encoder_sha256="")


def index(case: Path, entry: str) -> None:
    """Replace the weights by an index that names a pickle for all tensors.

    Code that loads the pickle leaves a mark.
    """
    folder = case / "models" / "bert"
    names = list(safetensors.torch.load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(names, entry)}))
    mark = str(case / "mark").encode()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch " + mark + b"'\ntR.")
    named(case, "bert")


def _link(case: Path) -> None:
    (case / "models" / "current").symlink_to(case.parent / OUTSIDE / "bert")
    named(case, str(case / "models" / "current"))


def _linked_file(case: Path) -> None:
    path = case / "models" / "bert" / "config.json"
    path.unlink()
    path.symlink_to(case.parent / OUTSIDE / "bert" / "config.json")
    named(case, "bert")


def _sparse(case: Path) -> None:
    os.truncate(case / "models" / "a" / TENSORS, 15 << 30)


def _header(case: Path) -> None:
    path = case / "models" / "a" / TENSORS
    header = json.dumps({"mf.factors": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))


def _ids(case: Path) -> None:
    path = case / "models" / "a" / MANIFEST
    found = msgspec.json.decode(path.read_bytes())
    found["item_ids"] = msgspec.Raw(b"[" + b'"a",' * (30 << 20) + b'"b"]')
    path.write_bytes(msgspec.json.encode(found))


#: Name, which part is refused, and what makes it.
CASES: Final[dict[str, tuple[str, Callable[[Path], None]]]] = {
    "encoder by an absolute path": ("encoder", lambda case: named(case, str(case.parent / OUTSIDE / "bert"))),
    "encoder by dots": ("encoder", lambda case: named(case, f"{case}/models/../../{OUTSIDE}/bert")),
    "encoder behind a link": ("encoder", _link),
    "encoder of the hub": ("encoder", lambda case: named(case, "some-organisation/some-model")),
    "encoder with a linked file": ("encoder", _linked_file),
    "weights that are a pickle": ("encoder", lambda case: index(case, "pytorch_model.bin")),
    "weights outside": ("encoder", lambda case: index(case, f"../../../{OUTSIDE}/bert/model.safetensors")),
    "a thousand million layers": ("encoder", lambda case: encoder(case, num_hidden_layers=10**9)),
    "a vocabulary of 100 GB": ("encoder", lambda case: encoder(case, vocab_size=1 << 31)),
    "no heads in the encoder": ("encoder", lambda case: encoder(case, num_attention_heads=0)),
    "attention out of the hub": ("encoder", lambda case: encoder(case, _attn_implementation="kernels-community/x")),
    "files other than the checksum": ("encoder", lambda case: manifest(case, encoder_sha256="0" * 64)),
    "a sparse file of 15 GB": ("artifact", _sparse),
    "a tensor of 2 ** 80 numbers": ("artifact", _header),
    "a model of 6 GB": ("artifact", lambda case: manifest(case, sequence={"dim": 2_048, "n_layers": 32, "text_dim": 8_192})),
    "thirty million ids": ("artifact", _ids),
    "a column where a vector belongs": ("artifact", lambda case: tensor(case, "mf.biases", torch.ones(40, 3))),
    "complex numbers": ("artifact", lambda case: tensor(case, "mf.biases", torch.full((40,), complex("nan")))),
    "no heads": ("artifact", lambda case: manifest(case, sequence={"kind": "transformer", "n_heads": 0})),
    "a negative alpha": ("artifact", lambda case: manifest(case, alpha=-1.0)),
}  # fmt: skip


def make(models: Path, folder: Path) -> dict[str, Path]:
    """Return the folder of each case's artifact.

    Parameters
    ----------
    models : of :func:`good`
    folder : where the cases go, and beside them :data:`OUTSIDE` with a text model that would load
    """
    shutil.copytree(models / "bert", folder / OUTSIDE / "bert")
    made = {}
    for number, (name, (_part, change)) in enumerate(CASES.items()):
        case = folder / f"case-{number:02d}"
        shutil.copytree(models, case / "models")
        named(case, "bert")
        change(case)
        made[name] = case / "models" / "a"
    return made


class Hub:
    """Stands in for the model hub and counts the connections."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.n_connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.n_connections += 1
            connection.close()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
