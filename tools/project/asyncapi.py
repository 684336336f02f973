"""Writes the schemas of ``docs/contract/asyncapi.yaml`` from the structs that check the records.

::

    streams/contract ──► types, limits, defaults ─────────────┐
    asyncapi.yaml ──► descriptions, written by hand there ────┴──► asyncapi.yaml, from "schemas:" on

Run it with ``python -m tools.project.asyncapi`` after a change of a record, then describe each new
field in the file. All above ``schemas:`` is written by hand, and so is each schema without a
struct.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from models.base.event_types import DEFAULT_TYPES, MAX_NAME_LENGTH
from streams.contract import announcements, records, windows

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "contract" / "asyncapi.yaml"
#: Each record on the wire; the structs inside them follow by themselves.
RECORDS: Final[tuple[type[msgspec.Struct], ...]] = (
    records.Event,
    records.Item,
    records.User,
    windows.WindowState,
    records.UserVector,
    records.Recommendation,
    announcements.ModelAnnouncement,
    announcements.PrivacyRequest,
    announcements.RulesRecord,
    announcements.Receipt,
)
#: What is written by hand in a schema and in its properties.
TEXTS: Final = ("description", "x-max-bytes")
_START: Final = "  schemas:\n"
Schema = dict[str, Any]


def code_schemas() -> dict[str, Schema]:
    """Return the schemas that the structs enforce, by name, without any text."""
    _, components = msgspec.json.schema_components(RECORDS, ref_template="#/components/schemas/{name}")
    schemas = {name: _plain(schema) for name, schema in components.items()}
    # The struct has the names of the default table; a deployment has those of its own.
    schemas["Event"]["properties"]["type"] = {
        "type": "string", "maxLength": MAX_NAME_LENGTH, "minLength": 1, "x-default-table": sorted(DEFAULT_TYPES.names),
    }  # fmt: skip
    return schemas


def _plain(schema: Any) -> Any:
    """Return a schema without titles and docstrings, with ``X or null`` as a list of two types."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        name: {field: _plain(value) for field, value in part.items()} if name == "properties" else _plain(part)
        for name, part in schema.items()
        if name not in ("title", "description")
    }
    others = [choice for choice in kept.get("anyOf", []) if choice != {"type": "null"}]
    if len(others) == 1 and isinstance(others[0].get("type"), str):
        del kept["anyOf"]
        kept |= others[0] | {"type": [others[0]["type"], "null"]}
    return kept


def described(schema: Schema, written: Schema) -> Schema:
    """Return a schema with the texts of the written one: its own, and those of its properties."""
    result = {name: written[name] for name in TEXTS if name in written} | schema
    if "properties" in schema:
        texts = written.get("properties", {})
        result["properties"] = {
            field: described(value, texts.get(field, {})) for field, value in schema["properties"].items()
        }
    return result


def with_schemas(text: str) -> str:
    """Return the document's text with the schemas of the code and the descriptions that it has."""
    head, start, _ = text.partition(_START)
    written: dict[str, Schema] = yaml.safe_load(text)["components"]["schemas"]
    code = code_schemas()
    names = [name for name in written if name in code or name == "RejectHeaders"]
    names += [name for name in code if name not in written]
    found = {name: described(code[name], written.get(name, {})) if name in code else written[name] for name in names}
    lines = yaml.dump(found, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=92).splitlines()
    return head + start + "".join(f"    {line}\n" for line in lines)


class _Dumper(yaml.SafeDumper):
    """Writes a list of words or numbers on one line, and no references within the document."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write no references between parts of the document."""
        return True


def _list_node(dumper: _Dumper, data: list[Any]) -> yaml.Node:
    is_flat = not any(isinstance(part, dict | list) for part in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=is_flat)


_Dumper.add_representer(list, _list_node)


if __name__ == "__main__":
    DOCUMENT.write_text(with_schemas(DOCUMENT.read_text("utf-8")), "utf-8")
