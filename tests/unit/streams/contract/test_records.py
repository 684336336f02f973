"""Bytes become events, or are refused with a reason and a field."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.contract.records import (
    MAX_RECORD_BYTES,
    REASONS,
    Event,
    EventDecoder,
    Item,
    RecordDecoder,
    decode_any,
    encode,
)
from streams.contract.windows import decode_window
from streams.errors import RecordError
from tests.support.builders import T0, make_event

NOW = T0 + 1_000
SKEW_MS = 60_000
DECODER = EventDecoder(SKEW_MS)
GOOD: dict[str, Any] = {"v": 1, "event_id": "e1", "user_id": "u1", "item_id": "i1", "type": "view", "ts": T0}


def changed(**fields: Any) -> bytes:
    """Return the good event with fields changed, as msgpack."""
    return bytes(msgpack.packb(GOOD | fields))


def without(name: str) -> bytes:
    """Return the good event without one field, as msgpack."""
    return bytes(msgpack.packb({key: value for key, value in GOOD.items() if key != name}))


def as_json(**fields: Any) -> bytes:
    """Return the good event with fields changed, as JSON."""
    return json.dumps(GOOD | fields).encode()


MAP_OF_ONE_X = b"\x81\xa1x"
MALFORMED: list[tuple[str, bytes | None, str, str]] = [
    ("no value", None, "empty", ""),
    ("no bytes", b"", "empty", ""),
    ("not msgpack", b"\xc1\xff\xff", "malformed", ""),
    ("plain text", b"hello", "malformed", ""),
    ("msgpack list instead of map", msgpack.packb(list(GOOD.values())), "malformed", ""),
    ("JSON list instead of map", b"[1, 2]", "malformed", ""),
    ("JSON garbage", b'{"v": 1, "event', "malformed", ""),
    ("JSON with a tail", as_json() + b"}", "malformed", ""),
    ("JSON white space only", b"   ", "malformed", ""),
    ("JSON list after white space", b"  [1]", "type", ""),
    ("JSON NaN", json.dumps(GOOD | {"value": float("nan")}).encode(), "malformed", ""),
    ("msgpack cut off", changed()[:-3], "malformed", ""),
    ("msgpack with a tail", changed() + b"\x00", "malformed", ""),
    ("empty map", b"\x80", "missing", "v"),
    ("empty JSON object", b"{}", "missing", "v"),
    ("no version", without("v"), "missing", "v"),
    ("no event_id", without("event_id"), "missing", "event_id"),
    ("no user_id", without("user_id"), "missing", "user_id"),
    ("no item_id", without("item_id"), "missing", "item_id"),
    ("no type", without("type"), "missing", "type"),
    ("no ts", without("ts"), "missing", "ts"),
    ("wrong version", changed(v=2), "range", "v"),
    ("version as text", changed(v="1"), "type", "v"),
    ("version as bool", changed(v=True), "type", "v"),
    ("user_id as number", changed(user_id=7), "type", "user_id"),
    ("user_id null", changed(user_id=None), "type", "user_id"),
    ("user_id empty", changed(user_id=""), "length", "user_id"),
    ("user_id too long", changed(user_id="u" * 129), "length", "user_id"),
    ("item_id as list", changed(item_id=["i1"]), "type", "item_id"),
    ("item_id huge", changed(item_id="i" * 60_000), "length", "item_id"),
    ("event_id as bytes", changed(event_id=b"e1"), "type", "event_id"),
    ("unknown type", changed(type="buy"), "value", "type"),
    ("type in capitals", changed(type="VIEW"), "value", "type"),
    ("type as number", changed(type=1), "type", "type"),
    ("ts as text", changed(ts="2024-01-01"), "type", "ts"),
    ("ts as fraction", changed(ts=T0 + 0.5), "type", "ts"),
    ("ts negative", changed(ts=-1), "range", "ts"),
    ("ts in seconds", changed(ts=T0 // 1_000), "range", "ts"),
    ("ts in seconds, with a fraction of none", as_json(ts=T0 / 1_000), "range", "ts"),
    ("ts just before 1990", changed(ts=631_151_999_999), "range", "ts"),
    ("ts in microseconds", changed(ts=T0 * 1_000), "range", "ts"),
    ("ts beyond all floats", as_json(ts=0).replace(b'"ts": 0', b'"ts": 1e999'), "range", "ts"),
    ("ts beyond the calendar", changed(ts=10**15), "range", "ts"),
    ("ts beyond 64 bits", as_json(ts=10**30), "range", "ts"),
    ("ts in the future", changed(ts=NOW + SKEW_MS + 1), "future", "ts"),
    ("value NaN", changed(value=float("nan")), "range", "value"),
    ("value infinite", changed(value=float("inf")), "range", "value"),
    ("value beyond its range", changed(value=-1e13), "range", "value"),
    ("value as text", changed(value="9.99"), "type", "value"),
    ("session_id empty", changed(session_id=""), "length", "session_id"),
    ("run too long", changed(run="r" * 65), "length", "run"),
    ("seq negative", changed(seq=-1), "range", "seq"),
    ("invalid UTF-8 in msgpack", changed().replace(b"\xa2i1", b"\xa2\xff\xfe"), "malformed", ""),
    ("invalid UTF-8 in JSON", as_json().replace(b"i1", b"\xff\xfe"), "malformed", ""),
    ("above the size limit", changed(extra="x" * MAX_RECORD_BYTES), "too-large", ""),
    ("msgpack nested bomb", b"\x81\xa1x" + b"\x91" * 50_000 + b"\xc0", "malformed", ""),
    ("msgpack map bomb", MAP_OF_ONE_X * 20_000 + b"\xc0", "malformed", ""),
    ("JSON nested bomb", b'{"x":' + b"[" * 50_000 + b"]" * 10_000, "malformed", ""),
    ("msgpack claims four billion entries", b"\xdf\xff\xff\xff\xff\xa1v\x01", "malformed", ""),
    ("msgpack claims a huge string", b"\x81\xdb\xff\xff\xff\xff", "malformed", ""),
]


@pytest.mark.parametrize(
    ("value", "reason", "field"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED]
)
def test_malformed_event_is_refused_with_reason_and_field(value: bytes | None, reason: str, field: str) -> None:
    """Each kind of bad record names its fault; the decoder raises RecordError alone."""
    with pytest.raises(RecordError) as caught:
        DECODER.decode_event(b"u1", value, NOW)
    assert (caught.value.reason, caught.value.field) == (reason, field), str(caught.value)
    assert "\n" not in str(caught.value), "an error is one line"


@pytest.mark.parametrize(
    "key", [None, b"", b"u2", b"u1 ", "ü1".encode()], ids=["absent", "empty", "other", "longer", "not ASCII"]
)
def test_key_unlike_user_id_is_refused(key: bytes | None) -> None:
    """Such a record lies on a partition where its user's window is not."""
    with pytest.raises(RecordError) as caught:
        DECODER.decode_event(key, changed(), NOW)
    assert (caught.value.reason, caught.value.field) == ("key", "key")


def test_reasons_are_a_closed_list() -> None:
    """Whoever counts rejects by reason must know them all."""
    used = (
        {reason for _, _, reason, _ in MALFORMED} | {"key", "partition"} | {"version"} | {"schema", "operation"}
    )  # of the window, and of topics in other formats
    assert used == set(REASONS)


GOOD_FORMS: list[tuple[str, bytes]] = [
    ("msgpack", changed()),
    ("JSON", as_json()),
    ("JSON after white space", b" \r\n\t" + as_json()),
    ("unknown fields", changed(colour="red", nested={"a": [1]})),
    ("duplicate keys, the last counts", as_json().replace(b'{"v": 1', b'{"item_id": "i9", "v": 1')),
    ("optional fields null", changed(session_id=None, value=None)),
    ("large msgpack map", b"\xde\x00\x06" + changed()[1:]),
    ("huge msgpack map header", b"\xdf\x00\x00\x00\x06" + changed()[1:]),
]


@pytest.mark.parametrize("value", [value for _, value in GOOD_FORMS], ids=[name for name, _ in GOOD_FORMS])
def test_good_forms_are_taken(value: bytes) -> None:
    """What the contract allows must not be refused, whatever the producer's library writes."""
    event = DECODER.decode_event(b"u1", value, NOW)
    assert event == Event(1, "e1", "u1", "i1", "view", T0)


@pytest.mark.parametrize("form", ["%.1f", "%e", "%E", "%.0f", "%.3f"])
def test_whole_json_number_is_a_time(form: str) -> None:
    """``1.8e12`` is what many a JSON library makes of a time, of a version or a seq too."""
    ts = 1_600_000_000_000
    value = as_json(ts=0, seq=3).replace(b'"ts": 0', b'"ts": ' + (form % ts).encode()).replace(b'"v": 1', b'"v": 1.0')
    event = DECODER.decode_event(b"u1", value, NOW)
    assert (event.ts, type(event.ts), event.v, event.seq) == (ts, int, 1, 3)


@pytest.mark.parametrize(
    ("fields", "remedy"),
    [
        ({"ts": T0 // 1_000}, "seconds? publish milliseconds"),
        ({"ts": T0 * 1_000}, "microseconds? publish milliseconds"),
        ({"user_id": 17}, "quote it"),
        ({"item_id": 17.5}, "quote it"),
        ({"session_id": 17}, "quote it"),
    ],
)
@pytest.mark.parametrize("encoded", [changed, as_json])
def test_detail_names_the_remedy(encoded: Any, fields: dict[str, Any], remedy: str) -> None:
    """The slips that producers make most."""
    with pytest.raises(RecordError) as caught:
        DECODER.decode_event(b"u1", encoded(**fields), NOW)
    assert remedy in caught.value.detail


def test_year_1990_itself_is_taken() -> None:
    """The limit is the first time that is allowed."""
    assert DECODER.decode_event(b"u1", changed(ts=631_152_000_000), NOW).ts == 631_152_000_000


#: What a producer may put anywhere to be taken for a message of the check.
HOSTILE = st.sampled_from(
    [
        "of length",
        "missing required field `ts`",
        "x' - at `$.user_id`",
        "Object missing required field `v` - at `$.ts`",
        "Expected `int` >= 1 - at `$.seq`",
        "matching regex '' - at `key` in `$.session_id`",
        "out of range",
        "- at `$`\n",
        "Expected `str`, got `int`",
    ]
) | st.text(max_size=20)


@given(text=HOSTILE, key=HOSTILE, tail=HOSTILE, is_json=st.booleans())
def test_content_does_not_choose_the_reason(text: str, key: str, tail: str, is_json: bool) -> None:
    """Reason and field are those of the check, whatever the value, or a key beside it, says."""
    encode_map = as_json if is_json else changed
    beside = {key: tail} if key not in set(Event.__struct_fields__) else {}
    for fields, reason, field in (
        ({"type": f"{text}!{tail}"}, "value", "type"),
        ({"ts": text}, "type", "ts"),
        ({"user_id": [text]}, "type", "user_id"),
        ({"user_id": (text + tail).ljust(129, "x")}, "length", "user_id"),
        ({"value": {text: tail}}, "type", "value"),
        ({"seq": -1, "session_id": f"{text}."}, "range", "seq"),
    ):
        with pytest.raises(RecordError) as caught:
            DECODER.decode_event(b"u1", encode_map(**(beside | fields)), NOW)
        assert (caught.value.reason, caught.value.field) == (reason, field), str(caught.value)
        assert str(caught.value).isprintable() and len(caught.value.detail) < 300


@given(key=HOSTILE.filter(bool), bad=st.sampled_from([[1], {"a": 1}]))
def test_keys_inside_a_field_do_not_choose_it(key: str, bad: Any) -> None:
    """The keys of ``features`` are the producer's own."""
    value = msgpack.packb({"v": 1, "item_id": "i", "title": "t", "features": {key: bad}})
    with pytest.raises(RecordError) as caught:
        RecordDecoder(Item).decode(value)
    assert (caught.value.reason, caught.value.field) == ("type", "features")


def test_limits_themselves_are_allowed() -> None:
    """Off by one at a limit would refuse what the contract promises."""
    longest = "u" * 128
    value = changed(user_id=longest, ts=NOW + SKEW_MS, value=1e12, run="r" * 64, seq=0)
    event = DECODER.decode_event(longest.encode(), value, NOW)
    assert (event.ts, event.value, event.seq) == (NOW + SKEW_MS, 1e12, 0)


def test_whole_number_is_a_value() -> None:
    """A producer that writes 5 instead of 5.0 is right."""
    assert DECODER.decode_event(b"u1", changed(value=5), NOW).value == 5.0


@pytest.mark.parametrize("is_json", [False, True])
def test_encoded_event_decodes_to_itself(is_json: bool) -> None:
    """Our own output is within our own contract, in both encodings."""
    event = make_event("e1", value=2.5, session_id="s", run="r@1", seq=3)
    assert DECODER.decode_event(b"u1", encode(event, as_json=is_json), NOW) == event


def test_damaged_window_is_a_record_error() -> None:
    """A window that cannot be read must name itself, not raise whatever the library raises."""
    for value in (b"", b"\x80", b"\xc1", b"\x91" * 5_000):
        with pytest.raises(RecordError, match="malformed"):
            decode_window(value)


def test_anything_can_be_shown() -> None:
    """Inspection takes both encodings by content."""
    assert decode_any(changed()) == GOOD
    assert decode_any(as_json()) == GOOD
