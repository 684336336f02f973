"""Seeds of fuzzing: good and malformed records, windows and log lines; and mutations of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from streams.contract.records import Item, User, encode
from streams.sequencer.window import absorb
from streams.settings.record_limits import WindowBounds
from tests.support.builders import T0, make_event
from tools.drills.malformed import MALFORMED

_GOOD = make_event("e1", T0, session_id="s1", value=1.5, run="r1", seq=7)
_ITEM = Item(
    1, "i1", "标题 a", "text", "c", ["t"], 1.5, {"f": 1.0, "g": "x", "h": None}, {"also": ["i2"]}, {"e": [0.5]}
)
_USER = User(1, "u1", {"age": 30.0, "city": "上海"}, ["u2"])
_WINDOW = absorb(None, [(make_event(f"e{i}", T0 + i), i) for i in range(5)], WindowBounds(max_events=3)).state
assert _WINDOW is not None
_CSV: Final = b'user_id,item_id,ts,type,value,title\nu1,i1,1700000000,view,1.5,x\nu2,i2,1700000001,buy,nan,"y\nz"\n'
_JSONL: Final = (
    b'{"user_id":"u1","item_id":"i1","ts":1700000000,"title":"x","tags":["a"],"price":1,"features":{"a":1}}\n' * 2
)


def _parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"user_id": ["u"], "tags": [["a", "b"]]}), sink, store_schema=False, compression="none")
    return bytes(sink.getvalue().to_pybytes())


_HEADER: Final = b'{"popularity":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}' + bytes(24)
_MANIFEST: Final = msgspec.json.encode(
    {
        "format": 2, "sha256": "0" * 64, "created_ms": T0, "encoder_name": "fake", "encoder_version": "fake-16", "text_version": "1",
        "sequence": {"kind": "linear_recurrence", "dim": 16}, "alpha": 1.0, "regularisation": 1.0, "trained_from_ms": 0,
        "trained_to_ms": T0, "n_events": 1, "n_users": 1, "preset": "demo", "seed": 1, "left_out": "none", "epochs": 1,
        "metrics": {}, "item_features": {}, "user_features": {}, "tensors": {"a": {"dtype": "torch.float32", "shape": [2]}},
        "item_ids": ["i1", "i2"],
    }
)  # fmt: skip
#: Seeds for any target.
SEEDS: Final[tuple[bytes, ...]] = (
    *(encode(record, as_json=as_json) for record in (_GOOD, _ITEM, _USER, _WINDOW) for as_json in (False, True)),
    msgspec.msgpack.encode({"v": 1, "user_id": "u1", "action": "forget", "requested_ts": T0}),
    msgspec.msgpack.encode(
        {"v": 1, "artifact": "a", "uri": "u", "sha256": "0" * 64, "created_ts": T0, "metrics": {"m": 1.0}}
    ),
    *(value for kind in MALFORMED if (value := MALFORMED[kind](1).value) is not None and len(value) < 30_000),
    _CSV,
    _CSV.replace(b",", b"\t"),
    _JSONL,
    b"\xef\xbb\xbf" + _CSV,
    b"\xde\x00\x01\xa1v\x01",
    b'{"v":' + b"9" * 400 + b"}",
    b'{"item_id":1e400,"title":' + b"9" * 5_000 + b',"user_id":1,"ts":1}\n',
    b"[" * 3_000,
    b"\x91" * 3_000 + b"\xc0",
    b'{"x":' * 3_000,
    _parquet(),
    _HEADER,
    _MANIFEST,
)
#: Bytes that a mutation inserts: the edges of both formats.
TOKENS: Final[tuple[bytes, ...]] = (
    b"\x80", b"\x8a", b"\x90", b"\xdc\xff\xff", b"\xde\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc0", b"\xc1",
    b"\xc4\xff", b"\xc7\x00\xff", b"\xd6\xff\x00\x00\x00\x00", b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", b"\xcf" + b"\xff" * 8,
    b"\xd9\xff", b"\xdb\xff\xff\xff\xff", b"{", b"}", b"[", b'"', b"\\ud800", b"\\u0000", b"null", b"NaN", b"1e999", b"-0",
    b"9" * 40, b"\xff\xfe", b"\xed\xa0\x80", b"\n", b"\r", b"\t", b",", b'""', b"\x00", b"\xe2\x80\xa8",
)  # fmt: skip


def mutated(rng: random.Random, seeds: Sequence[bytes] = SEEDS) -> bytes:
    """Return a seed after a few random edits: bits, cuts, repeats, tokens, parts of other seeds."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randrange(5)):
        at, length = rng.randrange(len(data) + 1), rng.randrange(1, 9)
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at : at + length]
        elif kind == 2:
            data[at:at] = data[at : at + length] * rng.randrange(1, 20)
        elif kind == 3:
            data[at : at + rng.randrange(2)] = rng.choice(TOKENS)
        elif kind == 4:
            other = rng.choice(seeds)
            start = rng.randrange(len(other) + 1)
            data[at:at] = other[start : start + rng.randrange(1, 60)]
        else:
            del data[at:]
    return bytes(data)
