"""A training asks before it replaces an artifact that is served."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.files import served_folder
from streams.errors import InputError
from tools.main import main
from tools.training.live_artifact import check_live


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_folder_of_the_settings_is_live_once_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first training asks nothing; neither does one into a folder of its own."""
    live = Path(".headrace/artifact")
    check_live(live, False)
    live.mkdir(parents=True)
    check_live(Path("other"), False)
    with pytest.raises(InputError, match=r"^\.headrace/artifact: .*workers serve by the settings.*; add --yes$"):
        check_live(live, False)
    check_live(live, True)
    (tmp_path / "mine").mkdir()
    check_live(tmp_path / "mine", False)
    monkeypatch.setenv("HEADRACE_ARTIFACT", "mine")
    with pytest.raises(InputError, match="by the settings"):
        check_live(tmp_path / "mine", False)
    check_live(live, False)


def test_a_folder_that_a_running_process_loaded_is_live(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    give_up = served_folder.mark_served(folder)
    with pytest.raises(InputError, match=r"a running recommender serves this artifact.*add --yes"):
        check_live(folder, False)
    check_live(folder, True)
    give_up()
    check_live(folder, False)


@pytest.mark.model
@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_the_question_comes_before_anything_is_read(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the log does not exist: a person is asked at once, not after reading."""
    live = tmp_path / ".headrace" / "artifact"
    live.mkdir(parents=True)
    (live / "manifest.json").write_text("{}")
    log = str(tmp_path / "log.csv")
    (tmp_path / "log.csv").write_text("user_id,item_id,ts\n")
    arguments = (
        ["train", log, "--out", str(live)] if command == "train" else ["evaluate", str(live), log, "--train", "demo"]
    )
    assert main(arguments) == 2
    assert "add --yes" in capsys.readouterr().err
    assert (live / "manifest.json").read_text() == "{}"
