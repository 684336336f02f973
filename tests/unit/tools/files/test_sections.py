"""A user types the options of the shop's files once, in headrace.toml.

Every command takes them from there.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import pytest

from streams.errors import SettingsError
from streams.settings.load import load_settings, read_sections
from tools.files.entries.sources import CatalogueSource, UserSource
from tools.files.file_options import FileOptions
from tools.files.log_source import LogSource
from tools.main import COMMANDS

WHOLE = """\
partitions = 6

[log]
paths = ["2026.csv", "2025.csv"]
encoding = "gb18030"
time_unit = "s"
missing = ["NA", "-"]

[log.columns]
user_id = "用户ID"
item_id = 2

[log.types]
"购买" = "purchase"

[items]
paths = "goods.csv"
columns = "item_id=0,title=1"

[users]
paths = ["users.csv"]
delimiter = ";"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with the settings file :data:`WHOLE`."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, WHOLE)
    return tmp_path


def write(folder: Path, text: str) -> None:
    """Write the settings file of a folder."""
    file = folder / "headrace.toml"
    file.write_text(text, "utf-8")
    file.chmod(0o600)


def parsed(module: str, *words: str) -> argparse.Namespace:
    """Return the parsed options of a command."""
    parser = argparse.ArgumentParser()
    importlib.import_module(COMMANDS[module]).add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.usefixtures("folder")
def test_a_command_without_options_reads_what_the_file_names() -> None:
    """Paths, columns, types and encodings of all three sections arrive in the sources."""
    args = parsed("train", "--out", "model")
    assert LogSource.of(args) == LogSource(
        (Path("2026.csv"), Path("2025.csv")),
        FileOptions("user_id=用户ID,item_id=2", encoding="gb18030", missing="NA,-"),
        "购买=purchase",
        "s",
    )
    assert CatalogueSource.of(args) == CatalogueSource((Path("goods.csv"),), FileOptions("item_id=0,title=1"))
    assert UserSource.of(args) == UserSource((Path("users.csv"),), FileOptions(delimiter=";"))


@pytest.mark.usefixtures("folder")
def test_a_given_option_wins_over_the_file() -> None:
    """Each given option replaces the section's, also a path that may be repeated.

    The other options stay.
    """
    args = parsed("evaluate", "model", "other.csv", "--encoding", "utf-8", "--items", "a.csv", "--items", "b.csv")
    log, items = LogSource.of(args), CatalogueSource.of(args)
    assert (log.paths, log.files.encoding, log.types) == ((Path("other.csv"),), "utf-8", "购买=purchase")
    assert items is not None and items.paths == (Path("a.csv"), Path("b.csv"))
    assert items.files.columns == "item_id=0,title=1"


@pytest.mark.usefixtures("folder")
def test_other_files_are_told_whose_options_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """One line says that a file uses the options of a section that does not name the file."""
    LogSource.of(parsed("train", "2025.csv", "--out", "model"))
    assert capsys.readouterr().err == ""
    LogSource.of(parsed("train", "new.csv", "--out", "model"))
    assert "new.csv: read with what [log] of headrace.toml says (columns, encoding" in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
def test_what_reads_topics_by_default_still_does() -> None:
    """The oracle without LOG reads the topics, with options of the file for a log that is named."""
    args = parsed("oracle")
    assert (args.log, args.items, LogSource.given_without_log(args)) == ([], [], None)
    assert LogSource.given_without_log(parsed("oracle", "--types", "pv=view")) == "--types"
    assert LogSource.of(parsed("oracle", "2025.csv")).types == "购买=purchase"


@pytest.mark.usefixtures("folder")
def test_new_events_are_not_the_history() -> None:
    """The command reads events in the contract's form, whatever the file says of the log."""
    args = parsed("produce", "events.jsonl")
    assert LogSource.of(args) == LogSource((Path("events.jsonl"),))


def test_without_the_file_a_log_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command without LOG ends with the code of bad usage, as before."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        parsed("train", "--out", "model")


@pytest.mark.usefixtures("folder")
def test_the_sections_are_no_settings() -> None:
    """The settings beside them count; the sections are read apart."""
    settings = load_settings({})
    assert settings.kafka.partitions == 6 and settings.given == {"partitions"}
    assert list(read_sections()) == ["log", "items", "users"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[log]\ncolumn = 'user_id=0'", "[log] has an unknown key 'column'; known: columns, delimiter, encoding"),
        ("[items]\ntypes = 'pv=view'", "[items] has an unknown key 'types'"),
        ("[log]\npaths = [1]", "[log] paths=[1] must be names of files"),
        ("[users]\nencoding = 8", "[users] encoding=8 must be text; put it into quotes"),
        ("[log.columns]\nuser_id = 'a,b'", "[log] columns has 'a,b'; a name with a comma cannot be used"),
        ("[log.columns]\nuser_id = 1.5", "[log] columns has 1.5, must be text"),
        ("log = 'ratings.csv'", "log='ratings.csv' must be a section, [log]"),
    ],
    ids=["unknown", "not-of-items", "paths", "no-text", "comma", "float", "no-section"],
)
def test_a_section_with_a_mistake_is_refused_by_name(folder: Path, text: str, message: str) -> None:
    """The line names the section, the key and the value, and what is allowed."""
    write(folder, text)
    with pytest.raises(SettingsError) as caught:
        parsed("train", "log.csv", "--out", "model")
    assert message in str(caught.value)


def test_a_section_that_is_no_table_stops_every_command(folder: Path) -> None:
    """The settings refuse it too, and an unknown section as an unknown setting."""
    write(folder, "items = 3")
    with pytest.raises(SettingsError, match=r"items=3 must be a section, \[items\]"):
        load_settings({})
    write(folder, "[logs]\npaths = []")
    with pytest.raises(SettingsError, match="unknown setting 'logs'"):
        load_settings({})


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("in_file", ['time_unit = "s"', "time_unit = 's'\nno_times = true"])
def test_a_typed_form_of_times_wins_over_the_file(folder: Path, in_file: str) -> None:
    """A typed pattern replaces the unit of the section, and a typed unit its pattern."""
    write(folder, f"[log]\npaths = ['a.csv']\n{in_file}")
    log = LogSource.of(parsed("train", "--out", "model", "--time-format", "%d/%m/%Y"))
    assert (log.time_format, log.time_unit, log.no_times) == ("%d/%m/%Y", "auto", False)
    write(folder, "[log]\npaths = ['a.csv']\ntime_format = '%d/%m/%Y'")
    log = LogSource.of(parsed("train", "--out", "model", "--time-unit", "ms"))
    assert (log.time_format, log.time_unit) == ("", "ms")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("order", [1, -1])
def test_two_typed_forms_of_times_still_exclude_each_other(order: int) -> None:
    """Neither of them is dropped in silence."""
    typed = [("--time-format", "%d/%m/%Y"), ("--time-unit", "ms")][::order]
    log = LogSource.of(parsed("train", "--out", "model", *(word for pair in typed for word in pair)))
    assert (log.time_format, log.time_unit) == ("%d/%m/%Y", "ms")
