"""An unfinished fit on disk: tensors and JSON in one safetensors file. Never pickle."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from models.files.atomic import replace_file


@dataclass(frozen=True)
class Checkpoint:
    """The file of one fit.

    Parameters
    ----------
    path : the file
    fingerprint : of everything that the fit depends on; a file with another fingerprint is ignored
    """

    path: Path
    fingerprint: str

    def save(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Replace the file; a kill leaves the one before."""
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        metadata = {"fingerprint": self.fingerprint, "state": json.dumps(state), "sha256": _digest(contiguous)}
        replace_file(self.path, safetensors.torch.save(contiguous, metadata))

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return tensors and state.

        None where the file is missing, damaged, or of another fit.
        """
        try:
            with safetensors.safe_open(self.path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("fingerprint") != self.fingerprint:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return (tensors, json.loads(metadata["state"])) if metadata["sha256"] == _digest(tensors) else None
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError):
            return None


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
