"""The setting of event types: from the file and from the environment, and what refuses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.base.event_types import DEFAULT_TYPES, event_types
from streams.errors import SettingsError
from streams.settings.event_table import DEFAULT_TABLE, read_table, table_text
from streams.settings.load import Settings, load_settings

NOWHERE = Path("/nonexistent/headrace.toml")
TOML = """
partitions = 3

[event_types]
view = {}
"加购" = { weight = 3 }
dislike = { hides = true }
rating = { positive_when = ">= 4" }
impression = { window = false }
"""


def test_the_default_is_the_default_table() -> None:
    """A deployment that sets nothing has click, view and purchase."""
    assert Settings().sequencer.types() == DEFAULT_TYPES
    assert Settings().sequencer.bounds().types == DEFAULT_TYPES


def test_a_table_of_the_file_and_json_in_the_variable_are_alike(tmp_path: Path) -> None:
    """Workers get by a variable what the operator wrote into the file."""
    file = tmp_path / "headrace.toml"
    file.write_text(TOML, "utf-8")
    of_file = load_settings({}, file=file)
    text = of_file.sequencer.event_types
    of_variable = load_settings({"HEADRACE_EVENT_TYPES": text}, file=NOWHERE)
    assert of_file.sequencer.types() == of_variable.sequencer.types()
    assert of_file.sequencer.types().names == ("view", "加购", "dislike", "rating", "impression")
    assert of_file.shown()["event_types"] == text
    assert load_settings({"HEADRACE_EVENT_TYPES": DEFAULT_TABLE}, file=file).sequencer.types() == DEFAULT_TYPES


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("click, view", "must be a table in JSON"),
        ('{"view": {}, "view": {"weight": 2}}', "event_types.view='view' must be named once"),
        ('{"view": {"weight": -1}}', "event_types.view.weight=-1.0 must be a number from 0 to 1000"),
        ("[" * 100_000, "must be a table in JSON"),
    ],
)
def test_an_unusable_table_stops_the_start(text: str, told: str) -> None:
    """One line has field, value, limit and where to set it."""
    with pytest.raises(SettingsError) as caught:
        load_settings({"HEADRACE_EVENT_TYPES": text}, file=NOWHERE)
    assert told in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).endswith("set [event_types] in headrace.toml, or JSON in HEADRACE_EVENT_TYPES")


def test_equal_tables_have_equal_texts() -> None:
    """The manifest of a run is compared with the settings as text."""
    table = {"view": {}, "like": {"weight": 2}}
    assert table_text(read_table('{"view": {"weight": 1.0},\n"like": {"weight": 2}}')) == table_text(event_types(table))


def test_long_names_and_remembered_events_count_in_the_size_of_a_window(tmp_path: Path) -> None:
    """A window with the longest names must fit into a record, as one with the longest ids must."""
    file = tmp_path / "headrace.toml"
    file.write_text('window_max_events = 803\n[event_types]\nview = {}\n"' + "购" * 32 + '" = {}\n', "utf-8")
    with pytest.raises(SettingsError, match=r"803 x 1137 .*a record may have 900000; lower HEADRACE_WINDOW_MAX"):
        load_settings({}, file=file)
    file.write_text("window_max_events = 780\n[event_types]\nview = {}\nimpression = { window = false }\n")
    with pytest.raises(SettingsError, match=r"200 x 525"):
        load_settings({}, file=file)
