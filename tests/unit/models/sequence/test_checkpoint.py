"""Checkpoints: an interrupted fit ends with the same bits; other files are ignored."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.sequence.checkpoint import Checkpoint
from models.sequence.fit import FitControl, SequenceFit, SequenceTraining
from models.sequence.model import SequenceModel
from tests.unit.models.sequence.test_fit import CONFIG, TRAINING, fit, same

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[4]
#: All random steps take part: three dropouts, cuts of histories, negatives.
FOUR_EPOCHS = replace(TRAINING, epochs=4, id_dropout=0.3)


class Interrupted(Exception):
    """What a test raises in the middle of a fit."""


def of_weights(model: SequenceModel) -> float:
    """Return a score that depends on the weights and is best in some middle epoch or other."""
    return float(torch.sin(1e3 * model.item_bias.detach().sum()))


def stopped_after(epoch: int, how: BaseException) -> FitControl:
    """Return a control that raises when this epoch is done."""

    def on_epoch(done: int, total: int, loss: float, score: float | None) -> None:
        if done == epoch:
            raise how

    return FitControl(validate=of_weights, on_epoch=on_epoch)


def assert_same_fit(found: SequenceFit, expected: SequenceFit) -> None:
    """Weights, losses and scores are equal in every bit."""
    assert same(found.state, expected.state)
    assert (found.epochs, found.losses, found.scores) == (expected.epochs, expected.losses, expected.scores)


def files(folder: Path) -> list[str]:
    """Return the names of what lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("epoch", [1, 2, 4])
@pytest.mark.parametrize("training", [FOUR_EPOCHS, replace(FOUR_EPOCHS, n_negatives=6)], ids=["all items", "negatives"])
def test_an_interrupted_fit_goes_on_to_the_same_end(tmp_path: Path, training: SequenceTraining, epoch: int) -> None:
    """A fit stopped and run again ends like an uninterrupted one, without a repeated epoch."""
    checkpoint = Checkpoint(tmp_path / "fit.safetensors", "this fit")
    with pytest.raises(Interrupted):
        fit(training, replace(stopped_after(epoch, Interrupted()), checkpoint=checkpoint))
    torch.rand(7)  # torch's own generator is elsewhere by then
    told: list[int] = []
    control = FitControl(validate=of_weights, checkpoint=checkpoint, on_epoch=lambda done, *_: told.append(done))
    resumed = fit(training, control)
    assert told == list(range(epoch + 1, 5))
    assert_same_fit(resumed, fit(training, FitControl(validate=of_weights)))
    assert files(tmp_path) == ["fit.safetensors"]


def test_an_interrupted_transformer_without_validation_goes_on_as_well(tmp_path: Path) -> None:
    """The other kind, and the last epoch's weights where nothing judges."""
    config, checkpoint = replace(CONFIG, kind="transformer"), Checkpoint(tmp_path / "fit.safetensors", "this fit")
    with pytest.raises(KeyboardInterrupt):
        control = replace(stopped_after(2, KeyboardInterrupt()), validate=None, checkpoint=checkpoint)
        fit(FOUR_EPOCHS, control, config=config)
    resumed = fit(FOUR_EPOCHS, FitControl(checkpoint=checkpoint), config=config)
    assert_same_fit(resumed, fit(FOUR_EPOCHS, config=config))


def test_an_interrupted_refit_goes_on_from_where_it_was(tmp_path: Path) -> None:
    """Not from the weights that it began with."""
    training, checkpoint = replace(TRAINING, refit_epochs=4), Checkpoint(tmp_path / "fit.safetensors", "refit")
    start = fit()
    with pytest.raises(Interrupted):
        fit(training, replace(stopped_after(2, Interrupted()), start=start, checkpoint=checkpoint))
    resumed = fit(training, FitControl(start=start, validate=of_weights, checkpoint=checkpoint))
    assert_same_fit(resumed, fit(training, FitControl(start=start, validate=of_weights)))


def test_patience_counts_on_over_an_interruption(tmp_path: Path) -> None:
    """Earlier scores count: with patience 1 and no better second score, no epoch starts."""
    checkpoint = Checkpoint(tmp_path / "fit.safetensors", "this fit")
    training = replace(FOUR_EPOCHS, patience=1)
    with pytest.raises(Interrupted):
        fit(training, replace(stopped_after(2, Interrupted()), validate=lambda _: 0.5, checkpoint=checkpoint))
    resumed = fit(training, FitControl(validate=lambda _: 0.5, checkpoint=checkpoint))
    assert (len(resumed.losses), resumed.epochs) == (2, 1)


KILLED = """
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from models.sequence.checkpoint import Checkpoint
from models.sequence.fit import FitControl
from tests.unit.models.sequence.test_checkpoint import FOUR_EPOCHS, of_weights
from tests.unit.models.sequence.test_fit import fit

torch.set_num_threads(1)
checkpoint = Checkpoint(Path(sys.argv[1]), "this fit")
fit(FOUR_EPOCHS, FitControl(validate=of_weights, checkpoint=checkpoint, on_epoch=lambda done, *_: done == 2 and os._exit(9)))
"""


def test_a_killed_process_is_gone_on_from_by_another(tmp_path: Path) -> None:
    """A process that ends at once, with nothing closed or flushed, leaves a whole checkpoint."""
    path = tmp_path / "fit.safetensors"
    killed = subprocess.run([sys.executable, "-c", KILLED, path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert killed.returncode == 9, killed.stderr
    assert files(tmp_path) == ["fit.safetensors"]
    told: list[int] = []
    control = FitControl(
        validate=of_weights, checkpoint=Checkpoint(path, "this fit"), on_epoch=lambda done, *_: told.append(done)
    )
    resumed = fit(FOUR_EPOCHS, control)
    assert told == [3, 4]
    assert_same_fit(resumed, fit(FOUR_EPOCHS, FitControl(validate=of_weights)))


def test_load_gives_what_save_took(tmp_path: Path) -> None:
    """Tensors of several types and layouts, and a JSON state, return exactly."""
    checkpoint = Checkpoint(tmp_path / "new folder" / "a.safetensors", "x")
    tensors = {
        "turned": torch.arange(6.0).view(2, 3).T,
        "bytes": torch.arange(5, dtype=torch.uint8),
        "scalar": torch.tensor(3.0),
        "asks": torch.ones(2, requires_grad=True),
    }
    state = {"losses": [[1, 0.1 + 0.2]], "rng": {"state": 2**127 + 1}, "name": "\u4e2d"}
    checkpoint.save(tensors, state)
    found = checkpoint.load()
    assert found is not None
    assert same(found[0], {name: tensor.detach() for name, tensor in tensors.items()})
    assert found[1] == state


def test_save_replaces_and_leaves_no_other_file(tmp_path: Path) -> None:
    """The newest stands alone; what an earlier kill left half written does not matter."""
    checkpoint = Checkpoint(tmp_path / "a.safetensors", "x")
    half = tmp_path / ".a.safetensors-killed.new"
    half.write_bytes(b"half")
    for number in (1, 2):
        checkpoint.save({"t": torch.full((2,), float(number))}, {"n": number})
    found = checkpoint.load()
    assert found is not None
    assert found[1] == {"n": 2}
    assert files(tmp_path) == [half.name, "a.safetensors"]


def test_a_kill_while_writing_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written does not touch the file until it is whole."""
    checkpoint = Checkpoint(tmp_path / "a.safetensors", "x")
    checkpoint.save({"t": torch.ones(2)}, {"n": 1})

    def killed(_: int) -> None:
        raise Interrupted

    monkeypatch.setattr("models.files.atomic.os.fsync", killed)
    with pytest.raises(Interrupted):
        checkpoint.save({"t": torch.zeros(2)}, {"n": 2})
    found = checkpoint.load()
    assert found is not None
    assert found[1] == {"n": 1}


def damage(path: Path, how: str) -> None:
    """Spoil a checkpoint in one of several ways."""
    content = path.read_bytes()
    if how == "none":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "truncated":
        path.write_bytes(content[:-40])
    elif how == "truncated header":
        path.write_bytes(content[:60])
    elif how == "garbage":
        path.write_bytes(bytes(range(256)) * 8)
    elif how == "text":
        path.write_text("This is no checkpoint.\n")
    elif how == "no metadata":
        from safetensors.torch import save_file

        save_file({"t": torch.ones(2)}, path)
    else:
        Checkpoint(path, "another fit").save({"t": torch.ones(2)}, {"done": 3})


@pytest.mark.parametrize(
    "how", ["none", "empty", "truncated", "truncated header", "garbage", "text", "no metadata", "foreign"]
)
def test_a_damaged_or_foreign_file_is_passed_over(tmp_path: Path, how: str) -> None:
    """No checkpoint is found there, and a fit begins anew and replaces it."""
    checkpoint = Checkpoint(tmp_path / "fit.safetensors", "this fit")
    one_epoch = replace(TRAINING, epochs=1)
    expected = fit(one_epoch, FitControl(checkpoint=checkpoint))
    damage(checkpoint.path, how)
    assert checkpoint.load() is None
    assert_same_fit(fit(one_epoch, FitControl(checkpoint=checkpoint)), expected)
    assert checkpoint.load() is not None
    assert files(tmp_path) == ["fit.safetensors"]


def test_a_whole_checkpoint_needs_no_epoch(tmp_path: Path) -> None:
    """A fit that was done gives its result at once."""
    checkpoint = Checkpoint(tmp_path / "fit.safetensors", "this fit")
    expected = fit(control=FitControl(validate=of_weights, checkpoint=checkpoint))
    control = replace(stopped_after(3, AssertionError("an epoch was begun")), checkpoint=checkpoint)
    assert_same_fit(fit(control=control), expected)
